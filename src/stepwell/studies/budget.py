"""The clock of a run: what was spent, over all its processes, and what is left.

Time spent is written to disk as it passes, so a run that was killed knows it. The budget is cut into slots, one a
round, each longer than the one before: early rounds learn what to change, the last one cashes in. This file leaves
out what a slot is used for.
"""

from __future__ import annotations

import time
from pathlib import Path

from stepwell.runs import write_atomically

GROWTH = 1.6
"""Each slot is this many times as long as the one before."""


class Budget:
    """Wall time of a run.

    Args:
        seconds: the whole of it; None for no end.
        file: where the time spent is kept.
        began: `time.monotonic()` at the start of this process's work.
    """

    def __init__(self, seconds: float | None, file: Path, began: float) -> None:
        self.seconds, self._file, self._began = seconds, file, began
        try:
            self._before = float(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._before = 0.0
        self._written = began

    @property
    def spent(self) -> float:
        """Seconds so far, over all processes."""
        return self._before + time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the end; infinity without one."""
        return float("inf") if self.seconds is None else self.seconds - self.spent

    def note(self, at_once: bool = False) -> None:
        """Write down what was spent, at most once a second unless told to."""
        now = time.monotonic()
        if (at_once or now - self._written > 1.0) and self._file.parent.is_dir():
            write_atomically(self._file, f"{self.spent:.1f}")
            self._written = now


def num_slots(seconds: float) -> int:
    """How many training rounds a budget is planned for: three, and one more from 15, 100 and 1,000 minutes on."""
    return 3 + (seconds > 900) + (seconds > 6000) + (seconds > 60_000)


def next_slot(left: float, rounds_to_come: int) -> float:
    """The length of the next round.

    Args:
        left: seconds left for training.
        rounds_to_come: planned rounds that are not yet done, this one included, from 1.
    """
    return left / sum(GROWTH**n for n in range(max(1, rounds_to_come)))
