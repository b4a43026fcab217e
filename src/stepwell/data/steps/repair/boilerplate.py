"""Lines that many documents of a source share, taken out: navigation, headers and footers of pages, licences.

How many documents hold a line is counted over the whole corpus, by a hash of the line without its numbers. A line that
many hold is taken out wherever it stands; CCNet (Wenzek et al. 2020, 3.1) does so with every paragraph that comes
twice, here a share of the documents must hold it, so a proverb stays. This file leaves out what comes twice
(`duplicates/exact.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig

SHOWN_LINES = 30
SHOWN_CHARACTERS = 80
SKETCH_SIZE = 1 << 22
"""Counters of a first count of all lines; the memory that they take does not grow with the corpus."""


class BoilerplateConfig(StepConfig):
    """Which lines are taken out.

    Attributes:
        min_documents: a line that fewer documents of its source hold stays.
        min_ratio: likewise, as a share of the documents of the source.
        skip_labels: keep lines that end in a colon, such as the names of speakers.
    """

    kind: Literal["boilerplate"] = "boilerplate"
    min_documents: int = Field(default=10, ge=2)
    min_ratio: float = Field(default=0.1, gt=0, le=1)
    skip_labels: bool = True


class Boilerplate(Step[BoilerplateConfig]):
    """Take out lines that many documents of their source share; drop documents that have no others.

    A document of a single line is neither counted nor changed: text that comes again as a whole is a duplicate.
    """

    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """What lines there are.

        Returns:
            For each of D documents of several lines: `digests` (D,) uint64 of its text, `places` (D,) int32 of its
            source in `sources` (M,) uint64, and `sizes` (D,) int32, how many of `lines` (N,) uint64 are its own: hashes
            of its different lines.
        """
        keys = _Keys(self.config.skip_labels)
        sources: dict[str, int] = {}
        digests, places, held = [], [], []
        for document in documents:
            if len(several := _lines(document)) > 1:
                digests.append(int.from_bytes(document.digest[:8], "big"))
                places.append(sources.setdefault(document.source, len(sources)))
                found = {keys.key_of(line, document.source) for line in several}
                held.append(sorted(key for key in found if key is not None))
        return {
            "digests": np.array(digests, np.uint64),
            "places": np.array(places, np.int32),
            "sizes": np.array([len(one) for one in held], np.int32),
            "lines": np.array([key for one in held for key in one], np.uint64),
            "sources": np.array([_hash("", source) for source in sources], np.uint64),
        }

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `lines` (N,) uint64, those to take out, and `shown` (M,) uint64, the most frequent.

        A text that comes again counts once, so that copies of a document do not make boilerplate of its lines. The
        looks are read several times: a count that is too high now and then says which lines are worth an exact one.
        """
        fresh = _first_of([look["digests"] for look in looks])
        documents: Counter[int] = Counter()
        for look, first in zip(looks, fresh, strict=True):
            documents.update(look["sources"][look["places"][first]].tolist())
        needed = {source: self._documents_needed(number) for source, number in documents.items()}
        sketch = np.zeros(SKETCH_SIZE, np.int64)
        for look, first in zip(looks, fresh, strict=True):
            np.add.at(sketch, look["lines"][np.repeat(first, look["sizes"])] % np.uint64(SKETCH_SIZE), 1)
        counts: Counter[int] = Counter()
        wanted: dict[int, int] = {}
        for look, first in zip(looks, fresh, strict=True):
            need = np.array([needed.get(source, 0) for source in look["sources"].tolist()], np.int64)[look["places"]]
            of_first = np.repeat(first, look["sizes"])
            lines, need = look["lines"][of_first], np.repeat(need, look["sizes"])[of_first]
            worth = sketch[lines % np.uint64(SKETCH_SIZE)] >= need
            counts.update(lines[worth].tolist())
            wanted.update(zip(lines[worth].tolist(), need[worth].tolist(), strict=True))
        found = sorted(line for line, count in counts.items() if count >= wanted[line])
        shown = sorted(found, key=lambda line: (-counts[line], line))[:SHOWN_LINES]
        told = {"lines": np.array(found, np.uint64), "shown": np.array(shown, np.uint64)}
        return Joined([told] * len(looks), {"different_lines": len(found)})

    def _documents_needed(self, documents: int) -> int:
        return max(self.config.min_documents, ceil(self.config.min_ratio * documents))

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        keys = _Keys(self.config.skip_labels)
        taken = set() if known is None else set(known["lines"].tolist())
        shown = set() if known is None else set(known["shown"].tolist())
        for document in documents:
            lines = _lines(document)
            unwanted = {line for line in lines if keys.key_of(line, document.source) in taken} if taken else set()
            if not unwanted or len(lines) < 2:
                outcome.kept.append(document)
                continue
            text, out = without_lines(document.text, unwanted)
            outcome.findings["lines"] += len(out)
            for line in out:
                if keys.key_of(line, document.source) in shown:
                    outcome.findings[f"line: {_plain(line)[:SHOWN_CHARACTERS]}"] += 1
            if text.isspace() or not text:
                outcome.dropped.append((document, "only_boilerplate"))
            else:
                outcome.changed["lines"] += 1
                outcome.kept.append(document.with_text(text))
        return outcome


