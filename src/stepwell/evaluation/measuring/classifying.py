"""How well texts are given their labels: every example of a split, scored, by all that a decision listens to.

What is kept of a text is small: a row of scores, never its hidden states. This file leaves out the metrics
(`classification.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.baselines import SimpleModel, TextModel
from stepwell.data import Document, TokenSplit
from stepwell.evaluation.scores.classification import ClassificationScores, RegressionScores
from stepwell.evaluation.scores.metrics import Scores
from stepwell.hardware import Precision
from stepwell.inference import tell_classes
from stepwell.models import LanguageModel
from stepwell.tasks import MODEL, ClassificationConfig, LabelWords, decided, in_words, told_by_head
from stepwell.tokenizers import Tokenizer

Told = NDArray[np.floating[Any]]


def evaluate_classification(
    model: LanguageModel,
    split: TokenSplit,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    task: ClassificationConfig,
    precision: Precision = "float32",
    beside: Mapping[str, SimpleModel] | None = None,
) -> Scores:
    """Score the examples of a split.

    Args:
        model: trained for the task.
        split: examples of `task`.
        texts: of the examples, for the simple models.
        tokenizer: of the split.
        task: labels, and how they are decided on.
        precision: of the matrix products.
        beside: simple models by name; those that the decision names must be there.

    Returns:
        `ClassificationScores`, or `RegressionScores` where the label is a number; one row each example.
    """
    told = told_by_members(model, split, texts, tokenizer, task, task.decision.members, precision, beside or {})
    together = decided(told, task)
    return score_labels(together, np.asarray(split.of_document["label"]), task).saying(labels_said(together, task))


def labels_said(told: Told, task: ClassificationConfig) -> list[dict[str, Any]]:
    """What is said of each example: the `answer` in words, and its `probability`, or the `probabilities` of all labels.

    Args:
        told: (N, K) probabilities, or (N, 1) numbers, as they are decided on.
        task: labels, and how they are decided on.
    """
    answers = [{"answer": words} for words in in_words(told, task)]
    if task.problem == "number":
        return [{"answer": float(row[0])} for row in told]
    name, of = ("probabilities", told) if task.problem == "multiple" else ("probability", told.max(1, initial=0.0))
    return [{**answer, name: value} for answer, value in zip(answers, np.round(of, 6).tolist(), strict=True)]


def told_by_members(
    model: LanguageModel,
    split: TokenSplit,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    task: ClassificationConfig,
    members: Sequence[str],
    precision: Precision,
    beside: Mapping[str, SimpleModel],
) -> dict[str, Told]:
    """What each member says of each example: (N, K) probabilities, or (N, 1) numbers."""
    told: dict[str, Told] = {}
    for name in members:
        if name == MODEL:
            rows = _rows(split, texts, tokenizer, task)
            told[name] = told_by_head(tell_classes(model, tokenizer, task, rows, precision=precision), task)
        else:
            simple = beside[name]
            assert isinstance(simple, TextModel)
            told[name] = simple.tell(texts)
    return told


def _rows(
    split: TokenSplit, texts: Sequence[str], tokenizer: Tokenizer, task: ClassificationConfig
) -> list[NDArray[np.integer[Any]]]:
    """What the model reads of each example: the examples themselves, or the texts as the decision puts them."""
    if task.decision.template is not None:
        return [ids for ids, _ in LabelWords(task).read([Document(text, "") for text in texts], tokenizer)]
    ends = split.of_document.get("source_tokens", np.full(split.num_documents, -1))
    return [split.document(number)[:end] for number, end in enumerate(ends.tolist())]


def score_labels(told: Told, labels: NDArray[Any], task: ClassificationConfig) -> Scores:
    """Scores of what was said about labels.

    Args:
        told: (N, K) probabilities, or (N, 1) numbers.
        labels: (N,) or (N, K) as `Classification.make` writes them.
        task: labels, and how they are decided on.
    """
    if task.problem == "number":
        return RegressionScores.of(told[:, 0], labels * task.spread + task.center)
    return ClassificationScores.of(told, labels, threshold=task.decision.threshold)


def label_scores(task: ClassificationConfig) -> type[Scores]:
    """The class of a task's scores."""
    return RegressionScores if task.problem == "number" else ClassificationScores
