"""Every rule of diagnosis: a made-up round in which it must speak, and ones in which it must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stepwell.studies.diagnosis import RULES, Case, Finding, diagnose
from stepwell.studies.trial import Trial

MakeTrial = Callable[..., Trial]
Points = list[tuple[int, float]]


def curve(points: Points, decay_start: int, steps: int, events: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl: the full rate up to `decay_start`, then down; held-out losses at some steps."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        warm = min(1.0, step / 10)
        rate = warm if step <= decay_start else 1 - 0.98 * (step - decay_start) / (steps - decay_start)
        lines.append({"kind": "step", "step": step, "learning_rate": rate, "loss": 3.0})
    lines += [{"kind": "evaluation", "step": step, "loss": loss} for step, loss in points]
    lines += [{"kind": "event", "step": 7, "event": event, "detail": ""} for event in events]
    return lines


def power_law(exponent: float, decay_gain: float = 0.0, decay_start: int = 240, steps: int = 400) -> Points:
    """Losses that fall as step^-exponent, and by another share towards the end of the decay."""
    return [
        (step, 4.0 * step**-exponent * (1 - decay_gain * max(0, step - decay_start) / (steps - decay_start)))
        for step in range(40, steps + 1, 40)
    ]


def case_of(trial: Trial, **fields: Any) -> Case:
    whole = {"rare_ratio": 0.05, "bytes_per_token": 3.0, "text_repetition": 0.03, "unique_tokens": 10**9}
    whole["tokens_to_come"] = 0.0
    return Case(trial, **whole | fields)


def names(case: Case) -> list[str]:
    return [finding.name for finding in diagnose(case)]


HEALTHY = power_law(0.002, decay_gain=0.06)
"""Hardly anything left to learn at this rate, and the decay brings what a decay brings."""


def found(name: str, case: Case) -> Finding | None:
    return next((finding for finding in diagnose(case) if finding.name == name), None)


def test_of_a_round_in_which_all_is_well_no_rule_speaks(make_trial: MakeTrial) -> None:
    flat = [(step, 2.0 - (0.05 * (step - 240) / 160 if step > 240 else 0)) for step in range(40, 401, 40)]
    assert names(case_of(make_trial(lines=curve(flat, 240, 400)))) == []
    assert names(case_of(make_trial())) == []  # no measurements at all


def test_every_rule_bears_the_name_of_its_finding(make_trial: MakeTrial) -> None:
    rules = {rule.__name__ for rule in RULES}
    assert len(rules) == len(RULES) == 9
    many = case_of(
        make_trial(lines=curve(HEALTHY, 240, 400, ("rolled_back",)), repetition=[0.9], tokens=1), rare_ratio=0.9
    )
    assert set(names(many)) <= rules
    assert names(many) == [rule.__name__ for rule in RULES if rule.__name__ in names(many)]  # the most urgent first


def test_instability(make_trial: MakeTrial) -> None:
    events = ("rolled_back", "resumed", "rolled_back")
    finding = found("instability", case_of(make_trial(lines=curve(HEALTHY, 240, 400, events))))
    assert finding is not None
    assert finding.evidence == {"rollbacks": 2}
    calm = case_of(make_trial(lines=curve(HEALTHY, 240, 400, ("resumed", "shortened"))))
    assert "instability" not in names(calm)


def test_overfitting_when_held_out_loss_turned(make_trial: MakeTrial) -> None:
    turned = [(40, 3.0), (80, 2.5), (120, 2.4), (160, 2.45), (200, 2.5)]
    finding = found("overfitting", case_of(make_trial(lines=curve(turned, 240, 240))))
    assert finding is not None
    assert finding.evidence["rise_since_best"] == pytest.approx(2.5 / 2.4 - 1)
    assert "step 120" in finding.words
    wobbled = [(40, 3.0), (80, 2.5), (120, 2.4), (160, 2.405)]
    assert "overfitting" not in names(case_of(make_trial(lines=curve(wobbled, 240, 240))))
    assert "overfitting" not in names(case_of(make_trial(lines=curve([(40, 2.0), (80, 3.0)], 240, 240))))


@pytest.mark.parametrize(
    ("train_bits", "epochs", "speaks"), [(1.7, 10, True), (1.7, 2, False), (1.9, 10, False), (2.3, 10, False)]
)
def test_overfitting_when_training_text_is_much_easier(
    make_trial: MakeTrial, train_bits: float, epochs: float, speaks: bool
) -> None:
    trial = make_trial(train_bits=train_bits, lines=curve(HEALTHY, 240, 400))
    case = case_of(trial, unique_tokens=trial.tokens / epochs)
    assert ("overfitting" in names(case)) is speaks


@pytest.mark.parametrize(
    ("exponent", "decay_gain", "too_high", "too_low"),
    [
        (0.0, 0.06, True, False),  # stood still, then fell
        (0.0, 0.01, False, False),  # stood still, and the decay hardly helped: there is nothing more to learn
        (0.15, 0.0, False, True),  # the decay went on as if it were none
        (0.15, 0.05, False, False),  # fell, and fell more in the decay: as it should be
        (0.004, 0.0, False, False),  # too little fall to tell
    ],
)
def test_learning_rates(
    make_trial: MakeTrial, exponent: float, decay_gain: float, too_high: bool, too_low: bool
) -> None:
    case = case_of(make_trial(lines=curve(power_law(exponent, decay_gain), 240, 400)))
    assert ("learning_rate_too_high" in names(case)) is too_high
    assert ("learning_rate_too_low" in names(case)) is too_low


def test_rates_are_not_judged_by_a_few_points_or_without_a_decay(make_trial: MakeTrial) -> None:
    few = [point for point in power_law(0.0, 0.06) if point[0] in (200, 240, 400)]
    for lines in (curve(few, 240, 400), curve(power_law(0.0), 400, 400)):
        assert not [name for name in names(case_of(make_trial(lines=lines))) if name.startswith("learning_rate")]


@pytest.mark.parametrize("exponent", [0.0, 0.15])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "inverse_square_root", "one_cycle", "plateau"])
def test_rates_are_not_judged_by_a_schedule_without_a_stable_part_and_a_decay(
    make_trial: MakeTrial, make_recipe: Callable[..., Any], kind: str, exponent: float
) -> None:
    recipe = make_recipe(training={"schedule": {"kind": kind, "warmup_steps": 10}})
    points = power_law(exponent, 0.0 if exponent else 0.06)
    case = case_of(make_trial(recipe=recipe, lines=curve(points, 240, 400)))
    assert not [name for name in names(case) if name.startswith("learning_rate")]


def test_a_rising_stable_part_is_no_low_rate(make_trial: MakeTrial) -> None:
    rising = [(step, 2.0 + step / 4000) for step in range(40, 401, 40)]
    assert "learning_rate_too_low" not in names(case_of(make_trial(lines=curve(rising, 240, 400))))


@pytest.mark.parametrize(
    ("tokens_per_parameter", "train_bits", "expected"),
    [(0.1, 1.98, ["too_few_tokens"]), (1, 1.98, []), (30, 1.98, []), (50, 1.98, ["too_many_tokens"]), (50, 1.8, [])],
)
def test_tokens_for_the_size(
    make_trial: MakeTrial, tokens_per_parameter: float, train_bits: float, expected: list[str]
) -> None:
    parameters = make_trial().recipe.model.num_matrix_parameters
    trial = make_trial(tokens=round(parameters * tokens_per_parameter), train_bits=train_bits)
    assert names(case_of(trial)) == expected


@pytest.mark.parametrize(("to_come", "speaks"), [(0.0, True), (0.1, True), (0.3, False), (float("inf"), False)])
def test_a_first_round_is_no_judge_of_the_size_that_was_chosen_for_the_whole_budget(
    make_trial: MakeTrial, to_come: float, speaks: bool
) -> None:
    parameters = make_trial().recipe.model.num_matrix_parameters
    case = case_of(make_trial(tokens=round(0.1 * parameters)), tokens_to_come=to_come * parameters)
    assert ("too_few_tokens" in names(case)) is speaks


@pytest.mark.parametrize(("rare", "speaks"), [(0.0, False), (0.2, False), (0.3, True), (1.0, True)])
def test_a_tokenizer_that_fits_badly(make_trial: MakeTrial, rare: float, speaks: bool) -> None:
    assert ("tokenizer_misfit" in names(case_of(make_trial(), rare_ratio=rare))) is speaks


def test_underfitting(make_trial: MakeTrial) -> None:
    falling = case_of(make_trial(lines=curve(power_law(0.15, 0.05), 240, 400)))
    finding = found("underfitting", falling)
    assert finding is not None
    assert finding.evidence["fall_in_second_half"] > 0.004
    still = case_of(make_trial(lines=curve(power_law(0.0, 0.05), 240, 400)))  # only the decay brought it down
    assert "underfitting" not in names(still)
    learned_by_heart = make_trial(lines=curve(power_law(0.15, 0.05), 240, 400), train_bits=1.0)
    assert "underfitting" not in names(case_of(learned_by_heart))


@pytest.mark.parametrize(
    ("samples", "text", "speaks"), [([0.5, 0.1], 0.03, True), ([0.05, 0.05], 0.03, False), ([0.5, 0.5], 0.45, False)]
)
def test_repetition(make_trial: MakeTrial, samples: list[float], text: float, speaks: bool) -> None:
    assert ("repetition" in names(case_of(make_trial(repetition=samples), text_repetition=text))) is speaks


def test_a_finding_is_plain_and_short_in_the_journal() -> None:
    finding = Finding("name", {"share": 0.123456789, "count": 3}, "words")
    assert finding.as_dict() == {"name": "name", "evidence": {"share": 0.1235, "count": 3.0}, "words": "words"}
