"""The verbs that measure finished models on any text: evaluate one, compare two.

Every value has an interval over documents, and two models are compared document by document. Rooms that need torch are
opened inside the functions. This file leaves out what else a model can be asked (`using.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stepwell.api.requests import PathLike, Texts, several
from stepwell.api.using import load
from stepwell.config import build
from stepwell.data import DataConfig, Document
from stepwell.errors import DataError, UsageError
from stepwell.progress import Watcher, unwatched

if TYPE_CHECKING:
    from stepwell.checkpoints import Loaded
    from stepwell.evaluation import Interval, LanguageModelingScores

SHOWN_DOCUMENTS = 3
"""In which either model is the better one by most, shown of a comparison."""

SHOWN_CHARACTERS = 200


def evaluate(
    run: PathLike, data: Texts, *, text_column: str | None = None, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Measure a model on texts.

    Args:
        run: a run directory or a checkpoint directory.
        data: sources, as for `run`; all of it is measured.
        text_column: of tables.
        watch: is told of problems in the sources.

    Returns:
        `task`, `scoring` (`causal`, or `masked`: its numbers compare with those of other masked models alone),
        `num_examples`, `num_tokens`, and `metrics`: each with its 95 % interval over documents.

    Raises:
        DataError: when there is no text.
    """
    from stepwell.evaluation import summarize

    documents, loaded = _documents(data, text_column, watch), load(run)
    scores = _scores(loaded, documents)
    return {
        "task": "language_modeling",
        "scoring": _scoring(loaded),
        "num_examples": len(documents),
        "num_tokens": int(scores.tokens.sum()),
        "metrics": {name: asdict(interval) for name, interval in summarize(scores).items()},
    }


def compare(
    run: PathLike, other: PathLike, data: Texts, *, text_column: str | None = None, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Measure two models on the same texts, and say whether one is better by more than chance.

    Args:
        run: a run directory or a checkpoint directory.
        other: another one.
        data: as in `evaluate`.
        text_column: as in `evaluate`.
        watch: as in `evaluate`.

    Returns:
        `task`, `scoring`, `num_examples`, and `metrics`: of each, `first` and `second` with their intervals, their
        `difference` (first - second, with the interval of a paired bootstrap), and which one is `better` beyond that:
        `first`, `second`, or None. Of models with two tokenizers, only what compares. `examples` has the documents in
        which each is the better one by most.

    Raises:
        DataError: when there is no text.
        UsageError: when one model is masked and the other is not.
    """
    from stepwell.evaluation import bootstrap, paired_bootstrap

    documents = _documents(data, text_column, watch)
    pair = [load(one) for one in (run, other)]
    if _scoring(pair[0]) != _scoring(pair[1]):
        raise UsageError(
            "compare: the numbers of these two say different things",
            got=" and ".join(f"{one.path} ({_scoring(one)})" for one in pair),
            wanted="two causal models, or two masked ones",
        )
    first, second = (_scores(one, documents) for one in pair)
    one_tokenizer = pair[0].tokenizer.fingerprint == pair[1].tokenizer.fingerprint
    metrics: dict[str, dict[str, Any]] = {}
    for name, metric in first.metrics.items():
        if metric.per == "token" and not one_tokenizer:
            continue
        difference = paired_bootstrap(first, second, name)
        metrics[name] = {
            "first": asdict(bootstrap(first, name)),
            "second": asdict(bootstrap(second, name)),
            "difference": asdict(difference),
            "better": _better(difference, metric.higher_is_better),
        }
    return {
        "task": "language_modeling",
        "scoring": _scoring(pair[0]),
        "num_examples": len(documents),
        "metrics": metrics,
        "examples": _examples(documents, first, second),
    }


def _documents(data: Texts, text_column: str | None, watch: Watcher) -> list[Document]:
    """All documents of some sources.

    Raises:
        DataError: when there are none.
    """
    from stepwell.data import read_documents

    sources = several(data)
    if not sources:
        raise UsageError("data: nothing to measure on", wanted="files, folders or globs")
    config = build(DataConfig, {"sources": sources, "text_column": text_column}, where="evaluate")
    documents = list(read_documents(config, watch))
    if not documents:
        raise DataError(f"{', '.join(sources)}: no text to measure on")
    return documents


def _scores(loaded: Loaded, documents: list[Document]) -> LanguageModelingScores:
    from stepwell.data import tokenize_documents
    from stepwell.evaluation import evaluate_language_modeling
    from stepwell.hardware import examine

    split = tokenize_documents(documents, loaded.tokenizer)
    return evaluate_language_modeling(loaded.model, split, precision=examine().precision)


def _scoring(loaded: Loaded) -> str:
    return "causal" if loaded.model.is_causal else "masked"


def _better(difference: Interval, higher_is_better: bool | None) -> str | None:
    """Which of two is better by more than chance, of the first's value less the second's."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return None
    if higher_is_better is None:
        return None
    return "first" if (difference.value > 0) == higher_is_better else "second"


def _examples(
    documents: list[Document], first: LanguageModelingScores, second: LanguageModelingScores
) -> Mapping[str, list[dict[str, Any]]]:
    """The documents in which each is the better one by most bits per byte."""
    bits = [scores.nats / scores.bytes / math.log(2) for scores in (first, second)]
    order = (bits[0] - bits[1]).argsort(kind="stable")
    found = {}
    for name, chosen in (("first", order), ("second", order[::-1])):
        better = [n for n in chosen[:SHOWN_DOCUMENTS].tolist() if (bits[0][n] < bits[1][n]) == (name == "first")]
        found[name] = [
            {"text": documents[n].text[:SHOWN_CHARACTERS], "first": float(bits[0][n]), "second": float(bits[1][n])}
            for n in better
            if bits[0][n] != bits[1][n]
        ]
    return found
