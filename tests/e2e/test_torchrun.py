"""The real command under torchrun: two ranks train what one process trains, and a rank that is killed stops nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stepwell.runs import read_lines

pytestmark = pytest.mark.slow

SMALL = ["tokenizer.vocab_size=300", "model.num_layers=1", "model.d_model=32", "model.num_heads=2",
         "model.num_kv_heads=1", "model.head_dim=16", "model.d_ff=48", "model.max_seq_len=32",
         "training.global_batch_tokens=160", "training.micro_batch=3", "training.precision=float32",
         "training.evaluate_every_steps=10", "study.sample_tokens=5", "study.resamples=100"]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory, small_text) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(small_text("en", 30_000), encoding="utf-8")
    return path


def command(verb: str, text: Path, out: Path, *others: str, ranks: int = 2) -> list[str]:
    words = ["-m", "stepwell", verb, "--text", str(text), "--out", str(out), "--json", *others]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [sys.executable, *(torchrun if ranks > 1 else []), *words]


def result_of(words: list[str]) -> tuple[dict[str, object], str]:
    """The one JSON object on standard output, and standard error."""
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), ended.stderr


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_lines(out / "rounds" / "01" / "metrics.jsonl") if line["kind"] == "step"]


@pytest.fixture(scope="module")
def alone(text, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    result_of(command("train", text, out, "--steps", "20", "--set", *SMALL, ranks=1))
    return out


@pytest.mark.proof
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_train_has_the_losses_of_one_process_and_speaks_once(text, alone, tmp_path, way):
    result, said = result_of(
        command("train", text, tmp_path / "run", "--steps", "20", "--set", *SMALL, f"training.parallel={way}")
    )
    assert result["steps"] == 20
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-4)
    assert said.count("starting in") == 1


def test_run_plays_its_rounds_on_all_ranks(text, tmp_path):
    few = ["training.steps=10", "study.max_rounds=1"]
    result, said = result_of(command("run", text, tmp_path / "run", "--budget", "60s", "--set", *SMALL, *few))
    assert result["stopped_because"] == "max_rounds", result
    assert said.count("starting in") == 1
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()
    assert (tmp_path / "run" / "report.html").exists()


def test_a_fault_is_told_once(text, tmp_path):
    words = command("train", text, tmp_path / "run", "--steps", "9", "--set", *SMALL, "training.parallel=fsdp",
                    "training.optimizer.kind=sgd")  # fmt: skip
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode != 0
    assert ended.stderr.count("training.optimizer.kind: cannot update shards") == 1, ended.stderr


@pytest.mark.proof
def test_a_killed_rank_is_named_and_the_next_start_goes_on(text, tmp_path):
    out, steps = tmp_path / "run", ["--steps", "400", "--set", *SMALL, "training.checkpoint_every_seconds=0.2"]
    started = subprocess.Popen(command("train", text, out, *steps), stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 200
    while not any((out / "rounds" / "01" / "checkpoints").glob("step-0000[1-9]*")) and time.monotonic() < end:
        time.sleep(0.05)
    ranks = {child.environ().get("RANK"): child for child in psutil.Process(started.pid).children(recursive=True)}
    os.kill(ranks["1"].pid, signal.SIGKILL)
    _, said = started.communicate(timeout=120)
    assert started.returncode != 0
    assert "rank 1 of 2: is gone" in said
    assert said.count("stepwell: ") == 1, "one rank says so"
    before = len(losses(out))
    result, _ = result_of(command("train", text, out, *steps, ranks=1))  # on another number of ranks, too
    assert result["steps"] == 400
    events = [line for line in read_lines(out / "rounds" / "01" / "metrics.jsonl") if line.get("event") == "resumed"]
    assert events
    assert 0 < events[-1]["step"] <= before
    assert len(losses(out)) == 400
