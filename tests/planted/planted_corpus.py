"""A corpus in which everything that is wrong is known: planted in real English and Chinese text, by one seed.

Real documents are chosen so that none is near another and none holds anything like personal data; then copies with
known edits, broken encodings, values that nobody has, passages of held-out text, other languages and junk are planted,
each with its truth. Tests and benchmarks/data.py share it. This file leaves out what is planted (planted_passages.py).
"""

from __future__ import annotations

import gzip
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from planted_passages import AROUND, FOREIGN, HARMLESS, JUNK, PAGE_LINES, PERSONAL

LANGUAGES = ("en", "zh")
EDIT_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Share of the words (English) or characters (Chinese) that an edited copy has changed."""

SHARED_WORDS, SHARED_CHARACTERS = 10, 20
"""Real documents that share so long a passage are not both taken."""


@dataclass(frozen=True)
class Case:
    """A document and the truth about it.

    Attributes:
        id: names it; goes through the pipeline as a column.
        text: as the pipeline gets it.
        language: of the text; `en` or `zh` for the language it stands among, where it is junk.
        family: what was planted: `plain` (nothing), `exact`, `near`, `mojibake`, `personal`, `harmless`, `leak`,
            `foreign`, `junk`, `page`.
        variety: which kind of it.
        split: where it belongs.
        origin: id of the document that it was made of, or whose passage it holds.
        truth: the text as it was before it was damaged.
        values: planted values with their kinds.
    """

    id: str
    text: str
    language: str
    family: str = "plain"
    variety: str = ""
    split: str = "train"
    origin: str | None = None
    truth: str | None = None
    values: tuple[tuple[str, str], ...] = ()


@dataclass
class Planted:
    """Every case, in the order of the corpus: held-out documents first, then training documents shuffled."""

    cases: list[Case] = field(default_factory=list)

    def of(self, *families: str) -> list[Case]:
        """Cases of some families."""
        return [case for case in self.cases if case.family in families]

    def write(self, folder: Path) -> dict[str, list[str]]:
        """Write a file for each split, of rows with `text` and `id`, and one with the passages of the benchmark.

        Returns:
            `sources`, `validation`, `test` for the data section of a recipe.
        """
        names = {"sources": "train", "validation": "validation", "test": "test"}
        for split in names.values():
            rows = ({"text": case.text, "id": case.id} for case in self.cases if case.split == split)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        known = [value for case in self.of("leak") if case.origin is None for _, value in case.values]
        lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in known)
        (folder / "benchmark.jsonl").write_text(lines, encoding="utf-8")
        return {name: [str(folder / f"{split}.jsonl")] for name, split in names.items()}


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a gzipped file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def real_texts(data: Path, language: str) -> Iterator[str]:
    """Real documents of a language, as they stand in the files.

    Args:
        data: the folder with the real data.
        language: `en`, `zh`, or `fr` (sentences).
    """
    if language == "en":
        yield from (row["text"] for row in rows_of(data / "classification" / "news.en.jsonl.gz"))
        wiki = (data / "lm" / "wikitext2-valid.txt").read_text(encoding="utf-8")
        yield from (part.strip() for part in wiki.split("\n") if "<unk>" not in part and "@" not in part)
    elif language == "zh":
        yield from dict.fromkeys(row["context"] for row in rows_of(data / "qa" / "reading.zh.jsonl.gz"))
        yield from (row["text"] for row in rows_of(data / "classification" / "sentiment.zh.jsonl.gz"))
        yield from (row["source"] for row in rows_of(data / "summarization" / "abstracts.zh.jsonl.gz"))
    else:
        yield from (row["target"] for row in rows_of(data / "translation" / "captions.en-fr.train.jsonl.gz"))


_NUMBERS = re.compile(r"\d{7}|@|&#?\w+;|[\u200b-\u200f\ufeff\xad]|\d[\d .()-]{8}\d|\d+\.\d+\.\d+\.\d+")


def fitting(text: str, language: str) -> bool:
    """Whether a text is prose of some length in one language, with nothing in it like personal data or markup."""
    letters = [letter for letter in text if letter.isalpha()]
    if not letters or _NUMBERS.search(text):
        return False
    ascii_ratio = sum(letter.isascii() for letter in letters) / len(letters)
    if language == "zh":
        return 200 <= len(text) <= 2000 and ascii_ratio < 0.05 and text.count("。") + text.count("，") >= 6
    return 120 <= len(text.split()) <= 800 and ascii_ratio > 0.99 and text.count(".") >= 4


def units(text: str, language: str) -> list[str]:
    """Words in small letters, or Chinese characters; punctuation, digits' width and blanks left out."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return re.findall(r"\w", plain) if language == "zh" else re.findall(r"\w+", plain)


