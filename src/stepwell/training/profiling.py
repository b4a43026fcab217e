"""Where the time of a training step goes: torch's profiler over ten steps, once a process.

The first steps are passed over, because they allocate and may compile. Looking changes nothing but the time: weights
are the same with and without. This file leaves out how the rows are shown (`cli`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch.profiler import profile, schedule

from stepwell.errors import DiskError
from stepwell.progress import Fact, Profiled, ProfiledRow, Watcher
from stepwell.runs import write_atomically

PASSED_OVER_STEPS, PROFILED_STEPS = 5, 10
SHOWN_ROWS, TABLE_ROWS = 10, 100


class Profiler:
    """Profiles ten steps, writes `table.txt` and `trace.json`, and tells about it.

    Args:
        folder: gets the two files.
        watch: gets a `Profiled`, or a warning when there was no step to profile or nothing could be written.
    """

    def __init__(self, folder: Path, watch: Watcher) -> None:
        self.folder, self.watch = folder, watch
        self._torch: Any = None
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it writes a log of its own to standard error
        self._steps, self._is_over = 0, False

    def step(self) -> None:
        """An update is done; what stands between two calls is a step."""
        if self._is_over:
            return
        self._steps += 1
        if self._torch is None:
            plan = schedule(wait=PASSED_OVER_STEPS - 2, warmup=1, active=PROFILED_STEPS, repeat=1)
            self._torch = profile(schedule=plan, on_trace_ready=self._write)
            self._torch.start()
        else:
            self._torch.step()
        if self._steps == PASSED_OVER_STEPS + PROFILED_STEPS:
            self.close()

    def close(self) -> None:
        """Stop; of a run that ends early the steps so far are written."""
        if self._is_over:
            return
        self._is_over = True
        if self._torch is not None:
            self._torch.stop()  # writes, when it has recorded
        if self._steps <= PASSED_OVER_STEPS:
            words = (
                f"nothing was profiled: {self._steps} steps were made, and the first {PASSED_OVER_STEPS} do not count"
            )
            self.watch(Fact(words, warning=True))

    def _write(self, recorded: Any) -> None:
        if self._steps <= PASSED_OVER_STEPS:
            return  # torch hands over an empty record when it is stopped while it warms up
        averages = recorded.key_averages()
        on_gpu = any(row.self_device_time_total for row in averages)
        column = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "table.txt", averages.table(sort_by=column, row_limit=TABLE_ROWS))
            recorded.export_chrome_trace(str(self.folder / "trace.json"))
        except (DiskError, OSError, RuntimeError) as fault:
            self.watch(Fact(f"the profile could not be written: {fault}", warning=True))
            return
        rows = [row for row in averages if not row.key.startswith("ProfilerStep")]
        rows.sort(key=lambda row: -getattr(row, column))
        total = max(1e-9, sum(getattr(row, column) for row in rows))
        steps = max(1, self._steps - PASSED_OVER_STEPS)
        shown = tuple(
            ProfiledRow(row.key, getattr(row, column) / total, getattr(row, column) / 1e6 / steps, row.count / steps)
            for row in rows[:SHOWN_ROWS]
        )
        self.watch(Profiled(self.folder, steps, shown))
