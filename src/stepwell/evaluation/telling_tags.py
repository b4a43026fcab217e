"""How well a model gives words their tags: every sentence of a split, scored against the tags it came with.

Words that did not fit into the model count as words without a span, so nothing that was cut away is forgiven. This file
leaves out the metrics (`tagging.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepwell.data import Document
from stepwell.evaluation.metrics import FloatArray
from stepwell.evaluation.tagging import TaggingScores
from stepwell.hardware import Precision
from stepwell.inference import ToldTags, tell_tags
from stepwell.models import LanguageModel
from stepwell.tasks import Tagging, TaggingConfig, log_partitions, reading_of, span_types
from stepwell.tokenizers import Tokenizer


def evaluate_tagging(
    model: LanguageModel,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: TaggingConfig,
    precision: Precision = "float32",
) -> TaggingScores:
    """Score sentences.

    Args:
        model: with a task head for each token.
        documents: examples of `task`.
        tokenizer: that the model was trained with.
        task: tags and scheme.
        precision: of the matrix products.
    """
    reader = Tagging(task)
    right = [reader.tags_of(one) or [] for one in documents]
    told = tell_tags(model, task, reader.read(documents, tokenizer), precision=precision)
    chosen = [[task.tags[tag] for tag in tags] for tags in told.tags]
    scores = TaggingScores.of(
        chosen,
        right,
        types=types_of(task, right),
        scheme=reading_of(task.scheme or "plain"),
        nats=nats_of(told, right, task),
    )
    return scores.saying([{"answer": tags} for tags in chosen])


def types_of(task: TaggingConfig, right: Sequence[Sequence[str]]) -> list[str]:
    """The types of spans that are counted, in order: those of the task, then others that sentences have.

    Args:
        task: tags and scheme.
        right: (N,) right tags of each sentence.
    """
    scheme = reading_of(task.scheme or "plain")
    return list(dict.fromkeys((*span_types([task.tags], scheme=scheme), *span_types(right, scheme=scheme))))


def nats_of(told: ToldTags, right: Sequence[Sequence[str]], task: TaggingConfig) -> FloatArray:
    """(N,) how unlikely the right tags of each sentence are, among all sequences; NaN with a tag that is not known."""
    places = {name: number for number, name in enumerate(task.tags)}
    partitions = log_partitions(told.scores, told.learned)
    nats = np.full(len(right), np.nan)
    for row, (scores, names) in enumerate(zip(told.scores, right, strict=True)):
        if all(name in places for name in names) and names:
            tags = np.array([places[name] for name in names])
            path = np.concatenate([[len(places)], tags, [len(places)]])
            score = scores[np.arange(len(tags)), tags].sum() + told.learned[path[:-1], path[1:]].sum()
            nats[row] = max(0.0, partitions[row] - score)
    return nats
