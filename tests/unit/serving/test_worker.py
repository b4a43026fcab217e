"""The thread that owns an engine: what comes back, what is given up, and what happens when a step fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from stepwell.inference import Engine, Request, SamplingParams
from stepwell.serving.faults import Refusal
from stepwell.serving.worker import MOST_FAULTS, Asking, EngineWorker

MakeEngine = Callable[..., Engine]


def request(*token_ids: int, **params: Any) -> Request:
    return Request(token_ids or (5, 6, 7), SamplingParams(**{"max_tokens": 4, "seed": 0, "temperature": 1, **params}))


async def tokens(asking: Asking) -> list[list[int]]:
    """What was drawn for each request."""
    drawn: list[list[int]] = [[] for _ in asking.requests]
    try:
        async for told in asking:
            assert told.event.drawn is not None
            drawn[told.place].append(told.event.drawn.token_id)
    finally:
        asking.close()
    return drawn


@contextmanager
def working(engine: Engine, counting: Any, most_waiting: int = 8) -> Iterator[EngineWorker]:
    worker = EngineWorker(engine, most_waiting, counting)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        assert not worker._thread.is_alive()


def run(work: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work(), seconds)

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; `run` bounds it."""
    while not condition():
        await asyncio.sleep(0.002)


def expected(make_engine: MakeEngine, requests: Sequence[Request]) -> list[list[int]]:
    """What each request draws alone."""
    found = []
    for one in requests:
        found.append([event.drawn.token_id for event in make_engine().run([one]) if event.drawn is not None])
    return found


def test_requests_of_many_tasks_get_what_they_would_alone(make_engine: MakeEngine, counting: Any) -> None:
    requests = [request(*range(3, 5 + number), seed=number, max_tokens=3 + number) for number in range(9)]
    wanted = expected(make_engine, requests)

    async def work() -> Any:
        return await asyncio.gather(*(tokens(worker.ask([one])) for one in requests))

    with working(make_engine(), counting) as worker:
        assert [rows[0] for rows in run(work)] == wanted
        assert worker.taken == 0
        assert worker.engine.is_idle
        assert not worker._under_way
    assert len(counting.first) == 9
    assert len(counting.next) == sum(map(len, wanted)) - 9
    assert sum(events for events, _ in counting.steps) == sum(map(len, wanted))


def test_requests_that_are_made_together_are_told_apart(make_engine: MakeEngine, counting: Any) -> None:
    requests = [request(3, seed=1), request(4, 5, seed=2), request(6, seed=3)]

    async def work() -> Any:
        return await tokens(worker.ask(requests))

    with working(make_engine(), counting) as worker:
        assert run(work) == expected(make_engine, requests)


def test_what_is_given_up_is_out_of_the_engine_with_its_next_step(make_engine: MakeEngine, counting: Any) -> None:
    """The thread is held between steps, so it is known how many come after the request was given up."""
    engine = make_engine()
    gate, steps = threading.Semaphore(0), []
    real = engine.step

    def stepping() -> Any:
        gate.acquire()
        events = real()
        steps.append(engine.load)
        return events

    engine.step = stepping  # type: ignore[method-assign]

    async def work() -> None:
        asking = worker.ask([request(max_tokens=200, ignore_eos=True)])
        gate.release(3)
        await until(lambda: len(steps) == 3)
        assert steps[-1].running == 1
        asking.close()
        asking.close()
        assert worker.taken == 0
        gate.release(2)  # one step may have begun before it was given up, the next one knows
        await until(lambda: len(steps) == 5 or engine.is_idle)
        assert engine.is_idle

    with working(engine, counting) as worker:
        run(work)
        gate.release(10)


def test_what_was_never_begun_can_be_given_up(make_engine: MakeEngine, counting: Any) -> None:
    async def work() -> None:
        others = [worker.ask([request(max_tokens=30, seed=number)]) for number in range(4)]
        waiting = worker.ask([request(max_tokens=30)])
        waiting.close()
        await asyncio.gather(*map(tokens, others))

    with working(make_engine(), counting) as worker:
        run(work)
        run(lambda: until(lambda: worker.engine.is_idle))
        assert worker.taken == 0


