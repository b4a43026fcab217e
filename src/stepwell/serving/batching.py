"""Answers that come whole (labels, tags, vectors, translations): one thread, and requests that wait are read together.

The functions are those that the commands use; they know how to batch texts by length. So what this file does is to
put the texts of requests of one kind into one call, and to take its answers apart again. A request that makes a call
fail is asked again alone, so that the others get their answers. This file leaves out what is asked.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stepwell.errors import StepwellError
from stepwell.serving.faults import Refusal, broken, refusal_of, too_busy

logger = logging.getLogger("stepwell.serving")

Answering = Callable[[Sequence[Any]], Sequence[Any]]
"""Inputs to as many answers."""


class Watcher(Protocol):
    """Who counts the batches."""

    def batched(self, requests: int) -> None: ...


@dataclass(eq=False)
class _Job:
    key: Hashable
    answering: Answering
    inputs: Sequence[Any]
    future: asyncio.Future[Sequence[Any]]
    loop: asyncio.AbstractEventLoop


class Batcher:
    """See the module.

    Args:
        most_waiting: requests; whoever comes then is told to come later.
        batch_inputs: of waiting requests that are put together.
        watcher: is told of each batch.
    """

    def __init__(self, most_waiting: int, batch_inputs: int, watcher: Watcher) -> None:
        self.most_waiting, self.batch_inputs, self.watcher = most_waiting, batch_inputs, watcher
        self._awake = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="tasks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread after its batch."""
        with self._awake:
            self._ends = True
            self._awake.notify()
        self._thread.join(seconds)

    async def ask(self, key: Hashable, inputs: Sequence[Any], answering: Answering) -> Sequence[Any]:
        """Have inputs answered.

        Args:
            key: inputs of equal keys may share a call.
            inputs: N of them, from 1.
            answering: what answers them; of a shared call, that of the first request.

        Returns:
            N answers.

        Raises:
            Refusal: when too many wait, or the inputs cannot be answered.
        """
        loop = asyncio.get_running_loop()
        job = _Job(key, answering, inputs, loop.create_future(), loop)
        with self._awake:
            if len(self._jobs) > self.most_waiting:
                raise too_busy(1)
            self._jobs.append(job)
            self._awake.notify()
        return await job.future

    def _run(self) -> None:
        while True:
            with self._awake:
                while not (self._jobs or self._ends):
                    self._awake.wait()
                if self._ends:
                    return
                batch = self._next_batch()
            if batch:
                self.watcher.batched(len(batch))
                self._answer(batch)

    def _next_batch(self) -> list[_Job]:
        """The first job, and those of its key that fit beside it; those that nobody waits for any more are dropped."""
        waiting = [job for job in self._jobs if not job.future.cancelled()]
        batch: list[_Job] = []
        left = self.batch_inputs
        for job in waiting:
            if not batch or (job.key == batch[0].key and len(job.inputs) <= left):
                batch.append(job)
                left -= len(job.inputs)
        self._jobs = deque(job for job in waiting if job not in batch)
        return batch

    def _answer(self, batch: Sequence[_Job]) -> None:
        try:
            answers = list(batch[0].answering([one for job in batch for one in job.inputs]))
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    self._answer([job])
                return
            if not isinstance(error, StepwellError | Refusal):
                logger.exception("a request cannot be answered")
            refusal = error if isinstance(error, Refusal) else None
            if refusal is None:
                refusal = refusal_of(error) if isinstance(error, StepwellError) else broken()
            _settle(batch[0], refusal)
            return
        at = 0
        for job in batch:
            _settle(job, answers[at : at + len(job.inputs)])
            at += len(job.inputs)


def _settle(job: _Job, answer: Sequence[Any] | Refusal) -> None:
    def settle() -> None:
        if job.future.done():
            return
        if isinstance(answer, Refusal):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)

    try:
        job.loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop has ended, and nobody listens any more
        logger.debug("an answer came after its loop had ended")
