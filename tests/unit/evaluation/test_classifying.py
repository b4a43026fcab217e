"""Scores of what was said about labels, by members and decisions, beside scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as theirs

from stepwell.evaluation import ClassificationScores, RegressionScores, score_labels, summarize, values_of
from stepwell.evaluation.measuring.classifying import label_scores
from stepwell.tasks import ClassificationConfig, DecisionConfig, decided

NAMES = ("a", "b", "c")
SINGLE = ClassificationConfig(problem="single", labels=NAMES)
SEVERAL = ClassificationConfig(problem="multiple", labels=NAMES)
NUMBER = ClassificationConfig(problem="number", center=5.0, spread=2.0)


@pytest.fixture
def told() -> np.ndarray:
    chances = np.random.default_rng(0).random((80, 3))
    return np.asarray(chances / chances.sum(1, keepdims=True))


def values(told: np.ndarray, labels: np.ndarray, task: ClassificationConfig) -> dict[str, float]:
    return {name: one.value for name, one in summarize(score_labels(told, labels, task)).items()}


def test_one_label_beside_scikit_learn(told: np.ndarray) -> None:
    labels = np.random.default_rng(1).integers(0, 3, 80)
    found, chosen = values(told, labels, SINGLE), told.argmax(1)
    assert found["accuracy"] == pytest.approx(theirs.accuracy_score(labels, chosen))
    assert found["macro_f1"] == pytest.approx(theirs.f1_score(labels, chosen, average="macro"))
    assert found["loss"] == pytest.approx(theirs.log_loss(labels, told))


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_several_labels_by_the_threshold_of_the_decision(threshold: float, told: np.ndarray) -> None:
    labels = (np.random.default_rng(1).random((80, 3)) < 0.4).astype(np.float32)
    task = SEVERAL.model_copy(update={"decision": DecisionConfig(threshold=threshold)})
    found, chosen = values(told, labels, task), told >= threshold
    for average in ("micro", "macro"):
        wanted = theirs.f1_score(labels, chosen, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(wanted)
    assert found["accuracy"] == pytest.approx(theirs.accuracy_score(labels, chosen))


def test_numbers_in_their_own_unit(told: np.ndarray) -> None:
    """Labels stand there as a model learns them, what was told as a person reads it."""
    right = np.random.default_rng(1).normal(size=80)
    guess = right[:, None] * 2 + 5 + told[:, :1]
    found = values(guess, right.astype(np.float32), NUMBER)
    true = right * 2 + 5
    assert found["mean_squared_error"] == pytest.approx(theirs.mean_squared_error(true, guess[:, 0]), rel=1e-4)
    assert found["mean_absolute_error"] == pytest.approx(theirs.mean_absolute_error(true, guess[:, 0]), rel=1e-4)
    assert found["r_squared"] == pytest.approx(theirs.r2_score(true, guess[:, 0]), rel=1e-4)


def test_a_decision_moves_what_it_should(told: np.ndarray) -> None:
    """A temperature changes the loss and no label; a prior moves labels."""
    labels = np.random.default_rng(1).integers(0, 3, 80)

    def scored(**decision: Any) -> Any:
        task = SINGLE.model_copy(update={"decision": DecisionConfig(**decision)})
        return score_labels(decided({"model": told}, task), labels, task)

    plain, warm, pushed = scored(), scored(temperature=2.0), scored(prior=(9.0, 0.0, 0.0))
    assert np.array_equal(plain.chosen, warm.chosen)
    assert values_of(plain, "loss")["loss"] != pytest.approx(values_of(warm, "loss")["loss"])
    assert pushed.chosen[:, 0].all()


def test_the_class_of_the_scores() -> None:
    assert label_scores(NUMBER) is RegressionScores
    assert label_scores(SINGLE) is label_scores(SEVERAL) is ClassificationScores
