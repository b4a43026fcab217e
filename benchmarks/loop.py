"""The closed loop on real text: what each budget reaches, beside its own first round and a Kneser-Ney 5-gram.

    .venv/bin/python benchmarks/loop.py                 # python-docs in five minutes, two novels in ten each
    .venv/bin/python benchmarks/loop.py python-docs     # one of them

Each result is one line of benchmarks/ledger.jsonl, with the commit and the machine. Real text is looked for in
../shared/data (STEPWELL_DATA overrides); what is not there is left out by name.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("STEPWELL_DATA", PROJECT.parent / "shared" / "data"))
CASES = {
    "python-docs": ("sample:python-docs", "290s"),
    "tinyshakespeare": (str(DATA / "lm" / "tinyshakespeare.txt"), "10m"),
    "hongloumeng": (str(DATA / "lm" / "hongloumeng.zh.txt.gz"), "10m"),
}


def run_case(name: str, out: Path) -> dict[str, object]:
    source, budget = CASES[name]
    command = [
        sys.executable,
        "-m",
        "stepwell",
        "run",
        "--text",
        source,
        "--budget",
        budget,
        "--out",
        str(out),
        "--json",
    ]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    wall = time.monotonic() - began
    result = json.loads(done.stdout)
    journal = [json.loads(line) for line in (out / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    machine = json.loads((out / "facts.json").read_text(encoding="utf-8"))["machine"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True).stdout
    bits = result["validation"]["bits_per_byte"]
    return {
        "benchmark": "loop",
        "case": name,
        "budget": budget,
        "wall_seconds": round(wall, 1),
        "first_round": round(journal[0]["value"], 4),
        "validation": {key: round(value, 4) for key, value in bits.items()},
        "test": round(result["test"]["bits_per_byte"]["value"], 4) if result["test"] else None,
        "kneser_ney_5": round(result["baselines"][0]["bits_per_byte"], 4),
        "rounds": [
            {key: line[key] for key in ("round", "diagnosis", "change", "value", "accepted", "seconds", "steps")}
            for line in journal
        ],
        "stopped_because": result["stopped_because"],
        "parameters": result["best"]["parameters"],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.strip(),
        "machine": {key: machine[key] for key in ("cpu", "cores", "gflops", "precision")},
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or CASES:
            source = CASES[name][0]
            if not source.startswith("sample:") and not Path(source).exists():
                print(f"{name}: no {source}, left out")
                continue
            record = run_case(name, Path(folder) / name)
            with (PROJECT / "benchmarks" / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
                ledger.write(json.dumps(record, ensure_ascii=False) + "\n")
            value = record["validation"]
            print(
                f"{name}: first round {record['first_round']}, at the end {value}, "
                f"Kneser-Ney 5-gram {record['kneser_ney_5']}, {record['wall_seconds']} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
