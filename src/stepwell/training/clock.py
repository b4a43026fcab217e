"""What time it is for one training run, and what still fits into the time that is left.

Every duration comes from `time.monotonic`: a clock on the wall that jumps changes nothing. Several ranks go by the
clock of rank 0, so that they decide alike. This file leaves out what is done about a deadline: the loop decides that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stepwell.training.world import World


class Clock:
    """Time of one training run in this process: laps, measurements, the last checkpoint, and how many steps still fit.

    Args:
        seconds: until the deadline; None without one.
        world: whose time it is; default alone. Every rank must ask for the time where the others do.
    """

    def __init__(self, seconds: float | None, world: World | None = None) -> None:
        self._now = (World.alone() if world is None else world).time
        self.started = self.last_lap = self.last_save = self._now()
        self.deadline = None if seconds is None else self.started + seconds
        self.laps: list[float] = []
        self.measurements: list[float] = []
        self.aside = 0.0

    @property
    def is_over(self) -> bool:
        return self.deadline is not None and self._now() >= self.deadline

    @property
    def since_save(self) -> float:
        return self._now() - self.last_save

    def saved(self) -> None:
        self.last_save = self._now()

    def lap(self) -> float:
        """Seconds since the last lap, measurements included; the lap itself is remembered without them."""
        now = self._now()
        seconds = max(1e-9, now - self.last_lap)
        self.last_lap = now
        self.laps.append(max(1e-9, seconds - self.aside))
        self.aside = 0.0
        return seconds

    def discount_lap(self) -> None:
        """The last lap was no usual one: it counts as much as the one before."""
        self.laps[-1:] = self.laps[-2:-1] or self.laps[-1:]

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """What happens inside is a measurement."""
        began = self._now()
        yield
        self.measurements.append(self._now() - began)
        self.aside += self.measurements[-1]

    def steps_left(self, evaluate_every_steps: int) -> int | None:
        """How many steps fit into the time that is left, measurements included; None without a deadline.

        By the mean of the last laps: a machine may be busy for a while only.
        """
        if self.deadline is None or len(self.laps) < 5:
            return None
        recent = self.laps[2:][-40:]
        measuring = sum(self.measurements) / max(1, len(self.measurements)) / evaluate_every_steps
        return max(0, int((self.deadline - self._now()) / (sum(recent) / len(recent) + measuring)))
