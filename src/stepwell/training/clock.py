"""What time it is for one training run, and what still fits into the time that is left.

Every duration comes from `time.monotonic`: a clock on the wall that jumps changes nothing. This file leaves out what is
done about a deadline: the loop decides that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Time of one process: laps, measurements, the last checkpoint, and how many steps still fit."""

    def __init__(self, seconds: float | None) -> None:
        self.started = self.last_lap = self.last_save = time.monotonic()
        self.deadline = None if seconds is None else self.started + seconds
        self.laps: list[float] = []
        self.measurements: list[float] = []
        self.aside = 0.0

    @property
    def is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def since_save(self) -> float:
        return time.monotonic() - self.last_save

    def saved(self) -> None:
        self.last_save = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap, measurements included; the lap itself is remembered without them."""
        now = time.monotonic()
        seconds = max(1e-9, now - self.last_lap)
        self.last_lap = now
        self.laps.append(max(1e-9, seconds - self.aside))
        self.aside = 0.0
        return seconds

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """What happens inside is a measurement."""
        began = time.monotonic()
        yield
        self.measurements.append(time.monotonic() - began)
        self.aside += self.measurements[-1]

    def steps_left(self, evaluate_every_steps: int) -> int | None:
        """How many steps fit into the time that is left, measurements included; None without a deadline.

        By the mean of the last laps: a machine may be busy for a while only.
        """
        if self.deadline is None or len(self.laps) < 5:
            return None
        recent = self.laps[2:][-40:]
        measuring = sum(self.measurements) / max(1, len(self.measurements)) / evaluate_every_steps
        return max(0, int((self.deadline - time.monotonic()) / (sum(recent) / len(recent) + measuring)))
