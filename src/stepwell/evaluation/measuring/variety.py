"""How varied what a model writes is, beside the text that it should be like.

A model goes on with the beginnings of held-out texts, and the n-grams of what it writes are counted beside those of
what really follows, cut to the same length. The nearer the two are, the better it is asked: a temperature that is too
low repeats itself, one that is too high says what nobody would. This file leaves out likelihood
(`language_modeling.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data import TokenSplit
from stepwell.evaluation.measuring.language_modeling import evaluate_language_modeling
from stepwell.evaluation.scores.metrics import METRICS, FloatArray, LanguageModelingScores, Metric, share
from stepwell.evaluation.scores.repetition import DISTINCT_ORDERS, GenerationScores
from stepwell.evaluation.scores.words import words_of
from stepwell.hardware import Precision
from stepwell.inference import SamplingParams, generate_many
from stepwell.models import LanguageModel
from stepwell.tasks import DrawingConfig, GenerationConfig
from stepwell.tokenizers import Tokenizer

WRITTEN_TOKENS = 100
"""Length of a text that is written to judge a model by."""

TRIED: tuple[dict[str, float], ...] = tuple(
    {"temperature": temperature, "top_p": top_p, "repetition_penalty": penalty}
    for temperature in (0.7, 0.85, 1.0)
    for top_p in (0.95, 1.0)
    for penalty in (1.0, 1.1)
)
"""Ways of drawing among which the nearest to real text is looked for."""


@dataclass(frozen=True)
class WrittenScores(LanguageModelingScores):
    """What a model made of each of N documents, and what it wrote after the beginnings of some.

    Attributes:
        written: (N,) whether it went on with the document.
        ngrams: (N, 3) n-grams of 1, 2 and 3 words in what it wrote.
        distinct: (N, 3) how many of them are distinct within the text.
        repeated: (N,) share of its 4-grams that stood in it before.
        real_ngrams: (N, 3) as `ngrams`, of what really follows, in as many tokens.
        real_distinct: (N, 3) as `distinct`.
        real_repeated: (N,) as `repeated`.
    """

    written: FloatArray
    ngrams: NDArray[np.int64]
    distinct: NDArray[np.int64]
    repeated: FloatArray
    real_ngrams: NDArray[np.int64]
    real_distinct: NDArray[np.int64]
    real_repeated: FloatArray


def _distinct(column: int) -> Callable[[WrittenScores], Any]:
    return lambda totals: share(totals.distinct[..., column], totals.ngrams[..., column])


def _variety_gap(totals: WrittenScores) -> Any:
    """Mean distance of distinct-1, -2, -3 and repetition from those of real text, in [0, 1]."""
    written = share(totals.distinct, totals.ngrams)
    gaps = np.abs(written - share(totals.real_distinct, totals.real_ngrams)).sum(-1)
    return (gaps + np.abs(share(totals.repeated - totals.real_repeated, totals.written))) / (len(DISTINCT_ORDERS) + 1)


WrittenScores.metrics = {
    **METRICS,
    **{
        f"distinct_{n}_within": Metric(
            _distinct(column), higher_is_better=None, unit="share of n-grams within a text", per="example"
        )
        for column, n in enumerate(DISTINCT_ORDERS)
    },
    "repeated_4gram_ratio": Metric(
        lambda totals: share(totals.repeated, totals.written),
        higher_is_better=False,
        unit="mean over texts",
        per="example",
    ),
    "variety_gap": Metric(
        _variety_gap, higher_is_better=False, unit="distance of distinct-n and repetition from real text", per="example"
    ),
}


@dataclass(frozen=True)
class Beginning:
    """The beginning of a held-out text, and as much of what follows as is written of it.

    Attributes:
        document: its number.
        prompt: the beginning.
        rest: what really follows.
    """

    document: int
    prompt: str
    rest: str


def evaluate_generation(
    model: LanguageModel,
    split: TokenSplit,
    tokenizer: Tokenizer,
    task: GenerationConfig,
    params: SamplingParams,
    precision: Precision = "float32",
) -> WrittenScores:
    """Score the documents of a split, and let the model go on with some of them.

    Args:
        model: a model that goes on with a text, of the catalog.
        split: documents of its tokenizer.
        tokenizer: its own.
        task: how many texts are written, and after how many words.
        params: how they are drawn where the task's decision says nothing; without a seed always the same draws.
        precision: of the matrix products.
    """
    scores = evaluate_language_modeling(model, split, precision=precision)
    beginnings = beginnings_of(split, tokenizer, task) if model.is_causal else []
    count, rows = split.num_documents, np.array([one.document for one in beginnings], np.int64)
    flags = np.zeros(count)
    flags[rows] = 1
    arrays: list[Any] = [flags]
    told = written(model, tokenizer, beginnings, params.model_copy(update=task.decision.chosen()))
    for texts in (told, [one.rest for one in beginnings]):
        found = GenerationScores.of(texts)
        for values in (found.ngrams, found.distinct, found.repeated):
            array = np.zeros((count, *values.shape[1:]), values.dtype)
            array[rows] = values
            arrays.append(array)
    names = ("written", "ngrams", "distinct", "repeated", "real_ngrams", "real_distinct", "real_repeated")
    return WrittenScores(**scores.arrays(), **dict(zip(names, arrays, strict=True)))


def beginnings_of(split: TokenSplit, tokenizer: Tokenizer, task: GenerationConfig) -> list[Beginning]:
    """Beginnings of documents that are long enough, spread evenly over a split."""
    wanted, words = task.texts, task.prompt_words
    long = np.flatnonzero(np.diff(split.offsets) > WRITTEN_TOKENS // 2)
    found = []
    for number in long[:: max(1, len(long) // wanted)][:wanted].tolist():
        text = tokenizer.decode(split.document(number)[:8192].tolist()).lstrip()
        cut = _end_of_words(text, words)
        rest = tokenizer.decode(tokenizer.encode(text[cut:])[:WRITTEN_TOKENS].tolist())
        if text[:cut] and rest.strip():
            found.append(Beginning(number, text[:cut], rest))
    return found


def _end_of_words(text: str, count: int) -> int:
    """Where the first so many words of a text end."""
    at, small = 0, text.lower()
    for word in words_of(text[: 40 * count + 400])[:count]:
        place = small.find(word, at)
        at = place + len(word) if place >= 0 else at
    return at


def written(
    model: LanguageModel, tokenizer: Tokenizer, beginnings: Sequence[Beginning], params: SamplingParams
) -> list[str]:
    """What a model writes after beginnings."""
    drawn = params.model_copy(update={"n": 1, "seed": params.seed or 0, "max_tokens": WRITTEN_TOKENS})
    return [
        some[0].text for some in generate_many(model, tokenizer, [one.prompt for one in beginnings], drawn, pad=True)
    ]


def choose_drawing(
    model: LanguageModel, split: TokenSplit, tokenizer: Tokenizer, task: GenerationConfig, params: SamplingParams
) -> tuple[DrawingConfig, list[dict[str, float]]]:
    """The way of drawing whose texts are as varied as real ones, of those in `TRIED`.

    Args:
        model: a model that goes on with a text, of the catalog.
        split: held-out documents.
        tokenizer: of the split.
        task: how many texts are written, and after how many words.
        params: what else is said of drawing.

    Returns:
        The nearest, and of each its settings with `variety_gap`, distinct-n and repetition; none where no text is long
        enough to go on with.
    """
    beginnings = beginnings_of(split, tokenizer, task) if model.is_causal else []
    if not beginnings:
        return task.decision, []
    wanted = _figures([one.rest for one in beginnings])
    table = []
    for tried in TRIED:
        told = _figures(written(model, tokenizer, beginnings, params.model_copy(update=tried)))
        gap = float(np.mean([abs(told[name] - wanted[name]) for name in wanted]))
        table.append({**tried, **told, "variety_gap": round(gap, 4)})
    best = min(range(len(table)), key=lambda number: table[number]["variety_gap"])
    return DrawingConfig(**TRIED[best]), table


def _figures(texts: Sequence[str]) -> dict[str, float]:
    """distinct-n within a text and repetition."""
    scores = GenerationScores.of(texts)
    totals = scores.totals(scores.columns.sum(axis=0))
    names = [*(f"distinct_{n}_within" for n in DISTINCT_ORDERS), "repeated_4gram_ratio"]
    return {name: round(float(scores.metrics[name].compute(totals)), 4) for name in names}
