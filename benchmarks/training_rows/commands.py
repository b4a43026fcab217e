"""Rows that time whole commands, start-up included: nanoGPT's two recipes, and the first step of `stepwell train`."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from training_rows.measuring import SHAKESPEARE, Line, Numbers, Setting, at_most, medians, ratios, take_turns

CPU_RECIPE = shlex.split(
    "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 "
    "--batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)
"""As nanoGPT's README says for a CPU."""

CPU_NATS, GPU_NATS = 1.88, 1.4697
"""A character: what the two recipes are measured by."""

BITS = 1 / 0.6931471805599453
"""Of a nat. The text is ASCII, so a character is a byte."""

LIKE_FOR_LIKE = ("data.test_ratio=0", "data.deduplicate=false", "data.normalization=none")
TO_CPU_QUALITY = ("--steps", "150", "--set", "training.evaluate_every_steps=25")
TO_GPU_QUALITY = ("--budget", "10m")
"""What `stepwell train` is told beside the text."""


def nanogpt(setting: Setting) -> list[Line]:
    """Wall time to 1.88 nats a character, against nanoGPT as its README says."""
    if setting.nanogpt is None:
        print("nanogpt: left out, for there is no --nanogpt DIR (a work tree of github.com/karpathy/nanoGPT)")
        return []
    train, validation = split_shakespeare(setting)
    found = take_turns(
        {
            "nanogpt": lambda: run_nanogpt(setting),
            "stepwell": lambda: run_stepwell(setting, train, validation, CPU_NATS * BITS, TO_CPU_QUALITY, limit=600),
        },
        setting.rounds,
        "nanogpt",
    )
    ours, theirs = found["stepwell"], found["nanogpt"]
    details = {
        "seconds": medians(found, "seconds"),
        "nanogpt_validation_nats": [one["nats"] for one in theirs],
        "nanogpt_reached": [one["reached"] for one in theirs],
        "stepwell_bits_per_byte": [one["bits_per_byte"] for one in ours],
        "stepwell_reached": [one["reached"] for one in ours],
        "validation_bytes": [one["validation_bytes"] for one in ours],
    }
    line = at_most("time to 1.88 nats a character, of nanoGPT's", ratios(ours, theirs, "seconds"), 0.2, **details)
    return [line if all(details["stepwell_reached"]) else unmet(line)]


def nanogpt_gpu(setting: Setting) -> list[Line]:
    """Wall time to what nanoGPT's recipe for a GPU ends at."""
    train, validation = split_shakespeare(setting)
    told = ("--budget", "45s") if setting.quick else TO_GPU_QUALITY
    runs = [
        run_stepwell(setting, train, validation, GPU_NATS * BITS, told, limit=1500)
        for _ in range(1 if setting.quick else min(setting.rounds, 2))  # twenty minutes each
    ]
    details = {"bits_per_byte": [one["bits_per_byte"] for one in runs], "reached": [one["reached"] for one in runs]}
    line = at_most("time to 1.4697 nats a character", [one["seconds"] / 60 for one in runs], 20, "minutes", **details)
    return [line if all(details["reached"]) else unmet(line)]


def unmet(line: Line) -> Line:
    """A line whose aim was not reached at all."""
    return Line(f"{line.measure} (not reached)", line.values, line.unit, line.reach, False, line.details)


def split_shakespeare(setting: Setting) -> tuple[Path, Path]:
    """Tiny Shakespeare as nanoGPT splits it: the last tenth of the characters is validation."""
    text = SHAKESPEARE.read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    paths = setting.work / "shakespeare-train.txt", setting.work / "shakespeare-validation.txt"
    for path, part in zip(paths, (text[:cut], text[cut:]), strict=True):
        path.write_text(part, encoding="utf-8")
    return paths


