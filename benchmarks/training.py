"""How fast, how good and how large training is beside other programs.

    .venv/bin/python benchmarks/training.py --nanogpt DIR            # every row, three rounds each
    .venv/bin/python benchmarks/training.py --rows trainer,flops     # some of them
    .venv/bin/python benchmarks/training.py --quick                  # does the script work? nothing for the ledger

Every number is a ratio measured side by side in one run (A B A B), in processes of their own; the table shows the
median and the range of the rounds. Each line of it is a line of benchmarks/ledger.jsonl, with commit and machine. Real
text is looked for in ../shared/data (STEPWELL_DATA overrides); `make weights` fetches SmolLM2; DIR is a work tree of
github.com/karpathy/nanoGPT. A row that lacks what it needs is left out by name.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from training_rows.commands import nanogpt, nanogpt_gpu, start
from training_rows.measuring import BENCHMARKS, PROJECT, SHAKESPEARE, WIKITEXT, Line, Setting
from training_rows.speed import flops, lora, memory, trainer

ROWS: dict[str, tuple[Callable[[Setting], list[Line]], tuple[Path, ...]]] = {
    "trainer": (trainer, (WIKITEXT,)),
    "flops": (flops, (WIKITEXT,)),
    "nanogpt": (nanogpt, (SHAKESPEARE,)),
    "nanogpt-gpu": (nanogpt_gpu, (SHAKESPEARE,)),
    "lora": (lora, (WIKITEXT,)),
    "memory": (memory, (WIKITEXT,)),
    "start": (start, (SHAKESPEARE,)),
}
"""Name -> the function that measures it, and the text it needs."""


def table_of(lines: list[Line]) -> str:
    """The lines as a table of Markdown."""
    head = ["| measure | reach | measured: median (range) | reached |", "|---|---|---|---|"]
    return "\n".join(head + [f"| {' | '.join(line.cells())} |" for line in lines])


def circumstances() -> dict[str, object]:
    """When, of which commit, and on which machine."""
    doctor = "import json; from stepwell.hardware import examine; print(json.dumps(examine().as_dict()))"
    machine = json.loads(
        subprocess.run([sys.executable, "-c", doctor], capture_output=True, text=True, check=True).stdout
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": {key: machine[key] for key in ("cpu", "cores", "gflops", "precision")},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)}")
    arguments.add_argument("--nanogpt", type=Path, help="a work tree of nanoGPT")
    arguments.add_argument("--rounds", type=int, default=3, help="how often the sides take turns")
    arguments.add_argument("--seconds", type=float, default=15.0, help="of timed training, each time")
    arguments.add_argument("--quick", action="store_true", help="one round of few steps, nothing for the ledger")
    asked = arguments.parse_args()
    chosen = asked.rows.split(",")
    if unknown := [name for name in chosen if name not in ROWS]:
        arguments.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(
            Path(folder),
            rounds=1 if asked.quick else asked.rounds,
            seconds=1.0 if asked.quick else asked.seconds,
            quick=asked.quick,
            nanogpt=asked.nanogpt.resolve() if asked.nanogpt else None,
        )
        for name in chosen:
            measure, texts = ROWS[name]
            if absent := [str(path) for path in texts if not path.exists()]:
                print(f"{name}: left out, for there is no {', '.join(absent)}")
                continue
            found = measure(setting)
            lines += found
            print(table_of(found), flush=True)
            if not asked.quick:
                note(name, found)
    print(f"\n{table_of(lines)}")


def note(row: str, lines: list[Line]) -> None:
    """Append a row to the ledger."""
    around = circumstances()
    with (BENCHMARKS / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
        for line in lines:
            record = {"benchmark": "training", "row": row, **line.record(), **around}
            ledger.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
