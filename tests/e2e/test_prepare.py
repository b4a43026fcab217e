"""`stepwell prepare`: text made ready as `run` does it, told about, and found by `plan`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stepwell import api
from stepwell.cli.prepared import prepared
from stepwell.data import pipeline
from stepwell.errors import DataError, UsageError


@pytest.fixture
def rows(tmp_path: Path, small_text) -> Path:
    path = tmp_path / "rows.jsonl"
    texts = [*small_text("mixed", 60_000).split("\n\n"), "\x07", "bell\x07"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.mark.slow
def test_prepared_text_is_found_by_a_plan(tmp_path: Path, rows: Path, monkeypatch, capsys) -> None:
    out, words = tmp_path / "run", ["data.steps=[clean]", "tokenizer.vocab_size=300"]
    result = api.prepare(text=rows, out=out, set=words, engine="serial")
    steps = {step["kind"]: step for step in result["steps"]}
    assert list(steps) == ["read", "clean", "cut", "same_pieces"]
    assert steps["clean"]["changed"] == {"control_characters": 2}
    assert steps["clean"]["dropped"] == {"empty": 1}
    assert steps["clean"]["documents_in"] == steps["read"]["documents_out"] == steps["clean"]["documents_out"] + 1
    assert steps["clean"]["bytes_per_second"] > 0
    assert result["data"]["documents"] == steps["same_pieces"]["documents_out"]
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "kind: clean" in page
    prepared(result, dropped=True, json=False)
    shown = capsys.readouterr().out
    assert "dropped 1: empty" in shown
    assert "clean: empty, 1 dropped" in shown
    assert "\x07" not in shown
    prepared(result, dropped=False, json=True)
    assert json.loads(capsys.readouterr().out)["data"] == result["data"]

    monkeypatch.setattr(pipeline.Pipeline, "read", lambda *args: pytest.fail("read again"))
    again = api.prepare(text=rows, out=out, set=words)
    assert again["text"] == result["text"]
    assert again["steps"] == result["steps"]
    sizes = {"num_layers": 1, "d_model": 32, "num_heads": 2, "num_kv_heads": 2, "head_dim": 16, "d_ff": 64}
    model = [f"model.{name}={value}" for name, value in sizes.items()]
    planned = api.plan(text=rows, out=out, set=[*words, *model, "training.steps=20"])
    assert planned["data"]["documents"] == result["data"]["documents"]


PROGRAM = """
import sys
from stepwell.data import DataConfig, pipeline, prepare_text
from stepwell.config import build

pipeline.READ_TOGETHER_BYTES = 20_000
if __name__ == "__main__":
    sources, out, engine = sys.argv[1:]
    config = build(DataConfig, {"sources": sources, "steps": ["clean", "near_duplicates"]}, where="test")
    print(prepare_text(config, out, engine=engine, workers=2).key)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes"])
def test_a_killed_preparation_goes_on_with_the_shards_that_are_not_done(tmp_path: Path, small_text, engine) -> None:
    for number in range(24):
        folder = tmp_path / "text"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:02d}.txt").write_text(small_text("mixed", 25_000, seed=number), encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    out = tmp_path / "out"
    words = [sys.executable, str(program), str(folder)]
    running = subprocess.Popen([*words, str(out), engine], start_new_session=True)
    finished: dict[Path, int] = {}
    while len(finished) < 30 and running.poll() is None:  # all that is read, and some shards of the first pass
        finished = {path: path.stat().st_mtime_ns for path in out.glob(".text-*/*/*.json") if path.name[0] != "."}
    assert running.poll() is None
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not list(out.glob("text-*"))
    late = dict(finished)
    going_on = subprocess.Popen([*words, str(out), engine], stdout=subprocess.PIPE, text=True)
    while going_on.poll() is None:
        time.sleep(0.02)
        for path in [path for path in finished if path.exists()]:
            with contextlib.suppress(FileNotFoundError):
                late[path] = path.stat().st_mtime_ns
    assert late == finished  # nothing that was done is written again
    done = subprocess.run([*words, str(tmp_path / "whole"), "serial"], capture_output=True, text=True, check=True)
    key = done.stdout.strip()
    assert going_on.communicate()[0].strip() == key
    whole = tmp_path / "whole" / f"text-{key}"
    assert whole.is_dir()
    for file in whole.iterdir():
        assert file.read_bytes() == (out / whole.name / file.name).read_bytes()
    assert not list(out.glob(".text-*"))


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_preparation_that_is_stopped_says_how_to_go_on(tmp_path: Path, small_text, sign: signal.Signals) -> None:
    for number in range(24):
        (tmp_path / f"{number:02d}.txt").write_text(small_text("mixed", 25_000, seed=number), encoding="utf-8")
    steps = ["--set", "data.steps=[clean, near_duplicates]", "--engine", "processes", "--workers", "2"]
    words = ["-m", "stepwell", "prepare", "--text", f"{tmp_path}/*.txt", "--out", str(tmp_path / "run"), *steps]
    running = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list((tmp_path / "run").glob("data/.text-*/*/*.json")) and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, sign)
    said = running.communicate()[1]
    assert running.returncode == 130, said
    assert "stopped by hand" in said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said


def test_wrong_words(tmp_path: Path, rows: Path) -> None:
    with pytest.raises(UsageError, match="engine: unknown"):
        api.prepare(text=rows, out=tmp_path / "run", engine="spark")
    with pytest.raises(UsageError, match="workers: must be at least 1"):
        api.prepare(text=rows, out=tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()


def test_when_nothing_is_left_the_step_that_took_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "\\u0007"}\n' * 30, encoding="utf-8")
    with pytest.raises(DataError, match=r"clean left 0 of 30 documents \(empty 30\)"):
        api.prepare(text=path, out=tmp_path / "run", set=["data.steps=[clean]"])
    assert not (tmp_path / "run").exists()
