"""From what models say to labels: temperature, priors, thresholds and several members, beside plain definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepwell.config import build
from stepwell.errors import ConfigError
from stepwell.tasks import ClassificationConfig, DecisionConfig, chosen_labels, decided, in_words, told_by_head

SINGLE = ClassificationConfig(problem="single", labels=("a", "b", "c"))
SEVERAL = ClassificationConfig(problem="multiple", labels=("a", "b", "c"))
NUMBER = ClassificationConfig(problem="number", center=10.0, spread=4.0)


def with_decision(config: ClassificationConfig, **values: Any) -> ClassificationConfig:
    return config.model_copy(update={"decision": DecisionConfig(**values)})


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 3)) * 3


def test_what_the_outputs_of_a_head_mean(logits: np.ndarray) -> None:
    np.testing.assert_allclose(told_by_head(logits, SINGLE), softmax(logits))
    np.testing.assert_allclose(told_by_head(logits, SEVERAL), 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(told_by_head(logits[:, :1], NUMBER), logits[:, :1] * 4 + 10)
    extreme = np.array([[1000.0, -1000.0, 0.0]])
    np.testing.assert_allclose(told_by_head(extreme, SINGLE), [[1, 0, 0]])
    np.testing.assert_allclose(told_by_head(extreme, SEVERAL), [[1, 0, 0.5]])


@pytest.mark.parametrize("config", [SINGLE, SEVERAL], ids=["single", "multiple"])
def test_the_decision_that_a_task_begins_with_changes_nothing(config: Any, logits: np.ndarray) -> None:
    told = told_by_head(logits, config)
    np.testing.assert_allclose(decided({"model": told}, config), told, atol=1e-9)


def test_temperature_and_prior(logits: np.ndarray) -> None:
    """Logits over the temperature, and then the prior; of several labels each for itself."""
    prior = (0.5, -1.0, 0.0)
    config = with_decision(SINGLE, temperature=2.0, prior=prior)
    np.testing.assert_allclose(
        decided({"model": softmax(logits)}, config), softmax(logits / 2 + np.array(prior)), atol=1e-6
    )
    config = with_decision(SEVERAL, temperature=0.5)
    told = told_by_head(logits / 2, SEVERAL)
    np.testing.assert_allclose(decided({"model": told}, config), told_by_head(logits, SEVERAL), atol=1e-6)


def test_members_are_joined_by_their_geometric_mean(logits: np.ndarray) -> None:
    first, second = softmax(logits), softmax(logits[::-1])
    both = np.sqrt(first * second)
    config = with_decision(SINGLE, members=("model", "bag"))
    wanted = both / both.sum(1, keepdims=True)
    np.testing.assert_allclose(decided({"model": first, "bag": second, "linear": first}, config), wanted, atol=1e-6)
    alone = with_decision(SINGLE, members=("bag",))
    np.testing.assert_allclose(decided({"model": first, "bag": second}, alone), second, atol=1e-6)
    numbers = with_decision(NUMBER, members=("model", "linear"))
    found = decided({"model": np.array([[1.0], [2.0]]), "linear": np.array([[3.0], [8.0]])}, numbers)
    np.testing.assert_allclose(found, [[2.0], [5.0]])


def test_a_member_that_is_certain_rules_nothing_out() -> None:
    sure, unsure = np.array([[1.0, 0.0, 0.0]]), np.array([[0.1, 0.8, 0.1]])
    found = decided({"model": sure, "bag": unsure}, with_decision(SINGLE, members=("model", "bag")))
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert found.argmax() == 0
    found = decided({"model": np.array([[1.0, 0.0, 0.5]])}, SEVERAL)
    assert np.isfinite(found).all()


def test_labels_that_are_chosen() -> None:
    told = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert chosen_labels(told, SINGLE) == [("b",), ("a",)]
    assert chosen_labels(told, SEVERAL) == [("b",), ("a",)]
    low = with_decision(SEVERAL, threshold=0.3)
    assert chosen_labels(told, low) == [("b", "c"), ("a", "c")]
    assert in_words(told, low) == ["b, c", "a, c"]
    assert in_words(told, with_decision(SEVERAL, threshold=0.9)) == ["-", "-"]
    assert in_words(np.array([[12.34567], [-3.0]]), NUMBER) == ["12.35", "-3"]


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 0), ("threshold", 1), ("threshold", 0), ("members", ()), ("priors", (1.0,))]
)
def test_a_decision_that_makes_no_sense(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        build(DecisionConfig, {field: value}, where="task.decision")
