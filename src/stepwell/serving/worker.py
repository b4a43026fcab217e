"""The thread that owns an engine, and how the event loop asks it for text.

An engine is used by one thread alone: it takes requests out of a queue between its steps, and hands what happened to
the loops that asked, once a step. The loop never waits for a step. Whoever gives up a request says so, and the engine
forgets it with its next step. This file leaves out HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stepwell.errors import StepwellError
from stepwell.inference import Engine, Event, Load, Request
from stepwell.serving.faults import Refusal, broken, refusal_of, too_busy

logger = logging.getLogger("stepwell.serving")

MOST_FAULTS = 3
"""Steps that may fail, without a token between them, before a worker is given up."""


class Watcher(Protocol):
    """Who counts what a worker does; called in the loop that asked, but for `stepped`."""

    def first_token(self, seconds: float) -> None: ...

    def next_token(self, seconds: float) -> None: ...

    def stepped(self, events: int, load: Load) -> None: ...


class Told(NamedTuple):
    """An event of one of several requests that were made together.

    Attributes:
        place: which of them, from 0.
        event: of it.
    """

    place: int
    event: Event


class Asking:
    """Some requests on their way; iterate for their events, and `close` in any case.

    Args:
        worker: that does them.
        requests: that are done together; all of them fail when one does.
    """

    def __init__(self, worker: EngineWorker, requests: Sequence[Request]) -> None:
        self.worker, self.requests = worker, tuple(requests)
        self.samples = sum(request.params.n for request in requests)
        self.loop = asyncio.get_running_loop()
        self.numbers: list[int] = []  # the worker's thread alone writes it
        self.began = time.monotonic()
        self._arrived: asyncio.Queue[Told | Refusal] = asyncio.Queue()
        self._last: dict[tuple[int, int], float] = {}
        self._open = self.samples
        self._closed = False

    def deliver(self, one: Told | Refusal) -> None:
        """Take what happened; called in the loop."""
        if self._closed:
            return
        if isinstance(one, Told):
            self._time(one)
        self._arrived.put_nowait(one)

    def _time(self, told: Told) -> None:
        now = time.monotonic()
        key = told.place, told.event.index
        if not self._last:
            self.worker.watcher.first_token(now - self.began)
        elif key in self._last:
            self.worker.watcher.next_token(now - self._last[key])
        self._last[key] = now
        if told.event.finish_reason is not None:
            self._open -= 1
            self.worker.release(1)

    async def __aiter__(self) -> AsyncIterator[Told]:
        """Events as they come, until every sample has ended.

        Raises:
            Refusal: when the requests cannot be done.
        """
        left = self.samples
        while left:
            one = await self._arrived.get()
            if isinstance(one, Refusal):
                raise one
            if one.event.error is not None:
                raise refusal_of(one.event.error)
            left -= one.event.finish_reason is not None
            yield one

    def close(self) -> None:
        """Give up what has not ended; may be called more than once."""
        if self._closed:
            return
        self._closed = True
        if self._open:
            self.worker.forget(self)  # first: a place that is given back is one that no step works for
            self.worker.release(self._open)


@dataclass
class _UnderWay:
    """A request in the engine.

    Attributes:
        asking: that it belongs to.
        place: which of its requests it is.
        left: samples that have not ended.
    """

    asking: Asking
    place: int
    left: int


class EngineWorker:
    """See the module.

    Args:
        engine: used by nobody else from now on.
        most_waiting: samples beyond those that the engine runs at once.
        watcher: is told of times and load.
    """

    def __init__(self, engine: Engine, most_waiting: int, watcher: Watcher) -> None:
        self.engine, self.watcher = engine, watcher
        self.capacity = engine.most_samples + most_waiting
        self.is_well = True
        self._awake = threading.Condition()
        self._added: deque[Asking] = deque()
        self._forgotten: deque[Asking] = deque()
        self._under_way: dict[int, _UnderWay] = {}
        self._taken = 0
        self._sample_seconds = 1.0
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread after its step; what is under way is forgotten."""
        with self._awake:
            self._ends = True
            self._awake.notify()
        self._thread.join(seconds)

    @property
    def taken(self) -> int:
        """Samples that were accepted and have not ended."""
        return self._taken

    def ask(self, requests: Sequence[Request]) -> Asking:
        """Begin some requests; called in an event loop.

        Raises:
            Refusal: when too many wait, there are more samples than could ever be taken, or the engine has broken.
        """
        asking = Asking(self, requests)
        if not self.is_well:
            raise broken()
        if asking.samples > self.capacity:
            raise Refusal(400, f"n: {asking.samples} samples are more than this server takes at once, {self.capacity}",
                          param="n", code="invalid_value")  # fmt: skip
        with self._awake:
            if self._taken + asking.samples > self.capacity:
                raise too_busy(self._patience())
            self._taken += asking.samples
            self._added.append(asking)
            self._awake.notify()
        return asking

    def release(self, samples: int) -> None:
        """So many samples have ended or are given up."""
        with self._awake:
            self._taken -= samples

    def forget(self, asking: Asking) -> None:
        """Give up a request."""
        with self._awake:
            self._forgotten.append(asking)
            self._awake.notify()

    def _patience(self) -> int:
        """Seconds until a place is likely to be free, 1 to 60."""
        return int(min(60.0, max(1.0, self._sample_seconds * self._taken / self.engine.most_samples)))

    def _run(self) -> None:
        faults = 0
        while self.is_well:
            with self._awake:
                while not (self._added or self._forgotten or self._ends) and self.engine.is_idle:
                    self._awake.wait()
                if self._ends:
                    return
                added, forgotten = list(self._added), list(self._forgotten)
                self._added.clear()
                self._forgotten.clear()
            try:
                for asking in added:
                    self._add(asking)
                for asking in forgotten:
                    self._cancel(asking)
                events = self.engine.step()
                self._hand_out(events)
                faults = 0 if events else faults
            except Exception:
                logger.exception("a step of the engine failed")
                faults += 1
                self.is_well = faults < MOST_FAULTS
                self._fail_all()

    def _add(self, asking: Asking) -> None:
        try:
            for place, request in enumerate(asking.requests):
                number = self.engine.add(request)
                asking.numbers.append(number)
                self._under_way[number] = _UnderWay(asking, place, request.params.n)
        except Exception as error:  # of this request, whatever it is: others go on
            self._cancel(asking)
            if not isinstance(error, StepwellError):
                logger.exception("a request cannot be added")
            _tell([(asking, refusal_of(error) if isinstance(error, StepwellError) else broken())])

    def _cancel(self, asking: Asking) -> None:
        for number in asking.numbers:
            if self._under_way.pop(number, None) is not None:
                self.engine.cancel(number)

    def _hand_out(self, events: Sequence[Event]) -> None:
        told: list[tuple[Asking, Told | Refusal]] = []
        for event in events:
            found = self._under_way.get(event.request)
            if found is not None:
                told.append((found.asking, Told(found.place, event)))
                self._note_end(event, found)
        _tell(told)
        self.watcher.stepped(len(events), self.engine.load)

    def _note_end(self, event: Event, found: _UnderWay) -> None:
        if event.finish_reason is None:
            return
        self._sample_seconds += 0.1 * (time.monotonic() - found.asking.began - self._sample_seconds)
        found.left -= 1
        if not found.left:
            del self._under_way[event.request]
        if event.error is not None:
            self._cancel(found.asking)

    def _fail_all(self) -> None:
        with self._awake:
            waiting = list(self._added)
            self._added.clear()
        asking = {one.asking for one in self._under_way.values()} | set(waiting)
        for one in asking:
            self._cancel(one)
        _tell([(one, broken()) for one in asking])


def _tell(several: Sequence[tuple[Asking, Told | Refusal]]) -> None:
    """Hand over what happened, to each loop at once."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[Asking, Told | Refusal]]] = defaultdict(list)
    for asking, one in several:
        by_loop[asking.loop].append((asking, one))
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, theirs)
        except RuntimeError:  # the loop has ended, and nobody listens any more
            for asking in {asking for asking, _ in theirs}:
                asking.close()


def _deliver(several: Sequence[tuple[Asking, Told | Refusal]]) -> None:
    for asking, one in several:
        asking.deliver(one)
