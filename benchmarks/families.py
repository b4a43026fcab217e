"""What each family of the catalog reaches on real text in the same time, written into the table of docs/families.md.

    .venv/bin/python benchmarks/families.py                  # every family on two texts, two minutes each
    .venv/bin/python benchmarks/families.py --budget 1m lstm # one of them, shorter; the page is left alone

Each result is one line of benchmarks/ledger.jsonl, with the commit and the machine. Everything but the family is what
stepwell derives: size, rates and batch. Real text is looked for in ../shared/data (STEPWELL_DATA overrides).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stepwell.models import MODELS

PROJECT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("STEPWELL_DATA", PROJECT.parent / "shared" / "data"))
TEXTS = {"tinyshakespeare": "lm/tinyshakespeare.txt", "hongloumeng": "lm/hongloumeng.zh.txt.gz"}
PAGE = PROJECT / "docs" / "families.md"
TABLE = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)


def run_case(kind: str, text: str, budget: str, out: Path) -> dict[str, Any]:
    """Train one family on one text with the command that a person would use."""
    command = [sys.executable, "-m", "stepwell", "train", "--text", str(DATA / TEXTS[text]), "--budget", budget]
    command += ["--out", str(out), "--set", f"model.kind={kind}", "--json"]
    began = time.monotonic()
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    wall = time.monotonic() - began
    machine = json.loads((out / "facts.json").read_text(encoding="utf-8"))["machine"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True).stdout
    return {
        "benchmark": "families",
        "family": kind,
        "text": text,
        "budget": budget,
        "wall_seconds": round(wall, 1),
        **{key: round(result[key], 4) for key in ("value", "low", "high")},
        **{key: result[key] for key in ("parameters", "steps", "tokens")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.strip(),
        "machine": {key: machine[key] for key in ("cpu", "cores", "gflops", "precision")},
    }


def table_of(records: list[dict[str, Any]]) -> str:
    """Rows of families, the best on the first text at the top; masked models apart, for theirs is another number."""
    by_family: dict[str, dict[str, dict[str, Any]]] = {}
    for record in records:
        by_family.setdefault(record["family"], {})[record["text"]] = record
    texts = list(dict.fromkeys(record["text"] for record in records))

    def order(family: str) -> tuple[bool, float]:
        return MODELS[family].objectives[0] == "masked", by_family[family][texts[0]]["value"]

    lines = [f"| family | {' | '.join(texts)} | parameters |", "|---" * (len(texts) + 2) + "|"]
    for family in sorted(by_family, key=order):
        cells = [by_family[family].get(text) for text in texts]
        values = [f"{c['value']:.3f} ({c['low']:.3f} to {c['high']:.3f})" if c else "-" for c in cells]
        mark = " (pseudo)" if MODELS[family].objectives[0] == "masked" else ""
        sizes = {f"{c['parameters'] / 1e6:.1f} M" if c["parameters"] else "counts" for c in cells if c}
        lines.append(f"| `{family}`{mark} | {' | '.join(values)} | {', '.join(sorted(sizes))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("families", nargs="*", help="default: every family")
    arguments.add_argument("--budget", default="2m", help="time for each, everything included")
    asked = arguments.parse_args()
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for text in TEXTS:
            for kind in asked.families or MODELS:
                record = run_case(kind, text, asked.budget, Path(folder) / f"{kind}-{text}")
                records.append(record)
                with (PROJECT / "benchmarks" / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
                    ledger.write(json.dumps(record, ensure_ascii=False) + "\n")
                print(f"{kind} on {text}: {record['value']} bits per byte in {record['wall_seconds']} s", flush=True)
    print(table_of(records))
    if not asked.families:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLE.sub(lambda found: found[1] + table_of(records) + found[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()
