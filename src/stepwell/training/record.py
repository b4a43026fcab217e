"""What a training run tells: lines in `metrics.jsonl`, and events for whoever watches.

A run that goes back, to a checkpoint or after a spike, first forgets what it told of the steps that it does again: the
file reads as if nothing had happened, but for the events that say so. This file leaves out what is told when.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepwell.progress import Event, Fact, Watcher, unwatched
from stepwell.runs import append_line, read_lines, to_json, write_atomically


class Record:
    """Writes `metrics.jsonl` and tells the watcher.

    Args:
        path: of the file.
        watch: gets the events.
        is_silent: whether nothing is written or told, as on every rank but the first.

    Every method raises DiskError when the file cannot be written.
    """

    def __init__(self, path: Path, watch: Watcher, is_silent: bool = False) -> None:
        self.path, self.watch, self.is_silent = path, unwatched if is_silent else watch, is_silent

    def begin(self) -> None:
        """Start with an empty file."""
        if not self.is_silent:
            write_atomically(self.path, "")

    def tell(self, event: Event, kind: str, line: Mapping[str, Any]) -> None:
        """Hand an event to the watcher, and write a line."""
        self.watch(event)
        if not self.is_silent:
            append_line(self.path, {"kind": kind, **line})

    def happened(self, step: int, event: str, detail: str, warning: bool = False) -> None:
        """Something out of the ordinary: a line of kind `event`, and a fact on screen."""
        if not self.is_silent:
            append_line(self.path, {"kind": "event", "step": step, "event": event, "detail": detail})
        self.watch(Fact(f"{event.replace('_', ' ')}: {detail}", warning=warning))

    def forget_after(self, step: int) -> None:
        """Remove the lines of later steps."""
        if self.is_silent:
            return
        kept = [line for line in read_lines(self.path) if line["step"] <= step]
        write_atomically(self.path, "".join(to_json(line) + "\n" for line in kept))