def passages(text: str, language: str) -> set[tuple[str, ...]]:
    """Every run of as many units as no two real documents may share."""
    parts = units(text, language)
    length = SHARED_CHARACTERS if language == "zh" else SHARED_WORDS
    return {tuple(parts[start : start + length]) for start in range(len(parts) - length + 1)}


def apart(texts: Sequence[str], language: str) -> Iterator[str]:
    """The texts that share no passage with one before them."""
    seen: set[tuple[str, ...]] = set()
    for text in texts:
        own = passages(text, language)
        if own.isdisjoint(seen):
            seen |= own
            yield text


def plant(data: Path, *, plain: int = 300, each: int = 40, seed: int = 0) -> Planted:
    """Make the corpus.

    Args:
        data: the folder with the real data.
        plain: training documents of each language in which nothing is planted.
        each: cases of each family and language.
        seed: another seed, another corpus.

    Raises:
        ValueError: when there is too little real text for so many.
    """
    planted = Planted()
    for language in LANGUAGES:
        rng = random.Random(f"{seed}/{language}")
        texts = sorted({text.strip() for text in real_texts(data, language)})
        rng.shuffle(texts)
        fresh = _Fresh(language, apart([text for text in texts if fitting(text, language)], language))
        foreign = list(real_texts(data, "fr")) if language == "en" else []
        planted.cases += _Planter(language, rng, fresh, each).all(plain, foreign)
    order = {"validation": 0, "test": 1, "train": 2}
    random.Random(seed).shuffle(planted.cases)
    planted.cases.sort(key=lambda case: order[case.split])
    return planted


class _Fresh:
    """Real documents, each taken once."""

    def __init__(self, language: str, texts: Iterator[str]) -> None:
        self._language, self._texts = language, texts

    def __call__(self) -> str:
        text = next(self._texts, None)
        if text is None:
            raise ValueError(f"too little real {self._language} text; ask for fewer cases")
        return text


