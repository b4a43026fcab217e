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
    """An optimizer update is done.

    Attributes:
        step: updates made, this one included.
        steps: where the run ends, as it looks now.
        loss: mean over the tokens that count, nats.
        learning_rate: that was used.
        grad_norm: norm of the gradient before clipping.
        tokens: learned from since the beginning.
        tokens_per_second: of this step.
        mfu_ratio: share of the machine's measured rate that the model's operations use; None when it is not known.
        memory_bytes: of the process.
        peak_memory_bytes: the most that the process had.
        gpu_memory_bytes: of tensors on a GPU, if there is one.
        peak_gpu_memory_bytes: the most there were.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_second: float
    mfu_ratio: float | None = None
    memory_bytes: int | None = None
    peak_memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None


@dataclass(frozen=True)
class Evaluated:
    """A measurement on held-out text while training goes on."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RoundDone:
    """A round is over; `record` is its line in the journal."""

    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProfiledRow:
    """One operation: its share of all time, seconds and calls of a step, without the operations inside it."""

    name: str
    share_ratio: float
    seconds: float
    calls: float


@dataclass(frozen=True)
class Profiled:
    """Some steps were profiled; table and trace are in `folder`, the costliest operations in `rows`."""

    folder: Path
    steps: int
    rows: tuple[ProfiledRow, ...]


Event = RunStarted | Stage | Fact | RoundStarted | StepDone | Evaluated | RoundDone | Profiled
Watcher = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """The watcher that looks away."""
