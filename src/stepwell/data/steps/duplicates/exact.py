"""Exact duplicates: of documents, paragraphs and lines that are the same, one is kept.

The same means the same characters; blanks and case do not count. Held-out texts come before all others, then what
comes first. A paragraph or line that was there before is cut out and the rest stays in its order; held-out texts lose
none. This file leaves out what is almost the same (`near_duplicates.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.documents import Document, HeldOut
from stepwell.data.steps.duplicates.buckets import folder_for
from stepwell.data.steps.duplicates.repeats import Ranked, repeats
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig

HELD_OUT_FIRST: tuple[HeldOut, ...] = ("test", "validation")
"""Whose text is kept before that of the next, and of all others."""

Span = tuple[int, int]
Level = Literal["documents", "paragraphs", "lines"]
_LEVELS: tuple[Level, ...] = ("documents", "paragraphs", "lines")
_ENDS = {"paragraphs": re.compile(r"\n[^\S\n]*\n\s*|\Z"), "lines": re.compile(r"\n|\Z")}
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)+")
_ENDS_BLANK = re.compile(r"(?:\A|\n[^\S\n]*\n)[^\S\n]*\Z")
TAIL_CHARACTERS = 80
"""Of what is kept, looked at for blank lines."""


class DuplicatesConfig(StepConfig):
    """What is kept only once.

    Attributes:
        documents: drop texts that were there before.
        paragraphs: cut out paragraphs that were there before; blank lines are around a paragraph.
        lines: cut out lines that were there before.
        min_bytes: shorter paragraphs and lines are left alone: headings, brackets, short answers. 60 bytes are about
            ten English words or twenty Chinese characters.
    """

    kind: Literal["duplicates"] = "duplicates"
    documents: bool = True
    paragraphs: bool = False
    lines: bool = False
    min_bytes: int = Field(default=60, ge=0)


class Duplicates(Step[DuplicatesConfig]):
    """Keep each document, paragraph and line once."""

    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """For each level the hashes of its pieces in order, and `*_counts` (N,) of each document; `ranks` (N,)."""
        arrays: dict[str, NDArray[Any]] = {"ranks": np.array([rank_of(one) for one in documents], np.uint8)}
        for level in self._levels():
            hashed = [[_hash(one.text[start:end]) for start, end in self._pieces(one, level)] for one in documents]
            arrays[level] = np.frombuffer(b"".join(one for several in hashed for one in several), np.uint64)
            arrays[f"{level}_counts"] = np.array([len(several) for several in hashed], np.int64)
        return arrays

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told for each level which of its pieces were there before, and the counts it gave."""
        return Joined(self._told(looks))

    def _told(self, looks: Sequence[Arrays]) -> Iterator[Arrays]:
        """What each shard is told, made when it is asked for."""
        with folder_for("duplicates", "17 bytes for each document, paragraph and line") as folder:
            found = {}
            for level in self._levels():
                place = folder / level
                place.mkdir()
                found[level] = repeats(place, partial(_ranked, looks, level))
            for look in looks:
                told: dict[str, NDArray[Any]] = {}
                for level, again in found.items():
                    told |= {level: next(again), f"{level}_counts": look[f"{level}_counts"]}
                yield told

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        if known is None:
            return Outcome(kept=list(documents))
        outcome = Outcome()
        flags: dict[Level, list[NDArray[np.bool_]]] = {}
        repeats = np.zeros(len(documents), bool)
        for level in self._levels():
            counts = known[f"{level}_counts"]
            flags[level] = parts_of(known[level], counts)
            repeats[np.repeat(np.arange(len(documents)), counts)[known[level]]] = True
        for number, (document, repeating) in enumerate(zip(documents, repeats.tolist(), strict=True)):
            if not repeating:
                outcome.kept.append(document)
            elif "documents" in flags and flags["documents"][number].any():
                outcome.dropped.append((document, "same_document"))
            else:
                self._cut(document, {level: several[number] for level, several in flags.items()}, outcome)
        return outcome

    def _levels(self) -> list[Level]:
        return [level for level in _LEVELS if getattr(self.config, level)]

    def _pieces(self, document: Document, level: Level) -> Iterator[Span]:
        """The pieces of a document that are long enough to be judged, each with the blank lines behind it."""
        text, start = document.text, 0
        if level == "documents":
            yield 0, len(text)
            return
        for match in _ENDS[level].finditer(text):
            end = match.end()
            # No character is more than four bytes, so most short pieces need no encoding.
            if (end - start) * 4 >= self.config.min_bytes:
                piece = text[start:end].strip()
                if piece and len(piece.encode()) >= self.config.min_bytes:
                    yield start, end
            start = end

    def _cut(self, document: Document, again: Mapping[Level, NDArray[np.bool_]], outcome: Outcome) -> None:
        """Keep what is left of a document without the pieces that were there before."""
        if document.split in ("validation", "test"):
            outcome.kept.append(document)
            return
        spans = {
            level: [span for span, flag in zip(self._pieces(document, level), flags, strict=True) if flag]
            for level, flags in again.items()
        }
        rest = without(document.text, [span for several in spans.values() for span in several])
        if not rest.strip():
            outcome.dropped.append((document, "only_repeated"))
            return
        outcome.kept.append(document.with_text(rest.rstrip() if document.ends else rest))
        for level, several in spans.items():
            if several:
                outcome.changed[f"repeated_{level}"] += 1
                outcome.findings[f"{level}_cut"] += len(several)


def rank_of(document: Document) -> int:
    """Who is kept before whom: test, validation, all others."""
    return 2 if document.split in (None, "train") else HELD_OUT_FIRST.index(document.split)


def _ranked(looks: Sequence[Arrays], level: Level) -> Iterator[Ranked]:
    """The hashes of each shard's pieces, and whose text they are."""
    for look in looks:
        yield look[level].reshape(-1, 1), np.repeat(look["ranks"], look[f"{level}_counts"])


def parts_of(flags: NDArray[np.bool_], counts: Iterable[int]) -> list[NDArray[np.bool_]]:
    """Flags cut to parts of so many."""
    ends = np.cumsum([0, *counts])
    return [flags[begin:end] for begin, end in pairwise(ends)]


def without(text: str, spans: Sequence[Span]) -> str:
    """A text without some spans, which may overlap; where one is cut out, no blank lines pile up."""
    parts: list[str] = []
    tail, place = "", 0
    for start, end in [*sorted(spans), (len(text), len(text))]:
        gap = text[place:start]
        if place and _ENDS_BLANK.search(tail) and (blank := _BLANK_LINES.match(gap)):
            gap = gap[blank.end() :]
        parts.append(gap)
        tail = (tail + gap)[-TAIL_CHARACTERS:]
        place = max(place, end)
    return "".join(parts)


def _hash(piece: str) -> bytes:
    """8 bytes that stand for a piece of text; blanks and case do not count."""
    folded = piece.lower()
    if not piece.isascii():
        folded = folded.replace("\u3000", "").replace("\u00a0", "")
    return blake2b(folded.encode().translate(None, b" \t\n\r\v\f"), digest_size=8).digest()
