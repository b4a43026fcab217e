"""Which learning rates a run can bear: the range test of Smith (2017, "Cyclical Learning Rates").

A copy of the model makes about a hundred updates on the run's own text while the rate grows exponentially. Where the
loss falls fastest the rate is already good; where it turns up the rate is too high. Too few steps to choose between
close rates, so what comes out is an order of magnitude. This file leaves out how the curve is drawn (`studies`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.data import Packer
from stepwell.errors import TrainingError, UsageError
from stepwell.models import LanguageModel
from stepwell.objectives import Objective
from stepwell.training.config import TrainingConfig
from stepwell.training.update import Updater

REACH = 4
"""Points on each side that a smoothed loss is the mean of."""

RUN_AWAY_RATIO = 0.05
"""A loss that lies above the first ones by more than this share has run away."""

LEAST_FALL_RATIO = 0.01
"""A loss that falls by less than this share has not begun to learn."""


@dataclass(frozen=True)
class RateRange:
    """What the range test saw.

    Attributes:
        rates: of each update; the optimizer's first rate, its others in proportion.
        losses: before each update, nats a token.
        smoothed: their mean over the neighbours.
        steepest: the rate at which the smoothed loss fell fastest over the logarithm of the rate.
        diverged: the first rate above that of the lowest loss at which half of the fall was lost again; None when the
            highest rate tried is still no bound.
        suggested: `steepest`, or a tenth of `diverged` where that is lower. Errs on the low side (benchmarks/LOG.md).
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    diverged: float | None
    suggested: float


def find_rate(
    model: LanguageModel,
    packer: Packer,
    config: TrainingConfig,
    objective: Objective[Any],
    *,
    seed: int,
    lowest: float | None = None,
    highest: float | None = None,
    steps: int = 100,
    watch: Callable[[int, float, float], None] | None = None,
) -> RateRange:
    """Try the rates from the lowest to the highest.

    Args:
        model: to begin from; it and its gradients stay as they are.
        packer: the training data.
        config: batch, precision, clipping and optimizer of the run; its schedule plays no part.
        objective: what is minimised.
        seed: of examples and dropout.
        lowest: the first rate; default a thousandth of the config's.
        highest: the last rate; default a hundred times the config's.
        steps: updates, at least 10.
        watch: is told step, rate and loss of each update.

    Raises:
        UsageError: when there are too few steps, or the rates do not rise.
        TrainingError: when the loss does not fall at any rate.
    """
    usual = config.optimizer.learning_rate
    lowest, highest = usual / 1000 if lowest is None else lowest, usual * 100 if highest is None else highest
    if steps < 10:
        raise UsageError("find_rate: too few steps to draw a curve", got=str(steps), wanted="at least 10")
    if not 0 < lowest < highest:
        raise UsageError(
            "find_rate: the rates must rise", got=f"{lowest:g} to {highest:g}", wanted="0 < lowest < highest"
        )
    updater = Updater(copy.deepcopy(model), packer, config, objective, seed)
    rates: list[float] = []
    losses: list[float] = []
    for step in range(steps):
        rate = lowest * (highest / lowest) ** (step / (steps - 1))
        update = updater.update(step, step * updater.rows_per_step, rate / usual)
        if not (update.is_finite and math.isfinite(update.loss)):
            return read_range(rates, losses, bound=rate)
        rates.append(rate)
        losses.append(update.loss)
        if watch is not None:
            watch(step + 1, rate, update.loss)
        if has_run_away(losses):
            break
    return read_range(rates, losses)


def has_run_away(losses: Sequence[float]) -> bool:
    """Whether the last few losses lie well above where it all began; one bad batch is not enough."""
    if len(losses) < 3 * REACH:
        return False
    return min(losses[-REACH:]) > (1 + RUN_AWAY_RATIO) * _mean(losses[:REACH])


def read_range(rates: Sequence[float], losses: Sequence[float], bound: float | None = None) -> RateRange:
    """Read the two rates off a curve.

    Args:
        rates: rising.
        losses: as many, finite.
        bound: the next rate, at which loss or gradient was not finite; None when none was met.

    Raises:
        TrainingError: when the loss does not fall at any rate.
    """
    smoothed = smooth(losses)
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__) if smoothed else 0
    if not smoothed or smoothed[lowest] > (1 - LEAST_FALL_RATIO) * smoothed[0]:
        raise TrainingError(
            "find_rate: the loss falls at no rate",
            got=f"{len(losses)} losses"
            + (f", lowest {smoothed[lowest]:.4g} after {smoothed[0]:.4g}" if smoothed else ""),
            do="give a lower first rate or more steps, or train in float32",
        )
    falls = [smoothed[max(0, i - 1)] - smoothed[min(lowest, i + 1)] for i in range(lowest + 1)]
    steepest = rates[max(range(1, lowest + 1), key=falls.__getitem__)]
    half = (smoothed[0] + smoothed[lowest]) / 2
    diverged = next((rates[i] for i in range(lowest, len(rates)) if smoothed[i] > half), bound)
    suggested = steepest if diverged is None else min(steepest, diverged / 10)
    return RateRange(tuple(rates), tuple(losses), tuple(smoothed), steepest, diverged, suggested)


def smooth(losses: Sequence[float]) -> list[float]:
    """The mean of each loss and its neighbours, as many on one side as on the other."""
    reaches = [min(REACH, place, len(losses) - 1 - place) for place in range(len(losses))]
    return [_mean(losses[place - reach : place + reach + 1]) for place, reach in enumerate(reaches)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
