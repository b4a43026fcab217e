"""How fast each step is on two cores, beside datatrove's same step: in turn, several times, on the same text.

Only the step itself is timed (see `two_workers.py`). The text is made of real sentences in an order of its own, so that
there is as much of it as is asked for without the same documents again and again; some documents are copies, as they
are or with a few edits. This file leaves out how well steps judge.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planted_corpus import LANGUAGES, edited, real_texts, sentences
from training_rows.measuring import DATA, rounded, short

from stepwell.data.steps.catalog import STEPS

HERE = Path(__file__).resolve().parent
COPIES = {"exact": 0.02, "near": 0.04}
"""Share of the documents that are copies of one before."""

HELD_OUT = 0.02


@dataclass(frozen=True)
class Pair:
    """The same step on both sides.

    Attributes:
        ours: settings of our step.
        theirs: step of `datatrove_side.py`.
        note: how the two differ.
        same: whether they do the same, so that ours must be at least as fast.
    """

    ours: dict[str, Any] = field(default_factory=dict)
    theirs: str = ""
    note: str = ""
    same: bool = True


PAIRS = {
    "clean": Pair({"kind": "clean"}, "clean", "datatrove: ftfy alone, with its defaults"),
    "language": Pair({"kind": "language", "keep": ["en", "zh"]}, "language", "the same model on both sides"),
    "quality": Pair({"kind": "quality", "rows": "pages", "passage_bytes": None,
                     "rules": ["gopher", "c4", "c4_lines", "fineweb"]}, "quality",
                    "Gopher, C4 with its lines, FineWeb; datatrove finds words by spaCy"),
    "duplicates": Pair({"kind": "duplicates"}, "duplicates", "same documents"),
    "near_duplicates": Pair({"kind": "near_duplicates"}, "near_duplicates",
                            "MinHash of 5-grams; datatrove finds words by spaCy"),
    "protect, e-mail and IP": Pair({"kind": "protect", "kinds": ["email", "ip"]}, "protect", "the same two kinds"),
    "protect, all kinds": Pair({"kind": "protect"}, "protect", "seven kinds beside two", same=False),
    "decontaminate": Pair({"kind": "decontaminate", "action": "drop"}, "decontaminate",
                          "the same held-out documents; datatrove finds words by spaCy"),
}  # fmt: skip


def text_of(language: str, num_bytes: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows of `text` and `split` that hold about so many bytes."""
    rng = random.Random(f"{language}/{seed}")
    texts = list(real_texts(DATA, language))
    lengths = [len(one) for one in texts if 200 <= len(one) <= 6000]
    pool = [one for text in texts for one in sentences(text, language)]
    made: list[str] = []
    size = 0
    while size < num_bytes:
        draw = rng.random()
        if made and draw < COPIES["exact"]:
            text = rng.choice(made)
        elif made and draw < sum(COPIES.values()):
            text = edited(rng.choice(made), language, 0.01, rng)
        else:
            text = _new(pool, rng.choice(lengths), rng, language)
            made.append(text)
        size += len(text.encode())
        yield {"text": text, "split": "validation" if rng.random() < HELD_OUT else "train"}


def _new(pool: list[str], length: int, rng: random.Random, language: str) -> str:
    parts, held = [], 0
    while held < length:
        parts.append(rng.choice(pool).strip())
        held += len(parts[-1]) + 1
        if rng.random() < 0.3:
            parts.append("\n")
    return ("" if language == "zh" else " ").join(parts).replace(" \n ", "\n").strip()


def measure_all(datatrove: Path | None, *, rounds: int, num_bytes: int, only: str = "") -> list[dict[str, object]]:
    """Measure every pair on both languages, print a table, and return lines for the ledger.

    Args:
        datatrove: the interpreter that has it; None to measure ours alone.
        rounds: how often the sides take turns.
        num_bytes: of text for each step and language.
        only: part of the names of the pairs that are measured.
    """
    pairs = {name: pair for name, pair in PAIRS.items() if only in name}
    for name in [name for name, pair in pairs.items() if pair.ours["kind"] not in STEPS]:
        print(f"speed of {name}: left out, for there is no step {pairs.pop(name).ours['kind']}")
    records: list[dict[str, object]] = []
    print("| step | language | ours, MB/s | datatrove, MB/s | ratio: median (range) | at least 1 | kept | note |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        for language in LANGUAGES:
            path = Path(place) / f"{language}.jsonl"
            rows = list(text_of(language, num_bytes))
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            size = sum(len(row["text"].encode()) for row in rows)
            for name, pair in pairs.items():
                sides = {"ours": [sys.executable, "ours_side.py", json.dumps(pair.ours), str(path)]}
                if datatrove is not None:
                    sides["datatrove"] = [str(datatrove), "datatrove_side.py", pair.theirs, language, str(path)]
                record = record_of(name, language, pair, size, len(rows), _in_turn(name, sides, rounds, size))
                records.append(record)
                print(_line(record), flush=True)
    return records


def _in_turn(name: str, sides: dict[str, list[str]], rounds: int, size: int) -> dict[str, list[dict[str, Any]]]:
    """Each side in each round: MB/s, seconds, and how many documents it kept."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    threads = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for number in range(rounds):
        for side, command in sides.items():
            done = subprocess.run(command, cwd=HERE, env=os.environ | threads, capture_output=True, text=True)
            if done.returncode:
                print(f"{name}: {side} failed:\n{done.stderr[-1500:]}", file=sys.stderr)
                continue
            told = json.loads(done.stdout.splitlines()[-1])
            found[side].append({"rate": size / told["seconds"] / 1e6, **told})
            print(f"  {name}: {side}, round {number + 1} of {rounds}: {short(found[side][-1])}", file=sys.stderr)
    return found


def record_of(
    name: str, language: str, pair: Pair, size: int, documents: int, found: dict[str, list[dict[str, Any]]]
) -> dict[str, object]:
    """What the ledger holds of a pair."""
    rates = {side: [one["rate"] for one in runs] for side, runs in found.items() if runs}
    ratios = [a / b for a, b in zip(rates.get("ours", []), rates.get("datatrove", []), strict=False)]
    spread = {}
    if ratios:
        spread = {
            "median": rounded(statistics.median(ratios)),
            "low": rounded(min(ratios)),
            "high": rounded(max(ratios)),
        }
    return {
        "benchmark": "data", "row": "speed", "measure": name, "language": language, "note": pair.note,
        "mb_per_second": {side: rounded(statistics.median(several)) for side, several in rates.items()},
        "kept": {side: runs[-1]["kept"] for side, runs in found.items() if runs},
        **spread, "values": [rounded(one) for one in ratios], "unit": "times datatrove's",
        "reach": 1.0 if ratios and pair.same else None,
        "met": not (ratios and pair.same) or statistics.median(ratios) >= 1.0,
        "corpus": {"documents": documents, "bytes": size},
    }  # fmt: skip


def _line(record: dict[str, Any]) -> str:
    rates, kept = record["mb_per_second"], record["kept"]
    ratio = "" if "median" not in record else f"{record['median']:.3g} ({record['low']:.3g} to {record['high']:.3g})"
    cells = (
        record["measure"],
        record["language"],
        *(f"{rates[side]:.3g}" if side in rates else "" for side in ("ours", "datatrove")),
        ratio,
        ("yes" if record["met"] else "NO") if record["reach"] else "",
        " / ".join(f"{count:,}" for count in kept.values()),
        record["note"],
    )
    return f"| {' | '.join(cells)} |"
