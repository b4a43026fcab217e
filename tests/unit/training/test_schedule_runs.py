"""Every schedule in a whole run: stopped and gone on with, made longer, cut short by the clock or by patience."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import Stopped
from stepwell.optimization import SCHEDULES
from stepwell.progress import StepDone
from stepwell.runs import read_lines
from stepwell.training import world as timing

every_schedule = pytest.mark.parametrize("kind", SCHEDULES)
some_schedules = pytest.mark.parametrize("kind", ["wsd", "cosine", "plateau"])
ALL_THE_WAY = ("linear", "cosine", "one_cycle")
WITHOUT_END = ("constant", "inverse_square_root", "plateau")
STEPS = 12


def rates(directory: Path) -> list[float]:
    return [line["learning_rate"] for line in read_lines(directory / "metrics.jsonl") if line["kind"] == "step"]


def weights(directory: Path, name: str) -> dict[str, bytes]:
    folder = directory / "checkpoints" / name
    found = {file.name: file.read_bytes() for file in sorted(folder.glob("*.safetensors"))}
    assert found
    return found


def flat(model: Any) -> dict[str, float]:
    """A held-out loss that never gets better."""
    return {"loss": 1.0}


def interrupted(make_trainer: Any, directory: Path, every: int, **settings: Any) -> Any:
    """A run that is stopped after every few steps, and gone on with."""
    for _ in range(100):
        asked = iter(range(1, 10**6))
        try:
            return make_trainer(directory, stop_requested=lambda: next(asked) % every == 0, **settings).run()  # noqa: B023
        except Stopped:
            continue
    raise AssertionError("the run never ended")


@pytest.mark.slow
@some_schedules
def test_a_run_that_was_stopped_ends_as_the_one_left_alone(make_trainer, tmp_path, kind):
    settings: dict[str, Any] = {
        "training": {"steps": STEPS, "schedule.kind": kind, "schedule.warmup_steps": 2, "evaluate_every_steps": 2}
    }
    if kind == "plateau":  # it must be lowered on the way, or there is nothing to forget
        settings |= {"evaluate": flat}
        settings["training"]["patience"] = "null"
    make_trainer(tmp_path / "whole", **settings).run()
    interrupted(make_trainer, tmp_path / "parts", 3, **settings)
    assert rates(tmp_path / "parts") == rates(tmp_path / "whole")
    for name in ("best", "stable", f"step-{STEPS:06d}"):
        assert weights(tmp_path / "parts", name) == weights(tmp_path / "whole", name), name
    if kind == "plateau":
        assert rates(tmp_path / "whole") == pytest.approx(
            [rate / 300 for rate in (1, 2, 3, 3, 3, 3, 1.5, 1.5, 1.5, 1.5, 0.75, 0.75)]
        )


@pytest.mark.slow
@every_schedule
def test_a_longer_run_from_the_stable_checkpoint_is_the_long_run(make_trainer, tmp_path, kind):
    """Up to there no schedule knew how long the run would be, so nothing is lost, not a bit."""
    training = {"schedule.kind": kind, "schedule.warmup_steps": 2, "evaluate_every_steps": 6}
    make_trainer(tmp_path / "short", training=training).run()
    stable = tmp_path / "short" / "checkpoints" / "stable"
    step = load_checkpoint(stable).provenance["step"]
    assert step == (STEPS if kind in WITHOUT_END else 2 if kind in ALL_THE_WAY else 7)
    longer = {**training, "steps": 20, "evaluate_every_steps": 20}
    make_trainer(tmp_path / "on", training=longer, start_from=stable).run()
    make_trainer(tmp_path / "long", training=longer).run()
    assert rates(tmp_path / "on") == rates(tmp_path / "long")[step:]
    assert weights(tmp_path / "on", "step-000020") == weights(tmp_path / "long", "step-000020")


@pytest.mark.slow
def test_a_longer_run_remembers_what_the_plateau_was(make_trainer, tmp_path):
    training = {"schedule.kind": "plateau", "schedule.warmup_steps": 2, "evaluate_every_steps": 2, "patience": "null"}
    make_trainer(tmp_path / "short", training=training, evaluate=flat).run()
    stable = tmp_path / "short" / "checkpoints" / "stable"
    make_trainer(tmp_path / "on", training={**training, "steps": 14}, start_from=stable, evaluate=flat).run()
    assert rates(tmp_path / "on") == pytest.approx([0.01 / 4, 0.01 / 4])


class Time:
    """Stands still but for what the steps take."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def watch(self, event: Any) -> None:
        if isinstance(event, StepDone):
            self.now += 1.0


@pytest.mark.slow
@some_schedules
def test_a_run_that_the_clock_cuts_short_ends_where_its_schedule_should(make_trainer, tmp_path, monkeypatch, kind):
    clock = Time()
    monkeypatch.setattr(timing, "time", clock)
    training = {"steps": 1000, "schedule.kind": kind, "schedule.warmup_steps": 2, "evaluate_every_steps": 1000}
    trained = make_trainer(tmp_path, training=training, seconds=50, watch=clock.watch).run()
    assert trained.stopped_because == "deadline"
    assert 45 <= trained.progress.step <= 50
    lowest = {"linear": 0.05, "cosine": 0.13, "one_cycle": 1e-3, "wsd": 0.1, "inverse_square_root": 0.3}
    last = rates(tmp_path)[-1] / 0.01
    if kind in lowest:
        assert last < lowest[kind]
    else:
        assert last == 1
    if kind in WITHOUT_END:
        assert load_checkpoint(tmp_path / "checkpoints" / "stable").provenance["step"] == trained.progress.step


@pytest.mark.slow
@every_schedule
def test_patience_ends_a_run_that_has_no_decay_to_begin(make_trainer, tmp_path, kind):
    training = {
        "steps": 100,
        "schedule.kind": kind,
        "schedule.warmup_steps": 2,
        "evaluate_every_steps": 4,
        "patience": 3,
    }
    trained = make_trainer(tmp_path, training=training, evaluate=flat).run()
    assert trained.stopped_because == "patience"
    if kind == "wsd":
        assert 16 < trained.progress.step < 100
        assert rates(tmp_path)[-1] < 0.15 * 0.01
    else:
        assert trained.progress.step == 16
