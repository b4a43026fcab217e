"""Profiling tells where the time goes and changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stepwell.checkpoints import load_checkpoint
from stepwell.progress import Fact, Profiled
from stepwell.training import Profiler
from stepwell.training.profiling import PASSED_OVER_STEPS, PROFILED_STEPS

pytestmark = pytest.mark.slow  # torch takes seconds to sum up a profile

LONG = {"steps": PASSED_OVER_STEPS + PROFILED_STEPS + 3, "evaluate_every_steps": 100}


@pytest.fixture(scope="module")
def profiled(tmp_path_factory, make_trainer) -> tuple[Path, list[Any]]:
    """A directory with a run that was profiled, one that was not, and what the profiler said."""
    root, said = tmp_path_factory.mktemp("profiled"), []
    make_trainer(root / "with", training=LONG, profiler=Profiler(root / "profile", said.append)).run()
    make_trainer(root / "without", training=LONG).run()
    return root, said


def test_the_weights_are_the_same_with_and_without(profiled):
    root, _ = profiled
    models = [load_checkpoint(root / name / "checkpoints" / "best").model for name in ("with", "without")]
    for name, parameter in models[0].named_parameters():
        assert torch.equal(parameter, models[1].get_parameter(name)), name


def test_table_and_trace_hold_ten_steps(profiled):
    root, said = profiled
    (told,) = said
    assert isinstance(told, Profiled)
    assert told.folder == root / "profile"
    assert told.steps == PROFILED_STEPS
    table = (told.folder / "table.txt").read_text(encoding="utf-8")
    assert "aten::mm" in table or "aten::addmm" in table
    events = json.loads((told.folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    steps = {event["name"] for event in events if str(event.get("name")).startswith("ProfilerStep")}
    assert len(steps) == PROFILED_STEPS


def test_the_rows_are_the_costliest_by_their_own_time(profiled):
    _, (told,) = profiled
    shares = [row.share_ratio for row in told.rows]
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    assert 0.3 < sum(shares) <= 1
    assert all(row.seconds > 0 and row.calls > 0 for row in told.rows)
    assert not any(row.name.startswith("ProfilerStep") for row in told.rows)


def test_a_run_that_ends_early_writes_what_there_is(make_trainer, tmp_path):
    said: list[Any] = []
    profiler = Profiler(tmp_path / "profile", said.append)
    make_trainer(tmp_path / "run", training={"steps": PASSED_OVER_STEPS + 4}, profiler=profiler).run()
    profiler.close()
    (told,) = said
    assert told.steps == 4
    assert (told.folder / "trace.json").exists()


def test_a_run_that_is_too_short_says_so_once(make_trainer, tmp_path):
    said: list[Any] = []
    profiler = Profiler(tmp_path / "profile", said.append)
    make_trainer(tmp_path / "run", training={"steps": PASSED_OVER_STEPS}, profiler=profiler).run()
    profiler.close()
    profiler.close()
    (told,) = said
    assert isinstance(told, Fact)
    assert told.warning
    assert "5 steps" in told.text
    assert not (tmp_path / "profile").exists()


def test_a_folder_that_cannot_be_written_does_not_end_the_run(make_trainer, tmp_path):
    (tmp_path / "profile").write_text("a file in the way", encoding="utf-8")
    said: list[Any] = []
    trained = make_trainer(tmp_path / "run", training=LONG, profiler=Profiler(tmp_path / "profile", said.append)).run()
    assert trained.progress.step == LONG["steps"]
    (told,) = said
    assert told.warning
    assert "could not be written" in told.text
