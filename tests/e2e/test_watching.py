"""Trackers and the profiler through the real command: they show more and change nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.runs import read_lines
from stepwell.tracking import catalog

Command = Callable[..., Any]

SMALL = ["tokenizer.vocab_size=400", "model.num_layers=1", "model.d_model=32", "model.num_heads=2",
         "model.num_kv_heads=1", "model.head_dim=16", "model.d_ff=64", "model.max_seq_len=64",
         "study.sample_tokens=20"]  # fmt: skip


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "best" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory, small_text: Callable[..., str]) -> Path:
    path = tmp_path_factory.mktemp("text") / "novel.txt"
    path.write_text(small_text("mixed", 60_000), encoding="utf-8")
    return path


@pytest.mark.slow
def test_train_with_everything_that_watches_is_the_same_training(stepwell: Command, novel: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    told = ["--track", "tensorboard", "--profile", "--json"]
    ran = stepwell("train", "--text", novel, "--steps", 20, "--out", tmp_path / "seen", "--set", *SMALL, *told)
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert result["tokens_per_second"] > 0
    assert result["mfu_ratio"] > 0
    assert result["peak_memory_bytes"] > 50_000_000
    assert "tensorboard --logdir" in ran.err
    assert "profile of 10 steps" in ran.err
    assert "SyncActivityProfilerHandler" not in ran.err, "torch's own log stays out"
    assert (tmp_path / "seen" / "profile" / "table.txt").stat().st_size > 1000
    assert json.loads((tmp_path / "seen" / "profile" / "trace.json").read_text(encoding="utf-8"))["traceEvents"]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown: Any = EventAccumulator(str(tmp_path / "seen" / "tensorboard" / "round-01"), {"scalars": 0})
    shown.Reload()
    lines = [line for line in read_lines(tmp_path / "seen" / "rounds" / "01" / "metrics.jsonl") if "loss" in line]
    for kind, tag in (("step", "train/loss"), ("evaluation", "held_out/loss")):
        written = {line["step"]: line["loss"] for line in lines if line["kind"] == kind}
        assert {each.step: each.value for each in shown.Scalars(tag)} == pytest.approx(written, rel=1e-6)

    ran = stepwell("train", "--text", novel, "--steps", 20, "--out", tmp_path / "unseen", "--set", *SMALL)
    assert ran.code == 0, ran.err
    checkpoints = [tmp_path / name / "rounds" / "01" / "checkpoints" for name in ("seen", "unseen")]
    assert weights(checkpoints[0]) == weights(checkpoints[1])
    words = " ".join(ran.out.split())
    assert "of the machine's rate" in words
    assert not (tmp_path / "unseen" / "tensorboard").exists()


@pytest.mark.parametrize("verb", ["train", "run"])
def test_a_tracker_that_is_not_installed_is_said_before_anything_is_done(
    verb: str, stepwell: Command, novel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    ran = stepwell(verb, "--text", novel, "--out", tmp_path / "run", "--track", "wandb")
    assert ran.code == 2
    assert "pip install 'stepwell[wandb]'" in ran.err
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_nobody_knows(stepwell: Command, novel: Path, tmp_path: Path):
    ran = stepwell("train", "--text", novel, "--out", tmp_path / "run", "--track", "abacus")
    assert ran.code == 2
    assert "'abacus'" in ran.err
    assert "tensorboard" in ran.err


@pytest.mark.slow
def test_trackers_do_not_say_which_run_it_is(stepwell: Command, novel: Path, tmp_path: Path):
    """A run that is over is taken up with a tracker more: there is nothing to track, and nothing is refused."""
    pytest.importorskip("tensorboard")
    words = ["train", "--text", novel, "--steps", 20, "--out", tmp_path / "run", "--set", *SMALL]
    first = stepwell(*words)
    assert first.code == 0, first.err
    again = stepwell(*words, "--track", "tensorboard")
    assert again.code == 0, again.err
