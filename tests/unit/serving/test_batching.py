"""Requests that are answered whole: which of them share a call, and what one that fails does to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from stepwell.errors import UsageError
from stepwell.serving.batching import Batcher
from stepwell.serving.faults import Refusal


class Doubling:
    """Answers a number by its double, when it is let; keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        self.begun.release()
        assert self.gate.acquire(timeout=20)
        self.calls.append(list(inputs))
        if "wrong" in inputs:
            raise UsageError("input: is wrong", got="wrong")
        if "broken" in inputs:
            raise ZeroDivisionError("/secret/path")
        return [one * 2 for one in inputs]


@contextmanager
def batching(counting: Any, most_waiting: int = 10, batch_inputs: int = 4) -> Iterator[Batcher]:
    batcher = Batcher(most_waiting, batch_inputs, counting)
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.stop()


async def held(batcher: Batcher, answering: Doubling, *several: tuple[str, list[Any]]) -> list[Any]:
    """Ask while the thread is busy with a first request, so that the others wait together."""
    first = asyncio.ensure_future(batcher.ask("first", [0], answering))
    await asyncio.to_thread(answering.begun.acquire)
    asked = [asyncio.ensure_future(batcher.ask(key, inputs, answering)) for key, inputs in several]
    await asyncio.sleep(0)
    answering.gate.release(50)
    await first
    return list(await asyncio.gather(*asked, return_exceptions=True))


def test_requests_that_wait_together_share_a_call(counting: Any) -> None:
    answering = Doubling()
    with batching(counting) as batcher:
        found = asyncio.run(held(batcher, answering, ("a", [1]), ("b", [2]), ("a", [3, 4]), ("a", [5, 6]), ("a", [7])))
    assert found == [[2], [4], [6, 8], [10, 12], [14]]
    assert answering.calls == [[0], [1, 3, 4, 7], [2], [5, 6]]
    assert counting.batches == [1, 3, 1, 1]


def test_one_that_fails_is_asked_again_alone(counting: Any) -> None:
    answering = Doubling()
    with batching(counting) as batcher:
        good, wrong, broken = asyncio.run(
            held(batcher, answering, ("a", [1]), ("a", ["wrong"]), ("a", ["broken"]))
        )  # fmt: skip
    assert good == [2]
    assert (wrong.status, wrong.param) == (400, "input")
    assert broken.status == 500
    assert "secret" not in broken.message


def test_more_than_may_wait_are_told_to_come_later(counting: Any) -> None:
    answering = Doubling()
    with batching(counting, most_waiting=1) as batcher:
        found = asyncio.run(held(batcher, answering, ("a", [1]), ("b", [2]), ("c", [3])))
    assert found[:2] == [[2], [4]]
    assert isinstance(found[2], Refusal)
    assert found[2].status == 429


def test_nobody_works_for_whoever_has_gone(counting: Any) -> None:
    answering = Doubling()

    async def work() -> None:
        first = asyncio.ensure_future(batcher.ask("first", [0], answering))
        await asyncio.to_thread(answering.begun.acquire)
        gone = asyncio.ensure_future(batcher.ask("a", [1], answering))
        stays = asyncio.ensure_future(batcher.ask("a", [2], answering))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        answering.gate.release(9)
        assert (await first, await stays) == ([0], [4])

    with batching(counting) as batcher:
        asyncio.run(work())
    assert answering.calls == [[0], [2]]
