"""The clock of a run: what was spent outlives a process, and slots use all there is, each longer than the last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from stepwell.studies.budget import Budget, next_slot, num_slots


class Clock:
    """Time that goes on only when told."""

    now = 50.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("stepwell.studies.budget.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_time_is_spent_and_left(tmp_path: Path, clock: Clock) -> None:
    budget = Budget(100.0, tmp_path / "spent", began=45.0)  # the process began before it knew of the budget
    assert (budget.spent, budget.left) == (5.0, 95.0)
    clock.now = 160.0
    assert (budget.spent, budget.left) == (115.0, -15.0)
    assert Budget(None, tmp_path / "spent", began=45.0).left == float("inf")


def test_time_spent_survives_a_restart(tmp_path: Path, clock: Clock) -> None:
    first = Budget(100.0, tmp_path / "spent", began=50.0)
    clock.now = 80.0
    first.note()
    clock.now = 80.9
    first.note()  # within a second: not written again, and so lost by a kill
    clock.now = 5000.0  # another process, much later; time in between is not spent
    second = Budget(100.0, tmp_path / "spent", began=5000.0)
    assert second.spent == 30.0
    clock.now = 5010.0
    second.note(at_once=True)
    assert Budget(200.0, tmp_path / "spent", began=5010.0).left == 160.0


def test_time_is_written_at_most_once_a_second_unless_told_to(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "spent"
    budget = Budget(100.0, file, began=50.0)
    clock.now = 50.5
    budget.note()
    assert not file.exists()
    budget.note(at_once=True)
    assert float(file.read_text(encoding="utf-8")) == 0.5
    clock.now = 51.0
    budget.note()
    assert float(file.read_text(encoding="utf-8")) == 0.5


@pytest.mark.parametrize("content", [b"", b"soon", b"\xff"])
def test_a_damaged_note_counts_as_nothing_spent(tmp_path: Path, clock: Clock, content: bytes) -> None:
    (tmp_path / "spent").write_bytes(content)
    assert Budget(100.0, tmp_path / "spent", began=50.0).spent == 0.0


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path, clock: Clock) -> None:
    Budget(100.0, tmp_path / "gone" / "spent", began=50.0).note(at_once=True)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("rounds", [1, 2, 3, 6])
def test_slots_grow_and_sum_up_to_all_there_is(rounds: int) -> None:
    left, slots = 600.0, []
    for to_come in range(rounds, 0, -1):
        slots.append(next_slot(left, to_come))
        left -= slots[-1]
    assert sum(slots) == pytest.approx(600.0)
    assert slots == sorted(slots)
    assert slots[0] == next_slot(600.0, rounds)


def test_after_the_planned_rounds_a_slot_is_all_that_is_left() -> None:
    assert next_slot(40.0, 0) == next_slot(40.0, -3) == next_slot(40.0, 1) == 40.0


def test_a_longer_budget_has_as_many_rounds_or_more() -> None:
    rounds = [num_slots(seconds) for seconds in (30, 300, 600, 1200, 7200, 86_400)]
    assert rounds == sorted(rounds)
    assert rounds[0] >= 3
