"""Rows made ahead of time are the rows made in line; what goes wrong in a worker is told at its step; nothing hangs."""

from __future__ import annotations

import threading
import time

import pytest

from stepwell.errors import DataError, TrainingError
from stepwell.training import feed as feeding
from stepwell.training.feed import Feed, Portion

WORKERS = [0, 1, 2, 5]


def rows_at(step: int) -> int:
    """A ramp: rows of a step are a function of it."""
    return 2 + step // 3


def portions(count: int, first_step: int = 0, micro_batch: int = 2) -> list[Portion]:
    row, found = sum(map(rows_at, range(first_step))), []
    for step in range(first_step, first_step + count):
        found.append(Portion(step, row, rows_at(step), micro_batch))
        row += rows_at(step)
    return found


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("stepwell-data")]


class Made:
    """A `make` that remembers what it was asked for, and fails for some steps."""

    def __init__(self, faults: dict[int, BaseException] | None = None) -> None:
        self.faults, self.asked, self.by = faults or {}, [], set()

    def __call__(self, portion: Portion) -> Portion:
        self.asked.append(portion)
        self.by.add(threading.current_thread().name)
        if portion.step in self.faults:
            raise self.faults[portion.step]
        return portion


@pytest.mark.parametrize("workers", WORKERS)
def test_each_step_gets_what_was_made_of_its_own_portion(workers):
    made = Made()
    feed: Feed[Portion] = Feed(made, rows_at)
    with feed.working(workers):
        assert len(threads()) == workers
        assert [feed.take(portion) for portion in portions(20)] == portions(20)
    assert not threads(), "no thread outlives the body"
    assert set(made.asked[:20]) == set(portions(20)), "every portion but those guessed at the end was wanted"
    assert (threading.current_thread().name in made.by) is (workers == 0)
    assert len(made.asked) <= 20 + workers + 1, "no more is made than fits into the bounded queue"


@pytest.mark.parametrize("workers", WORKERS)
def test_a_wrong_guess_is_thrown_away(workers):
    """A roll back, a smaller micro-batch, and a leap ahead: each asks for something else than was guessed."""
    wanted = [*portions(5), *portions(4, first_step=2), *portions(3, first_step=6, micro_batch=1), *portions(2, 40)]
    feed: Feed[Portion] = Feed(Made(), rows_at)
    with feed.working(workers):
        assert [feed.take(portion) for portion in wanted] == wanted


def test_work_is_done_ahead_and_only_so_far():
    wanted, reached = portions(9), threading.Semaphore(0)
    asked = []

    def make(portion: Portion) -> Portion:
        asked.append(portion.step)
        reached.release()
        return portion

    feed: Feed[Portion] = Feed(make, rows_at)
    with feed.working(2):
        feed.take(wanted[0])
        for _ in range(4):  # the one taken, and one more ahead than there are workers
            assert reached.acquire(timeout=10)
        assert not reached.acquire(timeout=0.05)
        assert sorted(asked) == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_fault_is_told_at_its_step_with_its_rows(workers):
    feed: Feed[Portion] = Feed(Made({3: ValueError("no such token")}), rows_at)
    with feed.working(workers):
        for portion in portions(3):
            feed.take(portion)
        with pytest.raises(TrainingError, match="step 4: rows 6 to 8 cannot be prepared") as caught:
            feed.take(portions(1, first_step=3)[0])
        assert "ValueError: no such token" in str(caught.value)
        assert isinstance(caught.value.__cause__, ValueError)
        assert feed.take(portions(1, first_step=4)[0]) == portions(1, first_step=4)[0], "the worker is still there"
    assert not threads()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("fault", [DataError("shard 3: is damaged"), MemoryError("no room")], ids=repr)
def test_a_fault_that_says_enough_stays_as_it_is(workers, fault):
    feed: Feed[Portion] = Feed(Made({0: fault}), rows_at)
    with feed.working(workers), pytest.raises(type(fault)) as caught:
        feed.take(portions(1)[0])
    assert caught.value is fault


def test_a_fault_in_a_guess_that_is_never_wanted_is_nobodys():
    feed: Feed[Portion] = Feed(Made({1: ValueError("never asked for")}), rows_at)
    with feed.working(2):
        feed.take(portions(1)[0])


def test_even_an_exit_in_a_worker_is_told():
    feed: Feed[Portion] = Feed(Made({0: SystemExit(3)}), rows_at)
    with feed.working(1), pytest.raises(TrainingError, match="SystemExit"):
        feed.take(portions(1)[0])


@pytest.mark.parametrize("holds_the_job", [True, False])
def test_a_worker_that_died_is_noticed(monkeypatch, holds_the_job):
    """Killed between two jobs, or with the job that a step waits for in its hands."""
    monkeypatch.setattr(feeding, "LOOK_SECONDS", 0.01)
    feed: Feed[Portion] = Feed(Made(), rows_at)

    def die(self: Feed[Portion]) -> None:
        if holds_the_job and (job := self._jobs.get()) is not None:
            job.worker = threading.current_thread()

    monkeypatch.setattr(Feed, "_work", die)
    with feed.working(1), pytest.raises(TrainingError, match="step 1: rows 0 to 1: the data worker died") as caught:
        feed.take(portions(1)[0])
    assert "data_workers=0" in str(caught.value)


@pytest.mark.parametrize("end", [KeyboardInterrupt, TrainingError("over")])
def test_closing_is_clean_while_work_is_under_way(end):
    started = threading.Event()

    def make(portion: Portion) -> Portion:
        if portion.step:
            started.set()
            time.sleep(0.02)
        return portion

    feed: Feed[Portion] = Feed(make, rows_at)
    with pytest.raises(end if isinstance(end, type) else type(end)), feed.working(2):
        feed.take(portions(1)[0])
        started.wait()
        raise end
    assert not threads()
    assert feed.take(portions(2)[1]) == portions(2)[1], "from here on in line"


def test_it_may_work_again():
    feed: Feed[Portion] = Feed(Made(), rows_at)
    for _ in range(3):
        with feed.working(2):
            assert [feed.take(portion) for portion in portions(4)] == portions(4)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("slow", [0, 1])
def test_whoever_is_slow_changes_nothing(workers, slow):
    """Workers slower than steps, and steps slower than workers."""

    def pause(here: bool) -> None:
        if here:
            time.sleep(0.002)

    def make(portion: Portion) -> Portion:
        pause(not slow)
        return portion

    feed: Feed[Portion] = Feed(make, rows_at)
    taken = []
    with feed.working(workers):
        for portion in portions(12):
            taken.append(feed.take(portion))
            pause(bool(slow))
    assert taken == portions(12)


def test_real_examples_from_several_threads_are_those_made_in_line(make_trainer, tmp_path):
    """Over several epochs, whose packing the threads share."""
    updater = make_trainer(tmp_path).updater
    wanted = [Portion(step, 5 * step, 5, 2) for step in range(60)]
    plain = [updater.prepare(portion) for portion in wanted]
    feed = Feed(make_trainer(tmp_path / "other").updater.prepare, lambda step: 5)
    with feed.working(4):
        for portion, expected in zip(wanted, plain, strict=True):
            got = feed.take(portion)
            assert got.num_tokens == expected.num_tokens
            for one, other in zip(got.parts, expected.parts, strict=True):
                assert one.examples.token_ids.tobytes() == other.examples.token_ids.tobytes()
                assert one.examples.targets.tobytes() == other.examples.targets.tobytes()
