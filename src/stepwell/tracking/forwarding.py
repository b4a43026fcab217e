"""Events of a run, handed on to trackers.

Each tracker works in a thread of its own behind a queue, so that a server that does not answer cannot slow a training
down. One that fails (server gone, disk full, a fault of its own) is reported once as a warning and left out from then
on; the run goes on and metrics.jsonl has everything. This file leaves out how any tracker records.
"""

from __future__ import annotations

import math
import queue
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from stepwell.config import flatten
from stepwell.progress import Evaluated, Event, Fact, RoundDone, RoundStarted, StepDone, Watcher
from stepwell.runs import RunDirectory, to_json, write_atomically
from stepwell.tracking.catalog import TRACKERS, TrackerKind
from stepwell.tracking.tracker import TrackedRun, Tracker

WAITING = 10_000
"""Events that may wait for a tracker before it is given up."""

CLOSING_SECONDS = 20.0
"""At the end so much time is given to a tracker that still has something to do."""


@contextmanager
def tracked(kinds: Sequence[TrackerKind], out: Path, watch: Watcher) -> Iterator[Watcher]:
    """A watcher that hands events on to trackers too; at the end they are closed.

    Args:
        kinds: which trackers; none gives `watch` back.
        out: the run directory; what the trackers write goes under it.
        watch: gets every event, and a warning when a tracker fails.

    Yields:
        The watcher to use.
    """
    if not kinds:
        yield watch
        return
    key = _key(out)
    lanes = [_Lane(kind, out, key) for kind in dict.fromkeys(kinds)]
    for kind in dict.fromkeys(kinds):
        watch(Fact(f"tracked by {kind}: {TRACKERS[kind].advice(out)}"))

    def hand_on(event: Event) -> None:
        watch(event)
        for lane in lanes:
            lane.put(event)
        _report(lanes, watch)

    finished = False
    try:
        yield hand_on
        finished = True
    finally:
        for lane in lanes:
            lane.end(finished)
        for lane in lanes:
            lane.wait()
        _report(lanes, watch)


def values_of(event: Event) -> dict[str, float]:
    """The finite numbers of an event, by the names that trackers show; nothing for an event that has none."""
    found: Mapping[str, Any]
    if isinstance(event, StepDone):
        found, group = asdict(event), "train"
    elif isinstance(event, Evaluated):
        found, group = event.metrics, "held_out"
    elif isinstance(event, RoundDone) and event.record.get("steps"):
        metric = event.record.get("metric")
        names = {"value": f"{metric}", "low": f"{metric}_low", "high": f"{metric}_high"}
        found, group = {name: event.record.get(field) for field, name in names.items()}, "validation"
    else:
        return {}
    return {
        f"{group}/{name}": float(value)
        for name, value in found.items()
        if name not in ("step", "steps") and isinstance(value, int | float) and math.isfinite(value)
    }


class _Lane:
    """One tracker with its queue and its thread.

    Args:
        kind: which tracker.
        out: the run directory.
        key: of the run.
    """

    def __init__(self, kind: TrackerKind, out: Path, key: str) -> None:
        self.kind, self.fault, self.reported = kind, "", False
        self._out, self._key = out, key
        self._round = 1
        self._tracker: Tracker | None = None
        self._seen: dict[str, int] = {}
        self._finished = False
        self._queue: queue.Queue[Event | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name=f"stepwell-{kind}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Hand an event to the thread; never waits."""
        if isinstance(event, StepDone | Evaluated | RoundStarted | RoundDone):
            self._hand_in(event)

    def end(self, finished: bool) -> None:
        """Nothing more will come."""
        self._finished = finished
        self._hand_in(None)

    def wait(self) -> None:
        """Let the thread do what is left, within reason."""
        if not self.fault:
            self._thread.join(CLOSING_SECONDS)
            if self._thread.is_alive():
                self.fault = f"it did not end within {CLOSING_SECONDS:.0f} seconds"

    def _hand_in(self, event: Event | None) -> None:
        if self.fault:
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.fault = f"it does not answer, and {WAITING:,} events wait for it"

    def _work(self) -> None:
        try:
            while (event := self._queue.get()) is not None:
                self._take(event)
            self._close(self._finished)
        except (Exception, SystemExit) as fault:  # whatever a tracker does, the run goes on
            words = str(fault).strip().split("\n")[0]
            self.fault = f"{type(fault).__name__}: {words}" if words else type(fault).__name__

    def _take(self, event: Event) -> None:
        if isinstance(event, RoundStarted):
            self._close(True)
            self._round = event.round
        elif isinstance(event, StepDone):
            self._log(values_of(event), event.step, first_step=event.step)
        elif isinstance(event, Evaluated):  # its step is done; an earlier process recorded it
            self._log(values_of(event), event.step, first_step=event.step + 1)
        elif isinstance(event, RoundDone):
            if values := values_of(event):
                self._log(values, int(event.record["steps"]), first_step=int(event.record["steps"]) + 1)
            self._close(True)

    def _log(self, values: Mapping[str, float], step: int, first_step: int) -> None:
        """Record each step of a group (`train`, `held_out`) once; after a rollback anew where the tracker can."""
        if not values:
            return
        if self._tracker is None:
            settings = _settings(self._out, self._round)
            self._tracker = TRACKERS[self.kind](TrackedRun(self._out, self._key, self._round, first_step, settings))
        group = next(iter(values)).partition("/")[0]
        if step <= self._seen.get(group, self._tracker.last_step):
            if not self._tracker.forget(step):
                return
            self._seen = {name: min(seen, step - 1) for name, seen in self._seen.items()}
        self._tracker.log(values, step)
        self._seen[group] = step

    def _close(self, finished: bool) -> None:
        tracker, self._tracker, self._seen = self._tracker, None, {}
        if tracker is not None:
            tracker.close(finished)


def _report(lanes: Sequence[_Lane], watch: Watcher) -> None:
    """Say once of each tracker that failed that it did."""
    for lane in lanes:
        if lane.fault and not lane.reported:
            lane.reported = True
            watch(Fact(f"{lane.kind} is left out from here on, the run goes on without it: {lane.fault}", warning=True))


def _key(out: Path) -> str:
    """The name of this run for trackers, the same in every process that works on it."""
    path = out / "tracking.json"
    known = (RunDirectory(out).read(path) or {}).get("key")
    if isinstance(known, str):
        return known
    key = uuid.uuid4().hex[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, to_json({"key": key}))
    return key


def _settings(out: Path, number: int) -> dict[str, Any]:
    """The recipe of a round by dotted path; nothing when it cannot be read."""
    try:
        tree = yaml.safe_load((RunDirectory(out).round(number) / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return flatten(tree) if isinstance(tree, dict) else {}