def test_more_than_may_wait_are_told_to_come_later(make_engine: MakeEngine, counting: Any) -> None:
    async def work() -> None:
        several = [worker.ask([request(max_tokens=20)]) for _ in range(6)]
        with pytest.raises(Refusal) as caught:
            worker.ask([request()])
        assert caught.value.status == 429
        assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
        with pytest.raises(Refusal) as never:
            worker.ask([request(n=7)])
        assert never.value.status == 400
        await asyncio.gather(*map(tokens, several))
        await tokens(worker.ask([request(n=6)]))

    with working(make_engine(), counting, most_waiting=2) as worker:
        run(work)


def test_a_request_that_cannot_be_done_harms_no_other(make_engine: MakeEngine, counting: Any) -> None:
    async def work() -> None:
        good = worker.ask([request(seed=3)])
        bad = worker.ask([request(seed=1), request(*[5] * 300)])
        with pytest.raises(Refusal) as caught:
            await tokens(bad)
        assert caught.value.status == 400
        assert await tokens(good) == expected(make_engine, [request(seed=3)])
        await until(lambda: worker.engine.is_idle and worker.taken == 0)

    with working(make_engine(), counting) as worker:
        run(work)


def test_a_step_that_fails_ends_what_was_under_way_and_nothing_else(make_engine: MakeEngine, counting: Any) -> None:
    engine = make_engine()
    real, fails = engine.runner.extend, [True]

    def extending(jobs: Any) -> Any:
        if fails[0]:
            raise ZeroDivisionError("/secret/path")
        return real(jobs)

    engine.runner.extend = extending  # type: ignore[method-assign]

    async def work() -> None:
        with pytest.raises(Refusal) as caught:
            await tokens(worker.ask([request()]))
        assert caught.value.status == 500
        assert "secret" not in caught.value.message
        assert worker.is_well
        fails[0] = False
        assert await tokens(worker.ask([request()])) == expected(make_engine, [request()])
        assert worker.taken == 0

    with working(engine, counting) as worker:
        run(work)


def test_an_engine_that_fails_again_and_again_is_given_up(make_engine: MakeEngine, counting: Any) -> None:
    engine = make_engine()

    def extending(jobs: Any) -> Any:
        raise ZeroDivisionError

    engine.runner.extend = extending  # type: ignore[method-assign]

    async def work() -> None:
        for _ in range(MOST_FAULTS):
            assert worker.is_well
            with pytest.raises(Refusal):
                await tokens(worker.ask([request()]))
        await until(lambda: not worker.is_well)
        with pytest.raises(Refusal) as caught:
            worker.ask([request()])
        assert caught.value.status == 500

    with working(engine, counting) as worker:
        run(work)


def test_the_loop_is_free_while_a_step_takes_long(make_engine: MakeEngine, counting: Any) -> None:
    engine = make_engine()
    free, real = threading.Event(), engine.step

    def stepping() -> Any:
        assert free.wait(20)
        return real()

    engine.step = stepping  # type: ignore[method-assign]

    async def work() -> None:
        asking = worker.ask([request()])
        for _ in range(50):  # would never come to its end if the loop waited for the step
            await asyncio.sleep(0)
        free.set()
        await tokens(asking)

    with working(engine, counting) as worker:
        run(work)


def test_a_loop_that_has_ended_holds_nobody_up(make_engine: MakeEngine, counting: Any) -> None:
    async def leave() -> None:
        worker.ask([request(max_tokens=50, ignore_eos=True)])

    async def stay() -> Any:
        return await tokens(worker.ask([request(seed=4)]))

    with working(make_engine(), counting) as worker:
        run(leave)
        assert run(stay) == expected(make_engine, [request(seed=4)])
        run(lambda: until(lambda: worker.taken == 0))
