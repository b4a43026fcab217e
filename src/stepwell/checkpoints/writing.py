"""Writing in the background: one thing at a time, and nothing is forgotten.

Whoever starts a write hands over what no one else changes any more (a `Snapshot`). The thread is no daemon: even a
process that ends by a fault first writes what it has begun. This file leaves out what is written (`store.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Writer:
    """Runs jobs in a background thread, at most one at a time.

    A fault of a job is raised by the next call of any method, once.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begin a job; waits for the one before."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,), name="stepwell-writer", daemon=False)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise()

    def check(self) -> None:
        """Raise the fault of a job that has ended by one; waits for nothing."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def _raise(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as fault:  # the thread that started it must hear of it
            self._fault = fault
