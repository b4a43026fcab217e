"""Who does the work: this process, a process for each core, or a Ray cluster.

An engine calls a function on many tasks and gives the results back in the order of the tasks; what a task does depends
on nothing else, so the result is the same whoever does it. This file leaves out what the tasks are.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Literal

from stepwell.data.steps.step import needed
from stepwell.errors import RunError

Engine = Literal["auto", "serial", "processes", "ray"]

DoAll = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""A function and its tasks -> the results, in the order of the tasks."""

WORTH_PROCESSES_BYTES = 48 << 20
"""Text from which several processes pay for their start."""


def choose_engine(
    engine: Engine, num_bytes: int, workers: int | None
) -> tuple[Literal["serial", "processes", "ray"], int]:
    """Who works, and how many.

    Args:
        engine: what was asked for.
        num_bytes: of the inputs.
        workers: how many were asked for; None for one for each core.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or cores
    if engine == "auto":
        engine = "processes" if count > 1 and num_bytes >= WORTH_PROCESSES_BYTES else "serial"
    return engine, 1 if engine == "serial" else count


@contextmanager
def opened(engine: Literal["serial", "processes", "ray"], workers: int) -> Iterator[DoAll]:
    """An engine for as long as it is needed: its processes start once, and end with it.

    Args:
        engine: who works.
        workers: how many at once.

    Yields:
        A function that calls another on every task and yields the results in the order of the tasks. The other is
        defined at the top of a module, so that other processes find it, and gives plain JSON values; tasks are plain
        values, so that they can be sent. It raises `RunError` when a worker dies, or what the function raises.
    """
    if engine == "serial":
        yield lambda function, tasks: map(function, tasks)
    elif engine == "processes":
        with _processes(workers) as do_all:
            yield do_all
    else:
        with _ray(workers) as do_all:
            yield do_all


@contextmanager
def _processes(workers: int) -> Iterator[DoAll]:
    # A process that was forked from one with threads may hang; a fresh one costs a tenth of a second.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_stopping_to_the_first)

    def do_all(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        if len(tasks) < 2:
            yield from map(function, tasks)
            return
        try:
            yield from pool.map(function, tasks)
        except BrokenProcessPool as error:
            raise RunError(
                "a worker died",
                got=str(error),
                do="run the same command again, it goes on with the shards that are not done; if memory was short, "
                'use fewer --workers; in a script of your own, call stepwell under `if __name__ == "__main__":`',
            ) from None

    try:
        yield do_all
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_stopping_to_the_first() -> None:
    """Ctrl-C reaches every process of a terminal; a worker ends its shard and hears of it from the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _ray(workers: int) -> Iterator[DoAll]:
    """By Ray Data: each row is a task; its workers see the same files as this process."""
    ray: Any = needed("ray", "ray", "--engine ray")
    data: Any = needed("ray.data", "ray", "--engine ray")
    is_ours = not ray.is_initialized()
    if is_ours:  # a cluster, where RAY_ADDRESS names one, else a small one on this machine
        size = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, configure_logging=False, **size)
    data.DataContext.get_current().execution_options.preserve_order = True
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)

    def do_all(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        rows = data.from_items([{"task": task} for task in tasks], override_num_blocks=len(tasks))
        done = rows.map(_Call(function), compute=data.TaskPoolStrategy(size=workers))
        return (json.loads(row["result"]) for row in done.iter_rows())

    try:
        yield do_all
    finally:
        if is_ours:
            ray.shutdown()


class _Call:
    """A function on rows, made of one on tasks; results are text, as Arrow would give all mappings the same names."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"result": json.dumps(self._function(row["task"]))}