def _first_of(digests: Sequence[NDArray[np.uint64]]) -> list[NDArray[np.bool_]]:
    """For each shard which of its documents (D,) were not there before."""
    together = np.concatenate([np.zeros(0, np.uint64), *digests])
    order = np.argsort(together, kind="stable")
    again = together[order][1:] == together[order][:-1]
    first = np.ones(len(together), bool)
    first[order[1:][again]] = False
    return np.split(first, np.cumsum([len(one) for one in digests])[:-1]) if digests else []


def _lines(document: Document) -> list[str]:
    return [line for line in document.text.split("\n") if line and not line.isspace()]


def without_lines(text: str, unwanted: Collection[str]) -> tuple[str, list[str]]:
    """A text without some lines; of the empty lines around one, no more are left than there were on one side.

    Args:
        text: any.
        unwanted: lines that go, none of them empty.

    Returns:
        The text, without empty lines at its beginning if there were none, and the lines that went.
    """
    kept: list[str] = []
    out: list[str] = []
    gap = False  # whether the last line went, or only empty ones came since
    for line in text.split("\n"):
        empty = not line or line.isspace()
        if line in unwanted:
            out.append(line)
            gap = True
        elif not (empty and gap and (not kept or not kept[-1].strip())):
            kept.append(line)
            gap = gap and empty
    return "\n".join(kept), out


class _Keys:
    """Hashes of lines, each made once.

    Args:
        skip_labels: whether lines that end in a colon have none.
    """

    def __init__(self, skip_labels: bool) -> None:
        self._skip_labels = skip_labels
        self._made: dict[tuple[str, str], int | None] = {}

    def key_of(self, line: str, source: str) -> int | None:
        """What stands for a line of a source; None for one that is never boilerplate."""
        where = (source, line)
        if where not in self._made:
            plain = _plain(line)
            label = self._skip_labels and plain.endswith((":", "："))
            self._made[where] = None if label or not _TWO_LETTERS.search(plain) else _hash(plain, source)
        return self._made[where]


_NUMBER = re.compile(r"\d+")
_TWO_LETTERS = re.compile(r"[^\W\d_][\W\d_]*[^\W\d_]")  # a line of signs is the structure of a table or of code


def _plain(line: str) -> str:
    """A line as it is compared: small letters, any number as 0, single blanks."""
    return " ".join(_NUMBER.sub("0", line).casefold().split())


def _hash(text: str, source: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8, salt=_salt(source)).digest(), "big")


@lru_cache
def _salt(source: str) -> bytes:
    return blake2b(source.encode(), digest_size=16).digest()
