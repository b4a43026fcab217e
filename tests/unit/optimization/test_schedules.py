"""How rates move: each schedule against torch's own, or the formula of its paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

from stepwell.optimization import (
    SCHEDULES,
    ConstantConfig,
    CosineConfig,
    InverseSquareRootConfig,
    LinearConfig,
    OneCycleConfig,
    PlateauConfig,
    ScheduleConfig,
    WSDConfig,
)
from stepwell.optimization.schedules import (
    Plateau,
    Span,
    begin_decay,
    fit_span,
    note_measurement,
    plan_span,
    rate_factor,
)

EVERY = [
    ConstantConfig(warmup_steps=4),
    LinearConfig(warmup_steps=4),
    CosineConfig(warmup_steps=4),
    InverseSquareRootConfig(warmup_steps=4),
    WSDConfig(warmup_steps=4),
    OneCycleConfig(warmup_steps=4),
    PlateauConfig(warmup_steps=4),
]
every_schedule = pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)
without_end = pytest.mark.parametrize("config", [EVERY[0], EVERY[3], EVERY[6]], ids=lambda config: config.kind)
all_the_way = pytest.mark.parametrize("config", [EVERY[1], EVERY[2], EVERY[5]], ids=lambda config: config.kind)


def test_every_kind_of_the_catalog_is_tested_here():
    assert [config.kind for config in EVERY] == list(SCHEDULES)


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def theirs(scheduler: LRScheduler, steps: int) -> list[float]:
    """The rates that torch's schedule gives, the highest being one."""
    rates = []
    for _ in range(steps):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


@every_schedule
@pytest.mark.parametrize("steps", [5, 6, 30])
def test_up_and_never_above_one(config, steps):
    rates = factors(config, steps)
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[4] == pytest.approx(1, abs=0.5 if config.kind == "wsd" else 1e-9)


@every_schedule
def test_until_the_decay_no_schedule_knows_how_long_the_run_is(config):
    """That is why a longer run can go on from where a shorter one began its decay."""
    start = plan_span(config, 40).decay_start
    assert start >= 4
    assert factors(config, 40)[:start] == factors(config, 400)[:start]


@pytest.mark.parametrize("final_ratio", [0.0, 0.1, 1.0])
def test_linear_is_torchs(final_ratio):
    config = LinearConfig(warmup_steps=0, final_ratio=final_ratio)
    scheduler = LinearLR(optimizer(), start_factor=1.0, end_factor=final_ratio, total_iters=17)
    assert factors(config, 17) == pytest.approx(theirs(scheduler, 17))


@pytest.mark.parametrize("final_ratio", [0.0, 0.1])
def test_cosine_is_torchs(final_ratio):
    config = CosineConfig(warmup_steps=0, final_ratio=final_ratio)
    scheduler = CosineAnnealingLR(optimizer(), T_max=17, eta_min=final_ratio)
    assert factors(config, 17) == pytest.approx(theirs(scheduler, 17))


@pytest.mark.parametrize("config", [LinearConfig(warmup_steps=5), CosineConfig(warmup_steps=5)], ids=str)
def test_after_the_warm_up_it_is_as_without_one(config):
    assert factors(config, 22)[5:] == factors(config.model_copy(update={"warmup_steps": 0}), 17)


def test_one_cycle_is_torchs():
    config = OneCycleConfig(warmup_steps=5, initial_ratio=1 / 25, final_ratio=1 / 25e4)
    scheduler = OneCycleLR(optimizer(), max_lr=1.0, total_steps=20, pct_start=6 / 20, cycle_momentum=False)
    torchs = []
    for step in range(20):
        torchs.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        if step < 19:
            scheduler.step()
    assert factors(config, 20) == pytest.approx(torchs)


def test_constant_is_torchs():
    scheduler = ConstantLR(optimizer(), factor=1.0)
    assert factors(ConstantConfig(warmup_steps=0), 9) == theirs(scheduler, 9)


def test_inverse_square_root_is_the_papers():
    """lrate = d ** -0.5 * min(step ** -0.5, step * warmup ** -1.5), its highest value taken as one (section 5.3)."""
    warmup = 8
    paper = [min(step**-0.5, step * warmup**-1.5) * warmup**0.5 for step in range(1, 51)]
    assert factors(InverseSquareRootConfig(warmup_steps=warmup - 1), 50) == pytest.approx(paper)


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_plateau_is_torchs(patience, threshold):
    config = PlateauConfig(warmup_steps=0, factor=0.3, patience=patience, threshold=threshold, final_ratio=0.02)
    losses = [3, 2.9, 2.9, 2.88, 2.5, 2.6, math.nan, 2.5, 2.6, 2.49, 1.0, 2, 2, 2, 2, 2, math.inf, 2, 2, 0.5, 1]
    scheduler = ReduceLROnPlateau(optimizer(), factor=0.3, patience=patience, threshold=threshold, min_lr=0.02, eps=0)
    plateau = Plateau()
    for loss in losses:
        scheduler.step(loss)
        plateau = note_measurement(config, plateau, loss)
        rate = rate_factor(config, plan_span(config, 9), 5, plateau.reductions)
        assert rate == pytest.approx(scheduler.optimizer.param_groups[0]["lr"])
    assert plateau.reductions > 0


