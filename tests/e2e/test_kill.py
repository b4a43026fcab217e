"""The command itself, stopped in every way a process can be, ends with the weights of one that was left alone.

Moments are chosen by what a process has done so far, not by the clock: a file that is there, a step that is told.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from warm_process import COMMAND, WarmProcess

from stepwell.runs import read_lines

pytestmark = pytest.mark.slow

STEPS = 40
SETTINGS = {
    "model.num_layers": 1,
    "model.d_model": 32,
    "model.num_heads": 1,
    "model.num_kv_heads": 1,
    "model.head_dim": 32,
    "model.d_ff": 64,
    "model.max_seq_len": 32,
    "model.dropout": 0.1,
    "training.global_batch_tokens": 256,
    "training.micro_batch": 3,
    "training.precision": "float32",
    "training.evaluate_every_steps": 7,
    "training.checkpoint_every_seconds": 0.05,
    "study.sample_tokens": 5,
}
Moment = Callable[[], bool]


@pytest.fixture(scope="module")
def text(small_text, tmp_path_factory) -> Path:
    """A small text in two languages."""
    path = tmp_path_factory.mktemp("text") / "novel.txt"
    path.write_text(small_text("mixed", num_bytes=40_000), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def left_alone(text, tmp_path_factory) -> Path:
    """The directory of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("left-alone") / "run"
    finish(text, out)
    return out


LOOP = {
    **SETTINGS,
    "tokenizer.vocab_size": 300,
    "training.steps": STEPS,
    "study.max_rounds": 1,  # how long a second one is depends on the clock
    "study.baselines": "[]",
    "study.resamples": 100,
    "study.validation_bytes": 2000,
}
"""A closed loop that depends on no clock."""


def words_of(text: Path, out: Path, verb: str = "train") -> list[str]:
    steps, settings = (["--steps", str(STEPS)], SETTINGS) if verb == "train" else ([], LOOP)
    words = [verb, "--text", str(text), *steps, "--out", str(out), "--json"]
    return [*words, "--set", *(f"{path}={value}" for path, value in settings.items())]


def finish(text: Path, out: Path, verb: str = "train") -> dict[str, object]:
    command = [sys.executable, "-m", "stepwell", *words_of(text, out, verb)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def strike(
    text: Path, out: Path, moment: Moment, number: signal.Signals, delay: float = 0.0, verb: str = "train"
) -> tuple[int, str]:
    """Start a process, send it a signal at a moment, and wait for its end.

    Returns:
        Its exit code and what it said on standard error.
    """
    process = WarmProcess(COMMAND, words_of(text, out, verb), out.with_name("said.txt"))
    while process.poll() is None and not moment():
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(number)
    return process.wait()


def there(out: Path, pattern: str) -> Moment:
    return lambda: any(out.glob(pattern))


def told(out: Path, step: int, number: int = 1) -> Moment:
    """When a step of a round is in metrics.jsonl."""
    metrics = out / "rounds" / f"{number:02d}" / "metrics.jsonl"
    return lambda: any(record.get("step", 0) >= step for record in read_lines(metrics))


def weights(out: Path) -> dict[str, bytes]:
    checkpoints = out / "rounds" / "01" / "checkpoints"
    names = ("best", "stable", f"step-{STEPS:06d}")
    return {f"{name}/{file.name}": file.read_bytes() for name in names for file in (checkpoints / name).glob("*.safe*")}


def losses(out: Path) -> list[tuple[int, float]]:
    return [(r["step"], r["loss"]) for r in read_lines(out / "rounds" / "01" / "metrics.jsonl") if "loss" in r]


def assert_same(out: Path, other: Path) -> None:
    assert {name.partition("/")[0] for name in weights(out)} == {"best", "stable", f"step-{STEPS:06d}"}
    assert weights(out) == weights(other)
    assert losses(out) == losses(other)


def moments(out: Path) -> Iterator[Moment]:
    """Ten: before anything, in the preparation, and at steps chosen at random."""
    yield from (there(out, pattern) for pattern in ("lock", "run.json", "data/.*", "tokenizers/*"))
    rng = random.Random(0)
    yield from (told(out, step) for step in sorted(rng.sample(range(1, STEPS - 2), 6)))


def test_killed_ten_times_and_started_again(text, left_alone, tmp_path):
    out, rng = tmp_path / "run", random.Random(1)
    codes = [strike(text, out, moment, signal.SIGKILL, rng.uniform(0, 0.03))[0] for moment in moments(out)]
    assert codes == [-signal.SIGKILL] * 10
    finish(text, out)
    assert_same(out, left_alone)
    assert not list(out.rglob(".*stepwell*")), "nothing half-made is left"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stopped_by_a_signal_and_started_again(text, left_alone, tmp_path, number):
    out = tmp_path / "run"
    for moment in (there(out, "tokenizers"), told(out, 9)):
        code, errors = strike(text, out, moment, number)
        assert code == 130, errors
        assert "Traceback" not in errors
    assert "run the same command again to go on" in errors
    steps = [int(path.name[5:]) for path in (out / "rounds" / "01" / "checkpoints").glob("step-*")]
    assert max(steps) >= 9, "what was done is saved"
    finish(text, out)
    assert_same(out, left_alone)


def timeless(value: object) -> object:
    """What a run found, but for how long it took and where it lies."""
    if isinstance(value, dict):
        passing = ("seconds", "per_second", "mfu_ratio", "memory_bytes", "started", "out", "environment", "machine")
        return {name: timeless(each) for name, each in value.items() if not name.endswith(passing)}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def test_a_whole_loop_killed_and_started_again(text, tmp_path):
    """While preparing, training and judging, and before the summing up: it ends as one left alone."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    expected = finish(text, whole, "run")
    moments = [
        there(out, "tokenizers/*"),
        told(out, 9),
        told(out, 25),
        there(out, "rounds/01/scores.npz"),
        there(out, "journal.jsonl"),
    ]
    codes = [strike(text, out, moment, signal.SIGKILL, verb="run")[0] for moment in moments]
    assert codes == [-signal.SIGKILL] * 5
    found = finish(text, out, "run")
    assert timeless(found) == timeless(expected)
    journals = [read_lines(place / "journal.jsonl") for place in (out, whole)]
    assert len(journals[0]) == len(journals[1]) == 1
    one, other = timeless(journals[0][0]), timeless(journals[1][0])
    assert {name: (one[name], other[name]) for name in one if one[name] != other[name]} == {}
    for file in sorted((whole / "best").glob("*.safetensors")):
        assert (out / "best" / file.name).read_bytes() == file.read_bytes()
    assert not list(out.rglob(".*stepwell*")), "nothing half-made is left"
