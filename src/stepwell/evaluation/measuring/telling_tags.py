"""How well a model gives words their tags: every sentence of a split, scored against the tags it came with.

Words that did not fit into the model count as words without a span, so nothing that was cut away is forgiven. This file
leaves out the metrics (`tagging.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stepwell.baselines import SimpleModel
from stepwell.config import build
from stepwell.data import Document
from stepwell.evaluation.intervals import bootstrap
from stepwell.evaluation.scores.metrics import FloatArray
from stepwell.evaluation.scores.tagging import TaggingScores
from stepwell.hardware import Precision
from stepwell.inference import ToldTags, tags_by_simple_model, tell_tags
from stepwell.models import LanguageModel
from stepwell.tasks import (
    MODEL,
    Tagging,
    TaggingConfig,
    TaggingDecisionConfig,
    log_partitions,
    reading_of,
    span_types,
)
from stepwell.tokenizers import Tokenizer


def evaluate_tagging(
    model: LanguageModel,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: TaggingConfig,
    precision: Precision = "float32",
    beside: Mapping[str, SimpleModel] | None = None,
) -> TaggingScores:
    """Score sentences.

    Args:
        model: with a task head for each token.
        documents: examples of `task`.
        tokenizer: that the model was trained with.
        task: tags and scheme.
        precision: of the matrix products.
        beside: simple models by name; the one that the decision names must be there.
    """
    reader = Tagging(task)
    right = [reader.tags_of(one) or [] for one in documents]
    told = tell_tags(model, task, reader.read(documents, tokenizer), precision=precision)
    chosen = [[task.tags[tag] for tag in tags] for tags in told.tags]
    if MODEL not in task.decision.members:
        words = [[word.text for word in reader.placed(one)[1]] for one in documents]
        chosen = tags_by_simple_model(words, task, beside or {})
    scores = TaggingScores.of(
        chosen,
        right,
        types=types_of(task, right),
        scheme=reading_of(task.scheme or "plain"),
        nats=nats_of(told, right, task),
    )
    return scores.saying([{"answer": tags} for tags in chosen])


def choose_tagger(
    model: LanguageModel,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: TaggingConfig,
    metric: str,
    precision: Precision,
    beside: Mapping[str, SimpleModel],
) -> TaggingConfig:
    """A task with who tags held-out sentences best: the model, or a simple one beside it.

    Args:
        model: trained for the task.
        documents: held-out sentences.
        tokenizer: that the model was trained with.
        task: tags and scheme.
        metric: by which one is better.
        precision: of the matrix products.
        beside: simple models by name.
    """
    tried = [task.model_copy(update={"decision": TaggingDecisionConfig()})]
    for name in beside:
        tried.append(task.model_copy(update={"decision": build(TaggingDecisionConfig, {"members": [name]}, where="")}))

    def value(one: TaggingConfig) -> float:
        scores = evaluate_tagging(model, documents, tokenizer, one, precision, beside)
        return bootstrap(scores, metric, resamples=1).value

    return max(tried, key=value)


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
