"""A disk that is full, through the command line: a clear word at every place that writes, and nothing lost.

The limit is the kernel's own (RLIMIT_FSIZE): a file that would grow beyond it fails as on a full disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm_process import COMMAND, WarmProcess

from stepwell.runs import read_lines

pytest.importorskip("resource")
pytestmark = pytest.mark.slow

STEPS = 12
TINY = ["tokenizer.vocab_size=300", "model.num_layers=1", "model.d_model=32", "model.num_heads=1",
        "model.num_kv_heads=1", "model.head_dim=32", "model.d_ff=64", "model.max_seq_len=32",
        "training.global_batch_tokens=128", "training.micro_batch=2", "training.evaluate_every_steps=5",
        "training.checkpoint_every_seconds=0", "study.validation_bytes=2000", "study.sample_tokens=5"]  # fmt: skip

LIMITED = """
import resource

def set_limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

def limit_lines(number):
    from stepwell.training import record
    append_line, count = record.append_line, 0

    def limited(path, line):
        nonlocal count
        count += 1
        if count == number:
            set_limit(path.stat().st_size + 50)
        append_line(path, line)

    record.append_line = limited

"""
"""A disk that has room for files of so many bytes, or up to a line of metrics.jsonl."""


@pytest.fixture(scope="module")
def text(small_text, tmp_path_factory) -> Path:
    """A small text."""
    path = tmp_path_factory.mktemp("text") / "novel.txt"
    path.write_text(small_text("mixed", num_bytes=40_000), encoding="utf-8")
    return path


def words_of(text: Path, out: Path) -> list[str]:
    return ["train", "--text", str(text), "--steps", str(STEPS), "--out", str(out), "--json", "--set", *TINY]


def train(text: Path, out: Path, limit: str = "") -> tuple[int, str]:
    """Exit code and standard error of the command, after a program that sets its limit."""
    return WarmProcess(limit + COMMAND, words_of(text, out), out.with_name("said.txt")).wait()


@pytest.fixture(scope="module")
def left_alone(text, tmp_path_factory) -> Path:
    """A run that had room, started as anyone does."""
    out = tmp_path_factory.mktemp("left-alone") / "run"
    command = [sys.executable, "-m", "stepwell", *words_of(text, out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return out


def weights(out: Path) -> list[bytes]:
    best = out / "rounds" / "01" / "checkpoints" / "best"
    return [file.read_bytes() for file in sorted(best.glob("*.safetensors"))]


@pytest.mark.parametrize(
    "limit", ["set_limit(5000)", "set_limit(30000)", "limit_lines(6)"], ids=["preparing", "checkpoint", "metrics"]
)
def test_a_full_disk_is_said_and_the_run_goes_on_where_it_was(text, left_alone, tmp_path, limit):
    out = tmp_path / "run"
    code, said = train(text, out, LIMITED + limit)
    assert code == 1
    assert "Traceback" not in said, said
    assert "free some space" in said
    assert not list(out.rglob(".*stepwell*")), "nothing half-made is left"
    if "lines" in limit:
        assert "metrics.jsonl" in said
        steps = [line["step"] for line in read_lines(out / "rounds" / "01" / "metrics.jsonl")]
        assert len(steps) == 5, "every line that was written whole is still there"
    code, said = train(text, out)
    assert code == 0, said
    assert weights(out) == weights(left_alone)
    told = [line["step"] for line in read_lines(out / "rounds" / "01" / "metrics.jsonl") if line["kind"] == "step"]
    assert told == list(range(1, STEPS + 1))
