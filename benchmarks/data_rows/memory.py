"""How much memory a corpus needs that is many times larger: text read, cleaned, cut, freed of copies and tokenised.

The corpus is real sentences of two languages in an order of their own, so that documents are unlike, with copies
planted among them: exact, edited, and too short to be sketched. A child process prepares it while its own pages
(RssAnon of it and its children, by /proc, so on Linux only) are looked at fifty times a second; pages of files, which
the system takes back when it must, are no part of it. The tokenizer is given: training one takes a sample of a fixed
size. This file leaves out how fast that is.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from planted_corpus import LANGUAGES, edited, jaccard, real_texts, sentences
from training_rows.measuring import DATA, PROJECT, rounded

from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

TIMES = 10
"""The corpus is to be at least so many times as large as the most memory that is taken."""

LOOKS_PER_SECOND = 50
PLANTED = {"exact": 0.01, "near": 0.01, "short": 0.02}
SHORT_COPIES = 0.5
EDIT_RATE = 0.015
THRESHOLD = 0.8
LEAST_SENTENCES = 6
CHARACTERS = {"en": (600, 6000), "zh": (250, 2500)}
ORIGINALS = 2000
"""Documents from all over the corpus that copies are made of."""

FOUND_REACH = 0.95
PREPARE, TOKENISE = "prepare", "tokenise"
TOKENIZER_BYTES = 2_000_000


def corpus_of(num_bytes: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """Rows of `text` and `id` that hold about so many bytes; the id tells what was planted: `0`, or `1` for a copy.

    Languages take turns. A near copy counts as one when its plain Jaccard similarity is at or above the threshold.

    Args:
        num_bytes: of text.
        seed: of the draws.
    """
    rng = random.Random(seed)
    pools = {name: [one.strip() for one in dict.fromkeys(_sentences(name))] for name in LANGUAGES}
    words = sorted({word for one in pools["en"] for word in one.split() if word.isalpha()})
    held: list[tuple[str, str]] = []
    brief: list[str] = []
    size = number = 0
    while size < num_bytes:
        language, draw, is_copy = LANGUAGES[number % len(LANGUAGES)], rng.random(), False
        if held and draw < PLANTED["exact"]:
            text, is_copy = rng.choice(held)[0], True
        elif held and draw < PLANTED["exact"] + PLANTED["near"]:
            original, written = rng.choice(held)
            text = edited(original, written, EDIT_RATE, rng)
            is_copy = jaccard(original, text, written) >= THRESHOLD
        elif draw < sum(PLANTED.values()):
            is_copy = bool(brief) and rng.random() < SHORT_COPIES
            text = rng.choice(brief) if is_copy else " ".join(rng.sample(words, 4))
            if not is_copy:
                brief.append(text)
        else:
            text = _new(pools[language], language, rng)
            if len(held) < ORIGINALS:
                held.append((text, language))
            elif rng.random() < 0.02:
                held[rng.randrange(ORIGINALS)] = (text, language)
        size += len(text.encode())
        yield {"text": text, "id": f"{number}-{int(is_copy)}"}
        number += 1


def _sentences(language: str) -> Iterator[str]:
    for text in real_texts(DATA, language):
        yield from (one for one in sentences(text, language) if len(one) > 20)


def _new(pool: list[str], language: str, rng: random.Random) -> str:
    """Sentences in an order of their own, so many that no two documents are alike by chance."""
    wanted = rng.randint(*CHARACTERS[language])
    parts: list[str] = []
    held = 0
    while held < wanted or len(parts) < LEAST_SENTENCES:
        parts.append(pool[int(rng.random() * len(pool))])
        held += len(parts[-1])
    return ("" if language == "zh" else " ").join(parts)


def measure(num_bytes: int) -> list[dict[str, object]]:
    """Print the lines of the table; returns those for the ledger.

    Args:
        num_bytes: of text.

    Raises:
        SystemExit: where there is no /proc, or when the child fails.
    """
    if not Path("/proc/self/status").exists():
        print("memory: left out, for RssAnon is read from /proc, which only Linux has")
        return []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        truth = {"documents": 0, "copies": 0, "bytes": 0}
        with (folder / "text.jsonl").open("w", encoding="utf-8") as file:
            for row in corpus_of(num_bytes):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                truth["documents"] += 1
                truth["bytes"] += len(str(row["text"]).encode())
                truth["copies"] += str(row["id"]).endswith("-1")
        sample = (str(row["text"]) for row in corpus_of(TOKENIZER_BYTES, seed=1))
        train_tokenizer(sample, ByteBPEConfig(vocab_size=8192)).save(folder / "tokenizer.json")
        began = time.monotonic()
        peaks, found = _watched(folder)
    seconds = time.monotonic() - began
    print("| memory | corpus, MB | documents | peak, MB | corpus / peak | at least 10 | copies: precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    parts = {name: {part: one for part, one in peaks.items() if (part == TOKENISE) == (name == TOKENISE)}
             for name in (PREPARE, TOKENISE)}  # fmt: skip
    records = [record_of(name, own, truth, found) for name, own in parts.items()]
    print("\npeak of each part, MB: " + ", ".join(f"{name} {one / 1e6:.0f}" for name, one in peaks.items())
          + f" ({seconds:.0f} s)", flush=True)  # fmt: skip
    return records


def record_of(
    measure: str, peaks: Mapping[str, int], truth: Mapping[str, int], found: Mapping[str, int]
) -> dict[str, object]:
    """One line of the table, printed and as one for the ledger.

    Args:
        measure: which parts of the work it is about.
        peaks: the most bytes in each of them.
        truth: `documents`, `copies` among them, and `bytes`, of the corpus.
        found: `documents` and `copies` that were kept.
    """
    lost = truth["documents"] - truth["copies"] - (found["documents"] - found["copies"])
    dropped = truth["copies"] - found["copies"]
    recall, precision = dropped / truth["copies"], dropped / (dropped + lost)
    peak = max(peaks.values())
    ratio = truth["bytes"] / peak
    met = ratio >= TIMES and min(recall, precision) >= FOUND_REACH
    cells = (measure, f"{truth['bytes'] / 1e6:,.0f}", f"{truth['documents']:,}", f"{peak / 1e6:.0f}", f"{ratio:.1f}",
             "yes" if met else "NO", f"{precision:.5f}", f"{recall:.5f}")  # fmt: skip
    print(f"| {' | '.join(cells)} |")
    return {
        "benchmark": "data", "row": "memory", "measure": f"{measure}: corpus over the most memory of its own",
        "median": rounded(ratio), "unit": "times", "reach": TIMES, "met": met, "peak_bytes": peak,
        "peak_bytes_of": dict(peaks),
        "found": {"precision": rounded(precision), "recall": rounded(recall), "copies": truth["copies"]},
        "corpus": {"documents": truth["documents"], "bytes": truth["bytes"]},
    }  # fmt: skip


def _watched(folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """The most bytes of its own that a child took in each part of its work, and what it kept."""
    paths = [str(PROJECT / "benchmarks"), str(PROJECT / "tests" / "planted"), os.environ.get("PYTHONPATH", "")]
    around = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "data_rows.memory", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=around, cwd=PROJECT / "benchmarks")
    assert child.stdout is not None
    lines = [{"part": "start"}]
    reader = threading.Thread(target=lambda: lines.extend(map(json.loads, child.stdout or ())))
    reader.start()
    peaks: Counter[str] = Counter()
    while child.poll() is None:
        part = next((line["part"] for line in reversed(lines) if "part" in line), "start")
        peaks[part] = max(peaks[part], _own_bytes(child.pid))
        time.sleep(1 / LOOKS_PER_SECOND)
    reader.join()
    if child.returncode:
        raise SystemExit(f"memory: the child ended with {child.returncode}")
    return dict(peaks), next(line["kept"] for line in lines if "kept" in line)


def _own_bytes(pid: int) -> int:
    """RssAnon of a process and all that it started."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) << 10
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += sum(_own_bytes(int(one)) for one in (thread / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended
    return total


def _prepare(folder: Path) -> None:
    """What the child does; it says on lines of JSON which part begins, and what was kept."""
    from stepwell.data import DataConfig, prepare_text, tokenize_text
    from stepwell.progress import Stage
    from stepwell.tokenizers import Tokenizer

    began = time.monotonic()

    def tell(event: object) -> None:
        if isinstance(event, Stage):
            say(part=f"{event.detail} and on")

    def say(**values: object) -> None:
        print(json.dumps({**values, "seconds": round(time.monotonic() - began, 1)}), flush=True)

    config = DataConfig(
        sources=(str(folder / "text.jsonl"),),
        text_column="text",
        columns=("id",),
        document_bytes=1 << 16,  # no text is cut, so that texts can be counted
        steps=["clean", "near_duplicates"],
    )
    say(part="read")
    prepared = prepare_text(config, folder / "work", tell, engine="serial")
    say(part=TOKENISE)
    tokenize_text(prepared, Tokenizer.load(folder / "tokenizer.json"), folder / "tokens")
    kept: Counter[str] = Counter()
    for split in ("train", "validation", "test"):
        for columns in prepared.each_columns(split):  # type: ignore[arg-type]
            kept.update(documents=1, copies=int(columns["id"][-1]))
    say(kept={"documents": kept["documents"], "copies": kept["copies"]})


if __name__ == "__main__":
    _prepare(Path(sys.argv[1]))
