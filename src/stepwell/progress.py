"""What a run tells whoever watches it.

The library never prints: it hands these events to a `Watcher`, a plain function. The command line draws them, a test
collects them, a notebook may ignore them. This file leaves out every way of showing an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunStarted:
    """A run begins or goes on in `out`; `budget_seconds` is what is left of its budget, if it has one."""

    out: Path
    metric: str
    target: float | None = None
    budget_seconds: float | None = None
    resumed: bool = False


@dataclass(frozen=True)
class Stage:
    """A part of the work begins (`prepare`, `tokenizer`, `probe`, `train`, `evaluate`, `predict`, `report`)."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Fact:
    """Something worth a line on screen: what was found or chosen, and why."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class RoundStarted:
    """A round of the loop begins: what is changed, why, and about how long it takes."""

    round: int
    diagnosis: str
    change: str
    planned_seconds: float | None = None


@dataclass(frozen=True)
class StepDone:
    """An optimizer update is done. `loss` is the mean over the tokens that count (nats)."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_second: float


@dataclass(frozen=True)
class Evaluated:
    """A measurement on held-out text while training goes on."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RoundDone:
    """A round is over; `record` is its line in the journal."""

    record: Mapping[str, Any] = field(default_factory=dict)


Event = RunStarted | Stage | Fact | RoundStarted | StepDone | Evaluated | RoundDone
Watcher = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """The watcher that looks away."""
