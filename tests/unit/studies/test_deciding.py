"""Decisions found on held-out text: the better member, the right temperature, a threshold, and nothing by chance."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepwell.config import build
from stepwell.evaluation import Interval, score_labels, values_of
from stepwell.recipes import Recipe
from stepwell.studies.deciding import THRESHOLDS, choose_decision
from stepwell.studies.journal import Journal
from stepwell.studies.study import Study
from stepwell.tasks import ClassificationConfig, DecisionConfig, decided


def recipe_with(**values: Any) -> Recipe:
    """A whole recipe with other values."""
    model = {"kind": "decoder", "vocab_size": 640, "max_seq_len": 32, "num_layers": 1, "d_model": 16, "num_heads": 2,
             "num_kv_heads": 2, "head_dim": 8, "d_ff": 32}  # fmt: skip
    training = {"steps": 40, "global_batch_tokens": 256, "micro_batch": 2, "precision": "float32",
                "optimizer": {"kind": "muon", "learning_rate": 0.02, "adamw_learning_rate": 0.003},
                "schedule": {"kind": "wsd", "warmup_steps": 10}, "evaluate_every_steps": 40}  # fmt: skip
    whole = {"data": {"sources": ("x",)}, "tokenizer": {"kind": "byte_bpe", "vocab_size": 640}, "model": model,
             "training": training}  # fmt: skip
    return build(Recipe, {**whole, **values}, where="test")


NAMES = ("a", "b", "c", "d")
SINGLE = ClassificationConfig(problem="single", labels=NAMES)
SEVERAL = ClassificationConfig(problem="multiple", labels=NAMES)
NUMBER = ClassificationConfig(problem="number", center=2.0, spread=3.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def drawn(count: int = 600, sharpness: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Honest logits, and labels drawn by them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 4)) * sharpness
    labels = (softmax(logits).cumsum(1) < rng.random((count, 1))).sum(1)
    return logits, labels


def loss_of(told: dict[str, np.ndarray], labels: np.ndarray, task: ClassificationConfig) -> float:
    return values_of(score_labels(decided(told, task), labels, task), "loss")["loss"]


def test_who_knows_is_listened_to_and_who_guesses_is_not() -> None:
    logits, labels = drawn()
    noise = np.random.default_rng(5).normal(size=logits.shape) * 3
    found = choose_decision({"model": softmax(noise), "linear": softmax(logits)}, labels, SINGLE, "accuracy")
    assert found.decision.members == ("linear",)
    found = choose_decision({"model": softmax(logits), "linear": softmax(noise)}, labels, SINGLE, "accuracy")
    assert found.decision.members == ("model",)


def test_two_that_know_different_things_are_joined() -> None:
    logits, labels = drawn(1_000, 3.0)
    rng = np.random.default_rng(7)
    told = {name: softmax(logits / 2 + rng.normal(size=logits.shape) * 1.5) for name in ("model", "bag")}
    assert choose_decision(told, labels, SINGLE, "accuracy").decision.members == ("model", "bag")


def test_no_other_weights_have_less_loss() -> None:
    """Beside a grid of weights of three members, at every temperature; a weight is drawn a little to an equal one."""
    logits, labels = drawn(400)
    rng = np.random.default_rng(2)
    told = {name: softmax(logits + rng.normal(size=logits.shape) * noise) for name, noise in
            (("model", 2.0), ("linear", 1.0), ("bag", 1.5))}  # fmt: skip
    task = choose_decision(told, labels, SINGLE, "accuracy")
    tried = [
        DecisionConfig(members=tuple(told), weights=(a / 10, b / 10, (10 - a - b) / 10), temperature=temperature)
        for a in range(1, 9)
        for b in range(1, 10 - a)
        for temperature in np.geomspace(0.2, 2, 12).tolist()
    ]
    losses = [loss_of(told, labels, SINGLE.model_copy(update={"decision": one})) for one in tried]
    assert loss_of(told, labels, task) <= min(losses) + 1e-3
    weights = dict(zip(task.decision.members, task.decision.weights, strict=True))
    assert weights["linear"] > weights["bag"] > weights["model"]


def test_weights_of_equal_members_are_equal() -> None:
    logits, labels = drawn(300)
    told = {"model": softmax(logits), "bag": softmax(logits)}
    assert choose_decision(told, labels, SINGLE, "accuracy").decision.weights == pytest.approx((0.5, 0.5))


def test_who_knows_most_is_listened_to_even_if_it_sounds_too_sure() -> None:
    """What it says needs another temperature, so as it stands its loss is the larger one."""
    logits, labels = drawn(600)
    worse = softmax(logits + np.random.default_rng(3).normal(size=logits.shape))
    told = {"model": worse, "bag": softmax(2.4 * logits)}
    as_they_stand = [
        loss_of(told, labels, SINGLE.model_copy(update={"decision": DecisionConfig(members=(name,))})) for name in told
    ]
    assert as_they_stand[0] < as_they_stand[1]
    found = choose_decision(told, labels, SINGLE, "accuracy").decision
    assert dict(zip(found.members, found.weights or (1.0,), strict=True))["bag"] > 0.8


@pytest.mark.slow_but("0.5")
@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 2.0])
def test_the_temperature_is_that_of_the_least_loss(overconfidence: float) -> None:
    """Beside every other one, and about how much too sure the model is."""
    logits, labels = drawn(1_500)
    told = {"model": softmax(logits * overconfidence)}
    found = choose_decision(told, labels, SINGLE, "accuracy").decision
    tried = np.geomspace(0.3, 3, 100).tolist()
    losses = [
        loss_of(told, labels, SINGLE.model_copy(update={"decision": DecisionConfig(temperature=value)}))
        for value in tried
    ]
    assert found.temperature == pytest.approx(tried[int(np.argmin(losses))], rel=0.05)
    assert found.temperature == pytest.approx(overconfidence, rel=0.15)


def test_a_threshold_where_it_helps() -> None:
    """Of labels that are told with half their probability, more are chosen."""
    rng = np.random.default_rng(3)
    chances = rng.random((800, 4)) ** 3
    labels = (rng.random((800, 4)) < chances).astype(np.float32)
    found = choose_decision({"model": chances}, labels, SEVERAL, "micro_f1").decision
    assert found.threshold in THRESHOLDS
    assert found.threshold < 0.5

    def f1(threshold: float) -> float:
        task = SEVERAL.model_copy(update={"decision": found.model_copy(update={"threshold": threshold})})
        return values_of(score_labels(decided({"model": chances}, task), labels, task), "micro_f1")["micro_f1"]

    assert f1(found.threshold) == max(f1(one) for one in THRESHOLDS)
    assert f1(found.threshold) > f1(0.5)


@pytest.mark.slow
def test_a_prior_where_the_model_has_learned_from_other_shares() -> None:
    """A model that thinks all labels equally frequent is told how frequent they are."""
    rng = np.random.default_rng(4)
    labels = rng.choice(4, size=3_000, p=[0.85, 0.05, 0.05, 0.05])
    logits = rng.normal(size=(3_000, 4))
    logits[np.arange(3_000), labels] += 1.2
    found = choose_decision({"model": softmax(logits)}, labels, SINGLE, "accuracy")
    assert len(found.decision.prior) == 4
    assert found.decision.prior[0] > max(found.decision.prior[1:])
    plain = SINGLE.model_copy(update={"decision": found.decision.model_copy(update={"prior": ()})})

    def accuracy(task: ClassificationConfig) -> float:
        return values_of(score_labels(decided({"model": softmax(logits)}, task), labels, task), "accuracy")["accuracy"]

    assert accuracy(found) > accuracy(plain) + 0.02


def test_no_prior_and_no_threshold_by_chance() -> None:
    logits, labels = drawn(150, seed=11)
    assert choose_decision({"model": softmax(logits)}, labels, SINGLE, "accuracy").decision.prior == ()
    rng = np.random.default_rng(12)
    chances = np.where(rng.random((100, 4)) < 0.5, 0.05, 0.95)
    flags = (rng.random((100, 4)) < chances).astype(np.float32)
    assert choose_decision({"model": chances}, flags, SEVERAL, "micro_f1").decision.threshold == 0.5


def test_of_numbers_only_who_has_a_say() -> None:
    rng = np.random.default_rng(6)
    right = rng.normal(size=200)
    told = {
        "model": (right[:, None] * 3 + 2) + rng.normal(size=(200, 1)) * 5,
        "linear": (right[:, None] * 3 + 2) + rng.normal(size=(200, 1)) * 0.1,
    }
    found = choose_decision(told, right.astype(np.float32), NUMBER, "mean_squared_error").decision
    assert found == DecisionConfig(members=("linear",))


def test_what_was_found_for_one_model_is_not_the_next_ones() -> None:
    """A round of training is judged with the decision that the run began with, whatever was decided since."""
    begun = DecisionConfig(threshold=0.4)
    study: Any = SimpleNamespace(
        recipe=recipe_with(task=SEVERAL.model_copy(update={"decision": begun}).model_dump(), metric="micro_f1")
    )
    later = DecisionConfig(members=("linear", "model"), temperature=0.5)
    recipe = recipe_with(
        task=SEVERAL.model_copy(update={"decision": later, "fewest": 7}).model_dump(), metric="micro_f1"
    )
    task: Any = Study._undecided(study, recipe).task
    assert (task.decision, task.fewest) == (begun, 7)
    plain = recipe_with()
    assert Study._undecided(SimpleNamespace(recipe=plain), plain) is plain  # type: ignore[arg-type]


def test_a_decision_is_recalled_from_the_journal(tmp_path: Path) -> None:
    """Of the kept rounds after the last model that was kept; as plain values they make the same decision again."""
    trained = {"accepted": True, "steps": 40, "diagnosis": "overfitting", "change": {"model.dropout": [0.0, 0.1]}}
    found = DecisionConfig(members=("linear", "model"), temperature=1.25, prior=(0.5, -0.5, 0.0, 0.0))
    change = {f"task.decision.{name}": [None, value] for name, value in found.model_dump().items()}
    decision = {"accepted": True, "steps": 0, "diagnosis": "decision", "change": change, "value": 0.9, "low": 0.8,
                "high": 0.95}  # fmt: skip
    refused = {**decision, "accepted": False, "change": {"task.decision.threshold": [0.5, 0.9]}}
    journal = Journal(tmp_path / "journal.jsonl")
    for number, line in enumerate((trained, decision, refused, {**trained, "accepted": False}), start=1):
        journal.add({"round": number, **line})
    again = Journal(tmp_path / "journal.jsonl")
    assert again.decided() == Interval(0.9, 0.8, 0.95)
    recipe = recipe_with(task=SINGLE.model_dump(), metric="accuracy").changed(again.prediction_changes())
    task: Any = recipe.task
    assert task.decision == found
    again.add({"round": 5, **trained})  # another model: nothing is decided about it yet
    assert again.decided() is None
    assert again.prediction_changes() == {}


@pytest.mark.parametrize(
    ("fixed", "open_"),
    [((), True), (("model.num_layers",), True), (("task.decision",), False), (("task.decision.members",), False)],
)
def test_a_decision_that_the_recipe_fixes_is_left_alone(fixed: tuple[str, ...], open_: bool) -> None:
    recipe = recipe_with(task={"kind": "classification"}, metric="accuracy", study={"fixed": fixed})
    assert Study._may_decide(SimpleNamespace(recipe=recipe)) is open_  # type: ignore[arg-type]
