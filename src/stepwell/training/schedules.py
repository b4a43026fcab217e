"""How the learning rate moves over the steps.

A schedule is a pure function of the step; the trainer keeps no schedule state but the two numbers that may move
while it runs: when the decay begins and when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.training.schedule_config import WSDConfig


@dataclass(frozen=True)
class Span:
    """Where the decay lies: it begins at step `decay_start` and ends at `steps`."""

    decay_start: int
    steps: int


def plan_span(config: WSDConfig, steps: int) -> Span:
    """The decay of a run of so many steps."""
    return Span(max(config.warmup_steps, steps - round(config.decay_ratio * steps)), steps)


def begin_decay(config: WSDConfig, step: int, most: int) -> Span:
    """A decay that begins at this step, in proportion to what was trained, but no longer than `most` steps."""
    ratio = config.decay_ratio / max(1e-9, 1 - config.decay_ratio)
    return Span(step, step + max(1, min(most, round(step * ratio))))


def rate_factor(config: WSDConfig, span: Span, step: int) -> float:
    """Share of the full rate at a step.

    Args:
        config: warm-up and floor.
        span: where the decay lies.
        step: the update about to be made, from 0.

    Returns:
        A factor in (0, 1]: linear up during warm-up, one, then linear down to `final_ratio`.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if step < span.decay_start:
        return 1.0
    done = (step - span.decay_start + 1) / (span.steps - span.decay_start + 1)
    return 1.0 - (1.0 - config.final_ratio) * min(1.0, done)
