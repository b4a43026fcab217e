"""How well a model gives texts their labels: every example of a split, scored.

What is kept of a text is small: a row of scores, never its hidden states. This file leaves out the metrics
(`classification.py`).
"""

from __future__ import annotations

import numpy as np

from stepwell.data import TokenSplit
from stepwell.evaluation.classification import ClassificationScores, RegressionScores
from stepwell.evaluation.metrics import Scores
from stepwell.hardware import Precision
from stepwell.inference import tell_labels
from stepwell.models import LanguageModel
from stepwell.tasks import ClassificationConfig, numbers_told, probabilities_of


def evaluate_classification(
    model: LanguageModel, split: TokenSplit, task: ClassificationConfig, precision: Precision = "float32"
) -> Scores:
    """Score the examples of a split.

    Args:
        model: with a task head.
        split: examples of `task`.
        task: labels, and how they are decided on.
        precision: of the matrix products.

    Returns:
        `ClassificationScores`, or `RegressionScores` where the label is a number; one row each example.
    """
    outputs = tell_labels(
        model, [split.document(number)[:-1] for number in range(split.num_documents)], precision=precision
    )
    return score_labels(outputs, np.asarray(split.of_document.get("label", np.zeros(0))), task)


def score_labels(outputs: np.ndarray, labels: np.ndarray, task: ClassificationConfig) -> Scores:
    """Scores of what a task head said.

    Args:
        outputs: (N, K).
        labels: (N,) or (N, K) as `Classification.make` writes them.
        task: labels, and how they are decided on.
    """
    if task.problem == "number":
        return RegressionScores.of(numbers_told(outputs, task), labels * task.spread + task.center)
    probabilities = probabilities_of(outputs, task)
    return ClassificationScores.of(probabilities, labels, threshold=task.decision.threshold)


def label_scores(task: ClassificationConfig) -> type[Scores]:
    """The class of a task's scores."""
    return RegressionScores if task.problem == "number" else ClassificationScores
