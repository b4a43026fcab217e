"""Work on two cores, timed from the moment when both workers are ready to the end of the later one.

Both sides of a comparison use it, so it knows neither stepwell nor datatrove. The documents are in memory before the
clock starts; starting processes, importing and reading are not counted. This file leaves out what the work is.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WORKERS = 2

Row = dict[str, Any]


def halves(path: str) -> list[list[Row]]:
    """The rows of a file of JSON lines, every second one for each worker."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n")[:-1]]
    return [rows[rank::WORKERS] for rank in range(WORKERS)]


def together(work: Callable[[int], Any], warm: Callable[[], Any] = lambda: None) -> tuple[float, list[Any]]:
    """Call a function in every worker at once.

    Args:
        work: takes the worker's number; its result must be small.
        warm: is called first, untimed.

    Returns:
        Seconds, and the results by worker.
    """
    fork = multiprocessing.get_context("fork")
    ready, results = fork.Barrier(WORKERS), fork.Queue()

    def run(rank: int) -> None:
        warm()
        ready.wait()
        began = time.monotonic()
        result = work(rank)
        results.put((rank, began, time.monotonic(), result))

    workers = [fork.Process(target=run, args=(rank,), daemon=True) for rank in range(WORKERS)]
    for worker in workers:
        worker.start()
    found = []
    while len(found) < WORKERS:
        try:
            found.append(results.get(timeout=5))
        except multiprocessing.queues.Empty:  # type: ignore[attr-defined]
            if any(worker.exitcode not in (None, 0) for worker in workers):
                raise SystemExit("a worker failed") from None
    for worker in workers:
        worker.join()
    found.sort()
    return max(end for _, _, end, _ in found) - min(began for _, began, _, _ in found), [one[3] for one in found]


def alone(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and the result of what one process does."""
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


def tell(seconds: Sequence[float], kept: int) -> None:
    """Say what was measured, as the last line of the output."""
    sys.stdout.write(json.dumps({"seconds": sum(seconds), "kept": kept}) + "\n")