def run_nanogpt(setting: Setting) -> Numbers:
    """Its command, until it says a validation loss of 1.88 or ends; the time is that of the line that says so."""
    assert setting.nanogpt is not None
    folder = setting.nanogpt / "data" / "shakespeare_char"
    if not (folder / "val.bin").exists():
        shutil.copy(SHAKESPEARE, folder / "input.txt")
        subprocess.run([sys.executable, "prepare.py"], cwd=folder, check=True, capture_output=True)
    command = [sys.executable, "-u", "train.py", *CPU_RECIPE, f"--out_dir={setting.work / 'nanogpt-out'}"]
    command += ["--max_iters=4", "--eval_interval=4", "--eval_iters=2"] if setting.quick else []
    began = time.monotonic()
    seconds, nats, said = 0.0, float("inf"), ""
    with subprocess.Popen(
        command, cwd=setting.nanogpt, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            said = said[-3000:] + line
            if told := re.match(r"step \d+: train loss [\d.]+, val loss ([\d.]+)", line):
                seconds, nats = time.monotonic() - began, float(told[1])
                if nats <= CPU_NATS:
                    running.terminate()
                    break
    if nats == float("inf"):
        raise SystemExit(f"nanoGPT said no validation loss:\n{said}")
    return {"seconds": seconds, "nats": nats, "reached": nats <= CPU_NATS}


def run_stepwell(
    setting: Setting, train: Path, validation: Path, bits_per_byte: float, told: tuple[str, ...], limit: float
) -> Numbers:
    """`stepwell train` in a fresh directory until its measurement on the whole validation text is low enough.

    The run is stopped there, and its best checkpoint is judged once more by `stepwell evaluate`, out of time.

    Args:
        setting: of the benchmark.
        train: the text to learn from.
        validation: the text to be judged by.
        bits_per_byte: what is to be reached.
        told: further words of the command.
        limit: seconds after which it is given up.
    """
    out = setting.work / f"run-{time.monotonic_ns()}"
    size = validation.stat().st_size  # each measurement reads all of it
    whole = (f"study.watch_bytes={size}", f"study.validation_bytes={size}", f"data.validation={validation}")
    command = [sys.executable, "-m", "stepwell", "train", "--text", str(train), "--out", str(out), *told]
    command += ["--set", *whole, *LIKE_FOR_LIKE, "study.sample_tokens=5"]
    began = time.monotonic()
    lowest, seconds, reached = float("inf"), 0.0, False
    with (setting.work / "stepwell.log").open("w", encoding="utf-8") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, cwd=setting.work)
        while running.poll() is None and not reached and time.monotonic() - began < limit:
            time.sleep(0.05)
            for line in lines_of(out / "rounds" / "01" / "metrics.jsonl", "evaluation"):
                if line["bits_per_byte"] < lowest:
                    lowest, seconds = line["bits_per_byte"], time.monotonic() - began
            reached = lowest <= bits_per_byte
        running.send_signal(signal.SIGINT)
        running.wait()
    if lowest == float("inf"):
        raise SystemExit(f"stepwell measured nothing:\n{(setting.work / 'stepwell.log').read_text()[-3000:]}")
    judged = subprocess.run(
        [sys.executable, "-m", "stepwell", "evaluate", str(out), "--data", str(validation), "--json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))
    return {
        "seconds": seconds,
        "bits_per_byte": lowest,
        "reached": reached,
        "judged_again": json.loads(judged.stdout)["metrics"]["bits_per_byte"]["value"],
        "validation_bytes": facts["data"]["splits"]["validation"]["bytes"],
    }


def lines_of(path: Path, kind: str) -> list[Numbers]:
    """The whole lines of a kind in a metrics file that is being written; none while it is not there."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record for record in records if record["kind"] == kind]


def start(setting: Setting) -> list[Line]:
    """From the command to its first step: in a fresh directory, and where text and tokenizer are prepared already."""
    found = take_turns(
        {"fresh": lambda: first_step(setting, prepared=False), "prepared": lambda: first_step(setting, prepared=True)},
        setting.rounds,
        "start",
    )
    name = "start of `stepwell train` to the first step"
    return [
        at_most(f"{name}, {which}", [one["seconds"] for one in runs], 5, "s", text="tinyshakespeare")
        for which, runs in found.items()
    ]


def first_step(setting: Setting, prepared: bool) -> Numbers:
    """Seconds from the beginning of the process to the first line of a step in metrics.jsonl."""
    out = setting.work / f"start-{time.monotonic_ns()}"
    words = ["--text", str(SHAKESPEARE), "--out", str(out)]
    path = setting.work / "stepwell.log"
    with path.open("w", encoding="utf-8") as log:
        if prepared:
            plan = [sys.executable, "-m", "stepwell", "plan", *words, "--budget", "1m"]
            subprocess.run(plan, check=True, stdout=log, stderr=log)
        began = time.monotonic()
        command = [sys.executable, "-m", "stepwell", "train", *words, "--steps", "200"]
        running = subprocess.Popen(command, stdout=log, stderr=log)
        while not lines_of(out / "rounds" / "01" / "metrics.jsonl", "step"):
            if running.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended before its first step:\n{path.read_text()[-3000:]}")
            time.sleep(0.02)
        seconds = time.monotonic() - began
        running.send_signal(signal.SIGINT)
        running.wait()
    return {"seconds": seconds}
