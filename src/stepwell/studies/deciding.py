"""Decisions about what a model says, found on held-out text without training again: one row for each task.

For labels: which of the simple models have a say beside the trained one, how sure they may sound together (temperature
scaling, Guo et al., 2017), how much the frequencies of labels count, and from which probability on a label is given.
What is found is kept only if it is better by more than chance (`study.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.evaluation import (
    Held,
    Scores,
    measure_of,
    paired_bootstrap,
    score_labels,
    told_by_members,
    values_of,
)
from stepwell.hardware import Precision
from stepwell.models import LanguageModel
from stepwell.studies.asking import decide_asking, decide_drawing
from stepwell.tasks import (
    MODEL,
    ChatConfig,
    ClassificationConfig,
    DecisionConfig,
    QuestionAnsweringConfig,
    TaskConfig,
    decided,
)

Told = Mapping[str, NDArray[np.floating[Any]]]

TEMPERATURES = tuple(float(f"{value:.3g}") for value in np.geomspace(0.4, 2.5, 19))
PRIORS = (-0.75, -0.5, -0.25, 0.25, 0.5)
"""Shares of the log frequency of each label that are added to its logit."""

THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(2, 19))

NOT_JOINED = ("majority",)
"""Simple models that have no say."""


def decide_labels(
    model: LanguageModel, held: Held, task: ClassificationConfig, precision: Precision, metric: str
) -> ClassificationConfig:
    """The decision that suits held-out texts best.

    Args:
        model: that was trained.
        held: texts with their labels, and the simple models beside.
        task: labels.
        precision: of the matrix products.
        metric: that counts where the loss cannot tell: the threshold of several labels, priors.
    """
    members = [MODEL, *(name for name in held.beside if name not in NOT_JOINED)]
    told = told_by_members(model, held.split, held.texts, task, members, precision, held.beside)
    labels = np.asarray(held.split.of_document["label"])
    return choose_decision(told, labels, task, metric)


def choose_decision(told: Told, labels: NDArray[Any], task: ClassificationConfig, metric: str) -> ClassificationConfig:
    """The decision of the least loss; then, where it helps the metric by more than chance, a prior or a threshold.

    Args:
        told: member -> (N, K) probabilities, or (N, 1) numbers.
        labels: of the N texts, as the task writes them.
        task: labels.
        metric: a name of the scores' metrics.
    """

    def scored(decision: DecisionConfig) -> tuple[ClassificationConfig, Scores]:
        tried = task.model_copy(update={"decision": decision})
        return tried, score_labels(decided(told, tried), labels, tried)

    def loss(decision: DecisionConfig) -> float:
        return values_of(scored(decision)[1], "loss")["loss"]

    choices = [some for size in range(1, len(told) + 1) for some in combinations(told, size)]
    best = min((DecisionConfig(members=some) for some in choices), key=loss)
    if task.problem == "number":
        return scored(best)[0]
    best = min((best.model_copy(update={"temperature": value}) for value in TEMPERATURES), key=loss)
    others: Sequence[DecisionConfig]
    if task.problem == "multiple":
        others = [best.model_copy(update={"threshold": value}) for value in THRESHOLDS]
    else:
        frequency = np.log(
            np.maximum(1, np.bincount(labels.astype(np.int64), minlength=len(task.labels))) / len(labels)
        )
        others = [
            best.model_copy(update={"prior": tuple(float(f"{one:.4g}") for one in share * frequency)})
            for share in PRIORS
        ]
    now = scored(best)
    higher = now[1].metrics[metric].higher_is_better is not False
    other = max(
        (scored(one) for one in others), key=lambda one: values_of(one[1], metric)[metric] * (1 if higher else -1)
    )
    pair = (other[1], now[1]) if higher else (now[1], other[1])
    gain = paired_bootstrap(*pair, metric)
    return other[0] if gain.low is not None and gain.low > 0 else now[0]


DECIDERS: dict[str, Callable[[LanguageModel, Held, Any, Precision, str], TaskConfig]] = {
    "classification": decide_labels,
    "chat": decide_asking,
    "generation": decide_drawing,
}
"""Kind of a task -> function of (model, held, task, precision, metric) that gives the task with another decision."""

DECIDED_BY = {"generation": "variety_gap"}
"""Kind of a task -> the metric that its decision changes, where that is not the run's."""


def has_choice(task: TaskConfig) -> bool:
    """Whether there is something to decide on without training again."""
    known = task.kind in DECIDERS or measure_of(task).decide is not None
    if isinstance(task, QuestionAnsweringConfig) and task.mode == "extractive" and not task.unanswerable:
        return False
    return known and not (isinstance(task, ChatConfig) and not task.ways)


def decide(model: LanguageModel, held: Held, task: Any, precision: Precision, metric: str) -> TaskConfig:
    """A task with the decision that suits a model best on held-out examples, by `DECIDERS` or by its measure.

    Args:
        model: that was trained.
        held: examples.
        task: for which `has_choice`.
        precision: of the matrix products.
        metric: that counts.
    """
    if task.kind in DECIDERS:
        return DECIDERS[task.kind](model, held, task, precision, metric)
    found = measure_of(task).decide
    assert found is not None
    chosen: TaskConfig = found(model, held, task, metric, precision)
    return chosen
