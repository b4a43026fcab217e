"""English pages, good and bad, that quality is judged on, and how datatrove judges them.

The good ones are real text; the bad ones are real text damaged in ways that the rules are made for. What datatrove
0.10.1 (with spaCy 3.8) said of each is in `quality_datatrove.json`, which this file writes when it is run where
datatrove is installed: `python tests/parity/quality_pages.py FOLDER_OF_REAL_DATA`.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

GOLDEN = Path(__file__).with_name("quality_datatrove.json")


def pages(root: Path) -> list[str]:
    """All pages, in a fixed order."""
    news = [row["text"] for row in _rows(root / "classification/news.en.jsonl.gz")]
    answers = [row["messages"][-1]["content"] for row in _rows(root / "chat/instructions.en.jsonl.gz")]
    plays = (root / "lm/tinyshakespeare.txt").read_text(encoding="utf-8")
    good = [
        *news[:300],
        *_articles((root / "lm/wikitext2-valid.txt").read_text(encoding="utf-8")),
        *answers[:250],
        *(plays[start : start + 3000] for start in range(0, 180_000, 3000)),
    ]
    bad = [damage(text) for place, damage in enumerate(DAMAGES) for text in news[300 + 12 * place : 312 + 12 * place]]
    return [text.strip() for text in (*good, *bad)]


def _rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _articles(text: str) -> list[str]:
    clean = "\n".join(line.strip() for line in text.split("\n"))  # its empty lines are blanks
    return [part for part in re.split(r"\n(?== [^=\n]+ =\n)", clean) if part.strip()]


def _every(step: int, put: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: " ".join(put(word) if n % step == 0 else word for n, word in enumerate(text.split(" ")))


def _lines(change: Callable[[str], str], share: float = 1.0) -> Callable[[str], str]:
    def damage(text: str) -> str:
        rng = random.Random(text[:40])
        return "\n".join(change(line) if rng.random() < share else line for line in text.split("\n"))

    return damage


def _menu(text: str) -> str:
    words = text.split()[:240]
    return "\n".join(" ".join(words[n : n + 3]) for n in range(0, len(words), 3))


DAMAGES: list[Callable[[str], str]] = [
    lambda text: " ".join(text.split()[:30]),
    lambda text: " ".join(text.split()[:52]),
    _every(1, lambda word: word[:2]),
    _every(2, lambda word: word * 4),
    _every(6, lambda word: f"{word} #"),
    _every(7, lambda word: f"{word}..."),
    _lines(lambda line: f"- {line}"),
    _lines(lambda line: f"{line.rstrip('.')}...", 0.5),
    _every(2, lambda word: "2,514.7"),
    lambda text: re.sub(r"\b(?:the|be|to|of|and|that|have|with|The)\b", "x", text),
    lambda text: "\n".join([text.split("\n")[0]] * 4 + text.split("\n")[1:]),
    lambda text: "\n\n".join([*text.split("\n")[:3]] * 3),
    _every(9, lambda word: f"{word} buy cheap watches online"),
    _every(14, lambda word: f"{word} click here"),
    lambda text: f"{text}\n{text[: len(text) // 3]}",
    lambda text: f"{text}\n{text[: len(text) // 8]}",
    _menu,
    lambda text: text.replace(". ", "\n"),
    lambda text: f"{text}\nLorem ipsum dolor sit amet, consectetur adipiscing elit.",
    lambda text: f"{text}\nif (x) {{ return false; }} is how it ends.",
    _lines(lambda line: f"{line} Please enable JavaScript to read this page.", 0.4),
    _lines(lambda line: f"{line} By reading on you accept our terms of use and privacy policy.", 0.4),
    _lines(lambda line: line.rstrip(".?!\"'"), 0.7),
    _lines(lambda line: f"{line[:-1]}[12].", 0.5),
    lambda text: ". ".join(text.split(". ")[:4]) + ".",
    _every(40, lambda word: f"{word}\nRead more\n"),
]
"""What makes a page bad; each is done to twelve pages."""


def digest(text: str) -> str:
    """Stands for a text."""
    return blake2b(text.encode(), digest_size=4).hexdigest()


def by_datatrove(texts: list[str]) -> dict[str, list[str]]:
    """What datatrove says of each text: `kept`, or why not; of C4, what is left of the text."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = {
        "gopher_quality": GopherQualityFilter(),
        "gopher_repetition": GopherRepetitionFilter(),
        "c4": C4QualityFilter(),
        "c4_as_fineweb": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }
    said: dict[str, list[str]] = {name: [] for name in filters}
    for text in texts:
        for name, one in filters.items():
            document = Document(text=text, id="")
            told = one.filter(document)
            kept = digest(document.text) if name.startswith("c4") else "kept"
            said[name].append(kept if told is True else told[1])
    return said


if __name__ == "__main__":
    texts = pages(Path(sys.argv[1]))
    golden = {"pages": digest("\0".join(texts)), **by_datatrove(texts)}
    GOLDEN.write_text(json.dumps(golden, indent=0).replace('",\n"', '", "') + "\n", encoding="utf-8")
