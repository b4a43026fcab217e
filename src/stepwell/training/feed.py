"""What the coming steps learn from, made ready by background threads while the model computes.

What a step learns from is a pure function of its portion (step, rows, micro-batch), so it is the same bits whoever
makes it, and when. The feed guesses the next portions and makes them ahead; a guess that was wrong (after a roll back,
or with a smaller micro-batch) is thrown away, never used. This file leaves out how examples are made (`update.py`).
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from stepwell.errors import StepwellError, TrainingError

MadeT = TypeVar("MadeT")

LOOK_SECONDS = 1.0
"""How often a step that waits looks whether its worker is still alive."""


@dataclass(frozen=True)
class Portion:
    """Which rows one update learns from.

    Attributes:
        step: of the update; seeds what is random in the examples.
        first_row: where its rows begin in the packer's stream.
        num_rows: how many they are, at least 1.
        micro_batch: rows of one forward and backward.
    """

    step: int
    first_row: int
    num_rows: int
    micro_batch: int


@dataclass
class _Job(Generic[MadeT]):
    """A portion to make, and what came of it."""

    portion: Portion
    is_wanted: bool = True
    worker: threading.Thread | None = None
    done: threading.Event = field(default_factory=threading.Event)
    made: MadeT | None = None
    fault: BaseException | None = None


class Feed(Generic[MadeT]):
    """Hands out what was made of portions: in line, or ahead of time while it is `working`.

    Args:
        make: a pure function of a portion; several threads may call it at once.
        rows_at: how many rows a step takes, to guess the next portion.
    """

    def __init__(self, make: Callable[[Portion], MadeT], rows_at: Callable[[int], int]) -> None:
        self._make, self._rows_at = make, rows_at
        self._workers: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[_Job[MadeT] | None] = queue.SimpleQueue()
        self._ahead: deque[_Job[MadeT]] = deque()

    @contextmanager
    def working(self, workers: int) -> Iterator[None]:
        """Make portions ahead of time while the body runs.

        Args:
            workers: how many threads; 0 makes everything in line. No thread outlives the body.
        """
        self._workers = [
            threading.Thread(target=self._work, name=f"stepwell-data-{number}", daemon=True)
            for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()
        try:
            yield
        finally:
            self._forget()
            for _ in self._workers:
                self._jobs.put(None)
            for worker in self._workers:
                worker.join()
            self._workers = []
            self._jobs = queue.SimpleQueue()

    def take(self, portion: Portion) -> MadeT:
        """What `make` returns for a portion.

        Raises:
            TrainingError: when it cannot be made, naming step and rows, or when a worker died.
        """
        if not self._workers:
            return self._in_line(portion)
        if not self._ahead or self._ahead[0].portion != portion:
            self._forget()
            self._submit(portion)
        job = self._ahead.popleft()
        self._look_ahead(portion)
        self._wait(job)
        if job.fault is not None:
            raise _explained(portion, job.fault) from job.fault
        made, job.made = job.made, None
        return cast(MadeT, made)  # None only where `make` returns it

    def _in_line(self, portion: Portion) -> MadeT:
        try:
            return self._make(portion)
        except Exception as fault:
            raise _explained(portion, fault) from fault

    def _look_ahead(self, portion: Portion) -> None:
        """Keep one portion more under way than there are workers."""
        last = self._ahead[-1].portion if self._ahead else portion
        while len(self._ahead) <= len(self._workers):
            step = last.step + 1
            last = Portion(step, last.first_row + last.num_rows, self._rows_at(step), last.micro_batch)
            self._submit(last)

    def _submit(self, portion: Portion) -> None:
        job: _Job[MadeT] = _Job(portion)
        self._ahead.append(job)
        self._jobs.put(job)

    def _forget(self) -> None:
        for job in self._ahead:
            job.is_wanted = False
        self._ahead.clear()

    def _wait(self, job: _Job[MadeT]) -> None:
        while not job.done.wait(LOOK_SECONDS):
            alive = [worker for worker in self._workers if worker.is_alive()]
            if (job.worker is None and not alive) or (job.worker is not None and job.worker not in alive):
                if job.done.is_set():
                    return
                raise TrainingError(
                    f"{_name(job.portion)}: the data worker died",
                    do="run the same command again to go on; training.data_workers=0 works without threads",
                )

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.is_wanted:
                continue
            job.worker = threading.current_thread()
            try:
                job.made = self._make(job.portion)
            except BaseException as fault:  # whatever it is, the step that waits must hear of it
                job.fault = fault
            job.done.set()
            del job  # while it waits for the next one, it keeps nothing alive


def _name(portion: Portion) -> str:
    return f"step {portion.step + 1}: rows {portion.first_row} to {portion.first_row + portion.num_rows - 1}"


def _explained(portion: Portion, fault: BaseException) -> BaseException:
    """A fault with the rows it came from; what says enough by itself stays as it is."""
    if isinstance(fault, StepwellError | MemoryError):
        return fault
    return TrainingError(
        f"{_name(portion)} cannot be prepared",
        got=f"{type(fault).__name__}: {fault}",
        do="look at the text of this run's data, or report the fault",
    )
