"""What the recipes for tasks reach: one `stepwell run` of each in its whole budget, on validation and test text.

    python benchmarks/tasks.py                        # every row (about five hours on two cores)
    python benchmarks/tasks.py news.zh ner.zh         # some of them
    python benchmarks/tasks.py news.zh --seed 2 --keep /tmp/runs
    python benchmarks/tasks.py news.zh --last-tenth   # test text is the last tenth of the file's rows

Nothing else should run on the machine: a budget is spent in seconds, so what a loaded machine reaches is less. Each
result is one line of benchmarks/ledger.jsonl, with the commit and the machine. Rows that begin from published weights
take them from the packages of `make weights`; what is not there is left out by name.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from published import WEIGHTS, published

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLES = PROJECT / "recipes" / "examples"


@dataclass(frozen=True)
class Row:
    """One recipe, the metrics that are told with what is wanted of them (`under_base`: by how much less than the base
    model's its loss is to be)."""

    recipe: str
    wanted: dict[str, float | None]
    init_from: str | None = None
    under_base: float = 0.0
    settings: tuple[str, ...] = ()


ROWS = {
    "news.zh": Row("news.zh", {"accuracy": 0.875}),
    "news.en": Row("news.en", {"accuracy": 0.978}),
    "sentiment.zh": Row("sentiment.zh", {"accuracy": 0.912, "macro_f1": 0.895}),
    "sentiment.en": Row("sentiment.en", {"accuracy": 0.81}),
    "sentiment.en-minilm": Row("sentiment.en", {"accuracy": 0.88}, "minilm"),
    "ner.zh": Row("ner.zh", {"span_f1": 0.65}),
    "captions.en-fr": Row("captions.en-fr", {"bleu": 45.0}),
    "sentences.en-zh": Row("sentences.en-zh", {"bleu": 20.0}),
    "chat.en": Row("chat.en", {"stop_rate": 0.95}, "smollm2", under_base=0.10),
    "preference.en": Row("preference.en", {"preference_accuracy": 0.60}, "smollm2"),
    "ner.en": Row("ner.en", {"span_f1": None}),
    "chat.zh": Row("chat.zh", {"loss": None, "stop_rate": None}),
    "stories.zh": Row("stories.zh", {"bits_per_byte": None, "variety_gap": None}),
    "reading.zh": Row("reading.zh", {"f1": None}),
    "retrieval": Row("retrieval", {"recall_at_1": None, "ndcg_at_10": None}),
    "smalltalk.en": Row("smalltalk.en", {"loss": None, "stop_rate": None}),
    "abstracts.zh": Row("abstracts.zh", {"rouge_l": None}),
    "headlines.en": Row("headlines.en", {"rouge_l": None}),
}


def stepwell(*arguments: str) -> str:
    command = [sys.executable, "-m", "stepwell", *arguments]
    return subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True).stdout


def weights(name: str, folder: Path) -> Path | None:
    """The imported checkpoint, made once; None where its package is not installed."""
    found = published(name)
    if found is None:
        return None
    out = folder / name
    if not out.exists():
        stepwell("import", str(found), str(out), "--no-parity")
    return out


def last_tenth(recipe: Path, folder: Path) -> list[str]:
    """Settings by which the last tenth of a recipe's only file is its test text."""
    (source,) = yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"]["sources"]
    with gzip.open(PROJECT / source, "rt", encoding="utf-8") as file:
        rows = file.readlines()
    border = len(rows) - len(rows) // 10
    paths = [folder / f"{recipe.stem}.{name}.jsonl" for name in ("first", "last")]
    for path, part in zip(paths, (rows[:border], rows[border:]), strict=True):
        path.write_text("".join(part), encoding="utf-8")
    return [f"data.sources=[{paths[0]}]", f"data.test=[{paths[1]}]"]


def measure(name: str, folder: Path, seed: int | None, by_place: bool) -> dict[str, Any] | None:
    row, case = ROWS[name], f"{name}, last tenth" if by_place else name
    out = folder / (case if seed is None else f"{case}-{seed}").replace(", ", "-").replace(" ", "-")
    settings = list(row.settings) + ([] if seed is None else [f"seed={seed}"])
    if by_place:
        settings += last_tenth(EXAMPLES / f"{row.recipe}.yaml", folder)
    if row.init_from is not None:
        checkpoint = weights(row.init_from, folder)
        if checkpoint is None:
            print(f"{name}: {WEIGHTS[row.init_from][0]} is not installed (make weights), left out")
            return None
        settings.append(f"init_from={checkpoint}")
    began = time.monotonic()
    changed = ["--set", *settings] if settings else []
    result = json.loads(stepwell("run", str(EXAMPLES / f"{row.recipe}.yaml"), "--out", str(out), "--json", *changed))
    journal = [json.loads(line) for line in (out / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    machine = json.loads((out / "facts.json").read_text(encoding="utf-8"))["machine"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True).stdout
    return {
        "benchmark": "tasks",
        "case": case,
        "seed": seed,
        "wall_seconds": round(time.monotonic() - began, 1),
        "wanted": {**row.wanted, **({"loss": (1 - row.under_base) * _base_loss(result)} if row.under_base else {})},
        "validation": result["validation"],
        "test": result["test"],
        "baselines": result["baselines"],
        "rounds": [
            {key: line.get(key) for key in ("round", "diagnosis", "change", "value", "accepted", "seconds", "steps")}
            for line in journal
        ],
        "stopped_because": result["stopped_because"],
        "parameters": result["best"]["parameters"],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.strip(),
        "machine": {key: machine[key] for key in ("cpu", "cores", "gflops", "precision")},
    }


def _base_loss(result: dict[str, Any]) -> float:
    """Of the model that a run began from, on the same examples."""
    return float(next(one["loss"] for one in result["baselines"] if one["name"] == "base_model"))


def told(record: dict[str, Any]) -> str:
    """One line: what is wanted, and what validation and test text gave."""
    parts = []
    for metric, least in record["wanted"].items():
        for split in ("validation", "test"):
            value = (record[split] or {}).get(metric)
            if value is not None:
                interval = f" ({value['low']:.3f} to {value['high']:.3f})" if value.get("low") is not None else ""
                wanted = "" if least is None else f", wanted {least}"
                parts.append(f"{split} {metric} {value['value']:.4f}{interval}{wanted}")
    return f"{record['case']}: {'; '.join(parts)}; {record['wall_seconds']} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all of them where none is named")
    parser.add_argument("--seed", type=int, help="another seed than the recipe's")
    parser.add_argument("--last-tenth", action="store_true", help="test on the last tenth of the rows")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in asked.rows or ROWS:
            record = measure(name, folder, asked.seed, asked.last_tenth)
            if record is None:
                continue
            with (PROJECT / "benchmarks" / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
                ledger.write(json.dumps(record, ensure_ascii=False) + "\n")
            print(told(record), flush=True)


if __name__ == "__main__":
    main()
