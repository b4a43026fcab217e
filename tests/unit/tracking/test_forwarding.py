"""A tracker may fail in any way: the run goes on, and a person is told once."""

from __future__ import annotations

import importlib.machinery
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import UsageError
from stepwell.progress import Evaluated, Event, Fact, RoundStarted, StepDone
from stepwell.tracking import TRACKERS, TrackedRun, Tracker, catalog, forwarding, require_trackers, tracked


def step(at: int) -> StepDone:
    return StepDone(at, 10, 3.0, 0.01, 1.5, at * 100, 1234.0)


class Notebook(Tracker):
    """Writes down what it is told; fails when asked to."""

    module = "notebook"
    made: list[Notebook]
    fail_at: tuple[str, int] | None = None
    known = 0
    gate: threading.Event | None = None

    def __init__(self, run: TrackedRun) -> None:
        self._fail("init", 0)
        self.run, self.lines, self.closed = run, [], []  # type: ignore[var-annotated]
        self.last_step = self.known
        type(self).made.append(self)

    @classmethod
    def advice(cls, out: Path) -> str:
        return "read it"

    def log(self, values: Mapping[str, float], step: int) -> None:
        if self.gate is not None:
            self.gate.wait(10)
        self._fail("log", step)
        self.lines.append((step, sorted(values)[0].partition("/")[0]))

    def close(self, finished: bool) -> None:
        self._fail("close", 0)
        self.closed.append(finished)

    def _fail(self, where: str, at: int) -> None:
        if self.fail_at == (where, at):
            raise ConnectionError("the server is gone\nwith many details")


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> type[Notebook]:
    fresh = type("Fresh", (Notebook,), {"made": []})
    monkeypatch.setattr(forwarding, "TRACKERS", {**TRACKERS, "wandb": fresh})
    return fresh


def warnings(said: list[Event]) -> list[str]:
    return [event.text for event in said if isinstance(event, Fact) and event.warning]


def test_no_trackers_no_change(tmp_path: Path) -> None:
    said: list[Event] = []
    with tracked([], tmp_path, said.append) as watch:
        watch(step(1))
    assert said == [step(1)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fail_at", [("init", 0), ("log", 3), ("close", 0)])
def test_a_tracker_that_fails_is_reported_once_and_the_run_goes_on(notebook, tmp_path, fail_at):
    notebook.fail_at = fail_at
    said: list[Event] = []
    with tracked(["wandb"], tmp_path, said.append) as watch:
        for at in range(1, 8):
            watch(step(at))
    assert [event for event in said if isinstance(event, StepDone)] == [step(at) for at in range(1, 8)]
    (warning,) = warnings(said)
    assert warning == (
        "wandb is left out from here on, the run goes on without it: ConnectionError: the server is gone"
    )


def test_a_failing_tracker_does_not_hinder_another(notebook, tmp_path):
    pytest.importorskip("tensorboard")
    notebook.fail_at = ("log", 1)
    said: list[Event] = []
    with tracked(["wandb", "tensorboard"], tmp_path, said.append) as watch:
        watch(step(1))
    assert len(warnings(said)) == 1
    assert any((tmp_path / "tensorboard" / "round-01").iterdir())


def test_a_server_that_hangs_does_not_hold_up_the_run(notebook, tmp_path, monkeypatch):
    """Events wait in a queue; when it is full the tracker is given up, and the end is not waited for."""
    monkeypatch.setattr(forwarding, "WAITING", 5)
    notebook.gate = threading.Event()
    said: list[Event] = []
    with tracked(["wandb"], tmp_path, said.append) as watch:
        for at in range(1, 50):
            watch(step(at))
    notebook.gate.set()
    assert sum(isinstance(event, StepDone) for event in said) == 49
    (warning,) = warnings(said)
    assert "does not answer" in warning


def test_a_tracker_that_does_not_end_is_left(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(forwarding, "CLOSING_SECONDS", 0.01)
    notebook.gate = threading.Event()
    said: list[Event] = []
    with tracked(["wandb"], tmp_path, said.append) as watch:
        watch(step(1))
    notebook.gate.set()
    (warning,) = warnings(said)
    assert "did not end" in warning


def test_an_error_of_the_run_goes_through_and_the_tracker_hears_of_it(notebook, tmp_path):
    def fall_over() -> None:
        with tracked(["wandb"], tmp_path, lambda event: None) as watch:
            watch(step(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fall_over()
    assert notebook.made[0].closed == [False]


def test_a_run_keeps_its_key_and_every_round_is_a_training_of_its_own(notebook, tmp_path):
    for _ in range(2):
        with tracked(["wandb"], tmp_path, lambda event: None) as watch:
            watch(step(1))
            watch(RoundStarted(2, "underfitting", "more steps"))
            watch(step(1))
    assert [each.run.round for each in notebook.made] == [1, 2, 1, 2]
    assert len({each.run.key for each in notebook.made}) == 1
    assert [each.closed for each in notebook.made] == [[True]] * 4
    with tracked(["wandb"], tmp_path / "other", lambda event: None) as watch:
        watch(step(1))
    assert notebook.made[-1].run.key != notebook.made[0].run.key


def test_where_nothing_can_be_forgotten_no_step_is_sent_twice(notebook, tmp_path):
    """After going on (step 3 is known there already), and after a rollback from 6 to 5."""
    notebook.known = 3
    with tracked(["wandb"], tmp_path, lambda event: None) as watch:
        for at in (2, 3, 4, 5, 6, 5, 6, 7):
            watch(step(at))
            if at in (3, 6):
                watch(Evaluated(at, {"loss": 1.0}))
    train = [at for at, group in notebook.made[0].lines if group == "train"]
    held_out = [at for at, group in notebook.made[0].lines if group == "held_out"]
    assert train == [4, 5, 6, 7]
    assert held_out == [6]


def test_a_tracker_told_twice_is_one(notebook, tmp_path):
    with tracked(["wandb", "wandb"], tmp_path, lambda event: None) as watch:
        watch(step(1))
    assert len(notebook.made) == 1


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    for kind in TRACKERS:
        with pytest.raises(UsageError) as caught:
            require_trackers([kind])
        assert f"pip install 'stepwell[{kind}]'" in str(caught.value)


def test_a_folder_of_that_name_is_no_library(monkeypatch):
    """Weights & Biases leaves a folder `wandb` where it ran, which Python takes for a package."""
    folder = importlib.machinery.ModuleSpec("wandb", None, is_package=True)
    monkeypatch.setattr(catalog, "find_spec", lambda name: folder)
    with pytest.raises(UsageError, match="not installed"):
        require_trackers(["wandb"])


def test_the_extras_are_those_of_the_catalog() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    extras: dict[str, Any] = project["project"]["optional-dependencies"]
    for kind, tracker in TRACKERS.items():
        (requirement,) = extras[kind]
        assert requirement.startswith(f"{tracker.module}>=")
        assert ",<" in requirement