class _Planter:
    """Makes the cases of one language."""

    def __init__(self, language: str, rng: random.Random, fresh: _Fresh, each: int) -> None:
        self.language, self.rng, self.fresh, self.each = language, rng, fresh, each
        self.zh = language == "zh"
        self._count = 0

    def case(self, text: str, **truth: Any) -> Case:
        self._count += 1
        return Case(f"{self.language}-{self._count}", text, **{"language": self.language, **truth})

    def all(self, plain: int, foreign: Sequence[str]) -> list[Case]:
        base = [self.case(self.fresh()) for _ in range(plain)]
        held_out = [self.case(self.fresh(), split=split) for split in ("validation", "test") for _ in range(self.each)]
        cases = [*base, *held_out, *self.leaks(held_out)]
        # Each document has one copy at most, so what is said of a pair is said of nothing else.
        trained, held = (iter(self.rng.sample(several, len(several))) for several in (base, held_out))
        cases += self.exact(trained, held) + self.near(trained, held)
        cases += self.mojibake() + self.personal() + self.harmless() + self.junk() + self.pages()
        return cases + (self.foreign(foreign) if foreign else [])

    def exact(self, base: Iterator[Case], held_out: Iterator[Case]) -> list[Case]:
        """Copies to the letter, with blanks around them, and of held-out documents."""
        kinds: dict[str, tuple[Iterator[Case], Callable[[str], str]]] = {
            "to the letter": (base, str),
            "blanks around it": (base, lambda text: f"\n\n  {text}  \n"),
            "of a held-out document": (held_out, str),
        }
        return [
            self.case(damage(one.text), family="exact", variety=variety, origin=one.id)
            for variety, (origins, damage) in kinds.items()
            for one in _several(origins, max(1, self.each // 3))
        ]

    def near(self, base: Iterator[Case], held_out: Iterator[Case]) -> list[Case]:
        """Copies with so many edits, a piece cut off or put on, other spelling; and of held-out documents."""
        kinds: dict[str, Callable[[str], str]] = {
            f"{rate:.0%} of the units edited": lambda text, rate=rate: edited(text, self.language, rate, self.rng)
            for rate in EDIT_RATES
        }
        kinds["a tenth cut off"] = lambda text: text[: int(0.9 * len(text))]
        kinds["lines put on"] = lambda text: "\n".join(
            [PAGE_LINES[self.language][0], text, PAGE_LINES[self.language][2]]
        )
        kinds["case and blanks"] = self._respelled
        copies = []
        for variety, change in kinds.items():
            count = max(1, self.each // 2)
            for one in (*_several(base, count - count // 4), *_several(held_out, count // 4)):
                copies.append(self.case(change(one.text), family="near", variety=variety, origin=one.id))
        return copies

    def _respelled(self, text: str) -> str:
        if self.zh:
            return text.replace("，", ", ").replace("。", "。\n")
        return re.sub(r"(?<=[.!?]) ", "\n\n", text.upper())

    def leaks(self, held_out: Sequence[Case]) -> list[Case]:
        """New training documents that hold a passage of a held-out one, or of a benchmark, in their middle.

        The passage stands there as it is (variety `validation`, `test` or `benchmark`), or with other case,
        punctuation and line ends (`validation, respelled`).
        """
        found = []
        for number in range(3 * self.each // 2):
            one = self.rng.choice(held_out)
            in_benchmark, respelled = number % 3 == 2, number % 6 in (1, 5)
            passage = a_passage(self.fresh() if in_benchmark else one.text, self.language, self.rng)
            put = self._respelled(passage) if respelled else passage
            found.append(
                self.case(
                    put_in(self.fresh(), put, self.language, self.rng),
                    family="leak",
                    variety=("benchmark" if in_benchmark else one.split) + (", respelled" if respelled else ""),
                    origin=None if in_benchmark else one.id,
                    values=(("passage", passage),),
                )
            )
        return found

    def mojibake(self) -> list[Case]:
        """Documents whose bytes were read in another encoding."""
        found = []
        for variety, damage in MOJIBAKE.items():
            for _ in range(max(1, self.each // len(MOJIBAKE))):
                truth = self.fresh()
                if not self.zh:  # English breaks only at what is not ASCII
                    truth = truth.replace("'", "’").replace(' "', " “").replace('" ', "” ") + " – café"
                broken = damage(truth)
                if broken is not None:
                    found.append(self.case(broken, family="mojibake", variety=variety, truth=truth))
        return found

    def personal(self) -> list[Case]:
        """Documents with one to three values of one kind."""
        found = []
        for kind, make in PERSONAL.items():
            for _ in range(max(2, self.each // 3)):
                text, truth = (self.fresh(),) * 2
                values = []
                for _ in range(self.rng.randint(1, 3)):
                    values.append((kind, make(self.rng)))
                    around = self.rng.choice(AROUND[self.language][kind])
                    text = put_in(text, around.format(values[-1][1]), self.language, self.rng)
                found.append(self.case(text, family="personal", variety=kind, truth=truth, values=tuple(values)))
        return found

    def harmless(self) -> list[Case]:
        """Documents with numbers that look like personal data and are none."""
        found = []
        for number in range(max(len(HARMLESS[self.language]), self.each // 2)):
            line = HARMLESS[self.language][number % len(HARMLESS[self.language])]
            found.append(
                self.case(put_in(self.fresh(), line, self.language, self.rng), family="harmless", variety=line)
            )
        return found

    def junk(self) -> list[Case]:
        """Documents that nobody wants to learn from."""
        count = max(1, self.each // 4)
        return [
            self.case(make(self.rng, self.zh), family="junk", variety=variety)
            for variety, make in JUNK.items()
            for _ in range(count)
        ]

    def pages(self) -> list[Case]:
        """Documents with lines at their ends that stand in many others too."""
        found = []
        for _ in range(self.each):
            truth = self.fresh()
            lines = PAGE_LINES[self.language]
            text = "\n".join([truth, *lines])
            found.append(self.case(text, family="page", truth=truth, values=tuple(("line", line) for line in lines)))
        return found

    def foreign(self, captions: Sequence[str]) -> list[Case]:
        """Documents and single sentences in other languages."""
        found = []
        for language, sentences in FOREIGN.items():
            for number in range(max(2, self.each // 2)):
                chosen = self.rng.sample(list(captions) if language == "fr" else sentences, 1 if number % 4 == 3 else 5)
                text = ("" if language == "ja" else " ").join(chosen)
                variety = f"{language}, {'a sentence' if len(chosen) == 1 else 'a document'}"
                found.append(self.case(text, language=language, family="foreign", variety=variety))
        return found


def _several(cases: Iterator[Case], count: int) -> list[Case]:
    found = list(islice(cases, count))
    if len(found) < count:
        raise ValueError("too few plain documents to copy; ask for more of them, or for fewer cases")
    return found


def edited(text: str, language: str, rate: float, rng: random.Random) -> str:
    """A copy in which a share of the words or characters is replaced, dropped, doubled or swapped with the next."""
    parts = list(text) if language == "zh" else re.findall(r"\s+|\S+", text)
    places = [place for place, part in enumerate(parts) if part.isalpha()]
    pool = [parts[place] for place in places]
    for place in rng.sample(places, min(len(places), max(1, round(rate * len(places))))):
        kind = rng.randrange(4)
        if kind == 0:
            parts[place] = rng.choice(pool)
        elif kind == 1:
            parts[place] = ""
        elif kind == 2:
            parts[place] += ("" if language == "zh" else " ") + rng.choice(pool)
        else:
            parts[place] = parts[place][::-1] if language == "en" else rng.choice(pool)
    return "".join(parts)


def jaccard(one: str, other: str, language: str, length: int = 5) -> float:
    """Shared runs of so many units over all of them: the plain measure that near duplicates are judged by."""
    sets = []
    for text in (one, other):
        parts = units(text, language)
        sets.append({tuple(parts[start : start + length]) for start in range(max(1, len(parts) - length + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def sentences(text: str, language: str) -> list[str]:
    """Sentences with what ends them; joined, they are the text."""
    pattern = r"[^。！？]*[。！？]+|[^。！？]+$" if language == "zh" else r".*?[.!?]\s+|.+?$"
    return re.findall(pattern, text, re.S)


def put_in(text: str, passage: str, language: str, rng: random.Random) -> str:
    """A text with a passage between two of its sentences."""
    parts = sentences(text, language)
    place = rng.randint(1, max(1, len(parts) - 1))
    space = "" if language == "zh" else " "
    before, after = "".join(parts[:place]), "".join(parts[place:])
    return before + ("" if before.endswith(("\n", " ")) else space) + passage + space + after


def a_passage(text: str, language: str, rng: random.Random) -> str:
    """Some sentences of a text in a row: at least forty words, or eighty characters."""
    parts = sentences(text, language)
    start = rng.randrange(max(1, len(parts) // 2))
    held = ""
    for part in parts[start:]:
        held += part
        if len(units(held, language)) >= (80 if language == "zh" else 40):
            break
    return held.strip()


_WINDOWS = [bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(256)]


def _read_as(*encodings: str) -> Callable[[str], str | None]:
    """Written in the first encoding and read in the second, and so on; None where that cannot be.

    Bytes that Windows-1252 leaves open are read as browsers read them: as control characters. GBK loses a letter where
    its pairs of bytes do not come out even.
    """

    def damage(text: str) -> str | None:
        try:
            for written, read in zip(encodings[::2], encodings[1::2], strict=True):
                data = text.encode(written)
                errors = "replace" if read == "gb18030" else "strict"
                text = "".join(_WINDOWS[byte] for byte in data) if read == "cp1252" else data.decode(read, errors)
        except UnicodeError:
            return None
        return text

    return damage


MOJIBAKE: dict[str, Callable[[str], str | None]] = {
    "UTF-8 read as Latin-1": _read_as("utf-8", "latin-1"),
    "UTF-8 read as Windows-1252": _read_as("utf-8", "cp1252"),
    "UTF-8 read as Latin-1, twice": _read_as("utf-8", "latin-1", "utf-8", "latin-1"),
    "UTF-8 read as GBK": _read_as("utf-8", "gb18030"),
    "GBK read as Latin-1": _read_as("gb18030", "latin-1"),
}
"""Kind of damage -> the function that does it."""
