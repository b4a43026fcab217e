"""Warm-up, stable, decay as a pure function of the step."""

from __future__ import annotations

import pytest

from stepwell.training import WSDConfig
from stepwell.training.schedules import Span, begin_decay, plan_span, rate_factor


def factors(config: WSDConfig, steps: int) -> list[float]:
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
    config = WSDConfig(warmup_steps=2, decay_ratio=0.2)
    assert begin_decay(config, 80, most=1000) == Span(80, 100)
    assert begin_decay(config, 80, most=5) == Span(80, 85)
    assert begin_decay(WSDConfig(warmup_steps=2, decay_ratio=0), 80, most=1000) == Span(80, 81)
    assert begin_decay(WSDConfig(warmup_steps=2, decay_ratio=1), 80, most=1000) == Span(80, 1080)