def test_only_the_plateau_minds_measurements():
    assert note_measurement(ConstantConfig(warmup_steps=0), Plateau(), 1.0) == Plateau()


@every_schedule
@pytest.mark.parametrize("steps", [20, 33, 100])
def test_a_run_whose_end_moved_is_from_there_on_a_run_of_that_length(config, steps):
    """Unless a decay with a stable part before it has begun: that one does not get longer, nor does the rate rise."""
    planned = plan_span(config, 40)
    moved = fit_span(config, planned, 10, steps)
    expected = plan_span(config, steps)
    expected = Span(max(10, expected.decay_start), steps) if planned.decay_start > 10 else expected
    assert moved == expected
    assert rate_factor(config, moved, steps - 1) == rate_factor(config, expected, steps - 1)


def test_a_decay_that_has_begun_only_gets_shorter():
    config = WSDConfig(warmup_steps=4, decay_ratio=0.5)
    assert fit_span(config, Span(20, 40), 25, 60) == Span(20, 40)
    assert fit_span(config, Span(20, 40), 25, 30) == Span(20, 30)


@without_end
def test_what_has_no_decay_is_stable_to_its_end(config):
    assert plan_span(config, 40) == Span(40, 40)
    assert begin_decay(config, Span(40, 40), 12) == Span(12, 12)
    assert fit_span(config, Span(40, 40), 12, 20) == Span(20, 20)


@all_the_way
def test_what_goes_down_all_the_way_has_nothing_to_bring_forward(config):
    assert begin_decay(config, Span(4, 40), 12) == Span(4, 12)
    assert begin_decay(config, Span(4, 40), 2) == Span(2, 2)


def factors(config: ScheduleConfig, steps: int) -> list[float]:
    span = plan_span(config, steps)
    return [rate_factor(config, span, step) for step in range(steps)]


def test_up_along_and_down():
    rates = factors(WSDConfig(warmup_steps=3, decay_ratio=0.4, final_ratio=0.0), 10)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize("warmup_steps", [0, 1, 7, 99])
@pytest.mark.parametrize("decay_ratio", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize("final_ratio", [0, 0.1, 1])
def test_never_zero_and_never_above_one(warmup_steps, decay_ratio, final_ratio):
    config = WSDConfig(warmup_steps=warmup_steps, decay_ratio=decay_ratio, final_ratio=final_ratio)
    rates = factors(config, 100)
    assert all(0 < rate <= 1 for rate in rates)
    assert sorted(rates[:warmup_steps]) == rates[:warmup_steps]
    assert sorted(rates[warmup_steps:], reverse=True) == rates[warmup_steps:]
    assert min(rates[warmup_steps:]) >= final_ratio


def test_the_decay_takes_its_share_but_never_the_warm_up():
    assert plan_span(WSDConfig(warmup_steps=5, decay_ratio=0.4), 100) == Span(60, 100)
    assert plan_span(WSDConfig(warmup_steps=5, decay_ratio=0), 100) == Span(100, 100)
    assert plan_span(WSDConfig(warmup_steps=5, decay_ratio=1), 100) == Span(5, 100)


def test_steps_until_the_decay_do_not_know_how_long_the_run_is():
    """That is why a longer run can go on from where a shorter one began its decay."""
    config = WSDConfig(warmup_steps=4, decay_ratio=0.5)
    assert factors(config, 40)[:20] == factors(config, 400)[:20]


def test_a_decay_that_begins_early_is_in_proportion():
    def begun(decay_ratio: float, most: int) -> Span:
        return begin_decay(WSDConfig(warmup_steps=2, decay_ratio=decay_ratio), Span(80 + most - 1, 80 + most), 80)

    assert begun(0.2, most=1000) == Span(80, 100)
    assert begun(0.2, most=5) == Span(80, 85)
    assert begun(0, most=1000) == Span(80, 81)
    assert begun(1, most=1000) == Span(80, 1080)


def test_a_decay_begins_once():
    config = WSDConfig(warmup_steps=2, decay_ratio=0.2)
    assert begin_decay(config, Span(80, 100), 80) == Span(80, 100)
    assert begin_decay(config, Span(80, 100), 91) == Span(80, 100)
