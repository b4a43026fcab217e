"""How the learning rate moves over the steps.

A schedule is a pure function of the step; the trainer keeps no schedule state but the two numbers that may move while
it runs (when the decay begins and when it ends) and, for `plateau`, what the measurements were. Up to where its decay
begins no schedule knows how long the run is, so a longer run can go on from the checkpoint of that step: `constant`,
`inverse_square_root` and `plateau` never begin one, `linear`, `cosine` and `one_cycle` begin it after the warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwell.optimization.schedule_config import (
    ConstantConfig,
    CosineConfig,
    InverseSquareRootConfig,
    LinearConfig,
    OneCycleConfig,
    PlateauConfig,
    ScheduleConfig,
    WSDConfig,
)


@dataclass(frozen=True)
class Span:
    """Where the decay lies: it begins at step `decay_start` and ends at `steps`."""

    decay_start: int
    steps: int


@dataclass(frozen=True)
class Plateau:
    """What reduce on plateau remembers of the measurements.

    Attributes:
        best: lowest held-out loss that counted as better than the one before; None before the first.
        worse: measurements since then, or since the last reduction.
        reductions: how often the rate was lowered.
    """

    best: float | None = None
    worse: int = 0
    reductions: int = 0


def plan_span(config: ScheduleConfig, steps: int) -> Span:
    """The decay of a run of so many steps."""
    if isinstance(config, WSDConfig):
        return Span(max(config.warmup_steps, steps - round(config.decay_ratio * steps)), steps)
    return Span(config.warmup_steps if decays_at_once(config) else steps, steps)


def decays_at_once(config: ScheduleConfig) -> bool:
    """Whether the rate goes down from the end of the warm-up to the end of the run, wherever that is."""
    return isinstance(config, LinearConfig | CosineConfig | OneCycleConfig)


def fit_span(config: ScheduleConfig, span: Span, step: int, steps: int) -> Span:
    """The span of a run that now ends at another step, because time is short or there is more again.

    A stable part is made shorter or longer; a decay of `wsd` that has begun only shorter. Where the rate goes down all
    the way, it jumps to where a run of the new length would be, and so still ends where it should.

    Args:
        config: the schedule.
        span: so far.
        step: updates made.
        steps: where the run is to end.
    """
    if step < span.decay_start:
        return Span(max(step, plan_span(config, steps).decay_start), steps)
    return Span(span.decay_start, steps if decays_at_once(config) else min(steps, span.steps))


def begin_decay(config: ScheduleConfig, span: Span, step: int) -> Span:
    """What becomes of a run whose held-out loss does not get better any more.

    `wsd` begins its decay now, in proportion to what was trained, and no longer than the run would have been; a decay
    that has begun stays as it is. A schedule without a stable part has nothing to bring forward: its run ends.
    """
    if not isinstance(config, WSDConfig):
        return Span(min(span.decay_start, step), step)
    if step >= span.decay_start:
        return span
    ratio = config.decay_ratio / max(1e-9, 1 - config.decay_ratio)
    return Span(step, step + max(1, min(span.steps - step, round(step * ratio))))


def note_measurement(config: ScheduleConfig, plateau: Plateau, loss: float) -> Plateau:
    """Reduce on plateau after one more measurement, as torch's ReduceLROnPlateau; nothing for other schedules.

    Args:
        config: patience and threshold.
        plateau: what is remembered so far.
        loss: held-out; one that is not finite is no better than any.
    """
    if not isinstance(config, PlateauConfig):
        return plateau
    if math.isfinite(loss) and (plateau.best is None or loss < plateau.best * (1 - config.threshold)):
        return Plateau(loss, 0, plateau.reductions)
    if plateau.worse + 1 > config.patience:
        return Plateau(plateau.best, 0, plateau.reductions + 1)
    return Plateau(plateau.best, plateau.worse + 1, plateau.reductions)


def rate_factor(config: ScheduleConfig, span: Span, step: int, reductions: int = 0) -> float:
    """Share of the full rate at a step.

    Args:
        config: warm-up and floor.
        span: where the decay lies.
        step: the update about to be made, from 0.
        reductions: how often a plateau lowered the rate; only `plateau` asks.

    Returns:
        A factor in [0, 1]: up during warm-up, then what the kind does.
    """
    if step < config.warmup_steps and not isinstance(config, OneCycleConfig):
        return (step + 1) / (config.warmup_steps + 1)
    return SCHEDULES[config.kind](config, span, step, reductions)


def _constant(config: ConstantConfig, span: Span, step: int, reductions: int) -> float:
    return 1.0


def _linear(config: LinearConfig, span: Span, step: int, reductions: int) -> float:
    """As torch's LinearLR from 1 to `final_ratio`."""
    return 1.0 - (1.0 - config.final_ratio) * _done(span, step)


def _cosine(config: CosineConfig, span: Span, step: int, reductions: int) -> float:
    """As torch's CosineAnnealingLR."""
    return _between(1.0, config.final_ratio, _done(span, step))


def _inverse_square_root(config: InverseSquareRootConfig, span: Span, step: int, reductions: int) -> float:
    """`min(t / w, sqrt(w / t))` of the paper in shares of its highest rate, with t = step + 1, w = warmup_steps + 1."""
    return math.sqrt((config.warmup_steps + 1) / (step + 1))


def _wsd(config: WSDConfig, span: Span, step: int, reductions: int) -> float:
    """One, then linear down to near `final_ratio`."""
    if step < span.decay_start:
        return 1.0
    done = (step - span.decay_start + 1) / (span.steps - span.decay_start + 1)
    return 1.0 - (1.0 - config.final_ratio) * min(1.0, done)


def _one_cycle(config: OneCycleConfig, span: Span, step: int, reductions: int) -> float:
    """As torch's OneCycleLR: at the last step the rate has arrived at its floor."""
    if step < config.warmup_steps:
        return _between(config.initial_ratio, 1.0, step / config.warmup_steps)
    return _between(1.0, config.final_ratio, _done(Span(span.decay_start, span.steps - 1), step))


def _plateau(config: PlateauConfig, span: Span, step: int, reductions: int) -> float:
    return max(config.factor**reductions, config.final_ratio)


def _done(span: Span, step: int) -> float:
    """Share of the decay that lies behind a step, in [0, 1]."""
    return min(1.0, (step - span.decay_start) / max(1, span.steps - span.decay_start))


def _between(start: float, end: float, share: float) -> float:
    """Along half a cosine from one value to another."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: dict[str, Callable[[Any, Span, int, int], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "inverse_square_root": _inverse_square_root,
    "wsd": _wsd,
    "one_cycle": _one_cycle,
    "plateau": _plateau,
}
"""kind -> factor after warm-up, of (config, span, step, reductions); a new schedule is one function and one row."""
