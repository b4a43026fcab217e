"""How a model should search for what it writes, or whether to ask it at all: chosen on held-out examples.

One search with beams gives several texts of each example, and another penalty only puts them in another order, so all
penalties cost one search; greedy search, which costs a fraction of it, is tried beside. So is what can be taken of an
example without a model. Nothing is trained. This file leaves out the search itself (`inference`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from stepwell.data import Document, TokenSplit
from stepwell.evaluation.intervals import bootstrap
from stepwell.evaluation.measuring.writing import marked_of, references_of
from stepwell.evaluation.scores.metrics import Scores
from stepwell.hardware import Precision
from stepwell.inference import Completion, write_texts
from stepwell.models import LanguageModel
from stepwell.tasks import SearchConfig, WritingConfig, taken, taken_by
from stepwell.tokenizers import Tokenizer

LOOKED_AT = 256
"""Examples that a search is chosen on, spread evenly."""

PENALTIES = (1.0, 0.6, 0.8, 1.2, 1.5, 2.0)
"""Length penalties that are tried; of equals the first is taken."""

TaskT = TypeVar("TaskT", bound=WritingConfig)


def choose_search(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: TaskT,
    score: Callable[[Sequence[str], Sequence[list[str]], Any], Scores],
    *,
    metric: str,
    precision: Precision = "float32",
) -> TaskT:
    """A task with the search that does best.

    Args:
        model: trained for the task.
        split: examples of `task`.
        documents: one for each example.
        tokenizer: of the split.
        task: its `decision.beam_size` is tried, and 1, and what can be taken of examples.
        score: texts, what they should be, task -> scores.
        metric: by which one is better; where it says nothing about texts (`loss`), the task stays as it is.
        precision: of the matrix products.
    """
    chosen = np.arange(0, split.num_documents, -(-split.num_documents // LOOKED_AT))
    prompts = [one.token_ids[: one.source_tokens] for one in marked_of(split.chosen(chosen))]
    looked_at = [documents[number] for number in chosen.tolist()]
    right = references_of(looked_at, task)
    tried: list[tuple[float, SearchConfig]] = []

    def look(texts: Sequence[str], decision: SearchConfig) -> bool:
        """Note how good texts are; False where the metric says nothing about texts."""
        scores = score(texts, right, task)
        if metric not in scores.metrics:
            return False
        sign = 1 if scores.metrics[metric].higher_is_better else -1
        tried.append((sign * bootstrap(scores, metric, resamples=1).value, decision))
        return True

    for size in dict.fromkeys((task.decision.beam_size, 1)):
        wide = task.model_copy(update={"decision": SearchConfig(beam_size=size)})
        found = write_texts(model, tokenizer, wide, prompts, precision=precision)
        for penalty in PENALTIES if size > 1 else PENALTIES[:1]:
            texts = [best_of(several, penalty).text for several in found]
            if not look(texts, SearchConfig(beam_size=size, length_penalty=penalty)):
                return task
    for name in taken_by(task):
        aside: Any = (name,)
        look([taken(name, task, one) for one in looked_at], SearchConfig(members=aside))
    return task.model_copy(update={"decision": max(tried, key=lambda one: one[0])[1]})


def best_of(several: Sequence[Completion], penalty: float) -> Completion:
    """The best of some texts of an example under a length penalty."""
    return max(several, key=lambda one: sum(one.logprobs) / len(one.logprobs) ** penalty)
