"""What a document is: cleaned text, cut to size, with one place among the splits for ever.

Cutting goes from the front and looks for paragraph borders, so a longer tail moves nothing. The split is a hash of the
text alone, so more files move nothing either. This file leaves out where text comes from and where documents go.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

SMALLEST_PIECE_BYTES = 512
PIECES_OF_A_SMALL_FILE = 64

HeldOut = Literal["validation", "test"]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
HELD_OUT: tuple[HeldOut, ...] = ("validation", "test")


@dataclass(frozen=True)
class Document:
    """A piece of text that is learned from, held out or dropped as a whole.

    Attributes:
        text: normalised text, never empty.
        source: the source as the person wrote it.
        ends: whether the text really ends here; False where a long text was cut and goes on.
        part: which part of a longer text this is, from 0.
        is_row: whether it is one of many in its file (a row of a table), or a file of its own.
        split: where it belongs; None as long as that is not drawn.
        columns: plain JSON values that go with it: those of its row that were asked for, and what steps add.
    """

    text: str
    source: str
    ends: bool = True
    part: int = 0
    is_row: bool = False
    split: SplitName | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for the text; blanks at its ends do not count."""
        return _digest(self.text)

    def group_digest(self, column: str) -> bytes:
        """16 bytes that stand for the value of a column, as those of `digest` for the text."""
        value = self.columns.get(column)
        return _digest(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))

    @property
    def num_bytes(self) -> int:
        """Size of the text as UTF-8."""
        return _num_bytes(self.text)

    def with_text(self, text: str) -> Document:
        """The same document with another text."""
        return self if text == self.text else replace(self, text=text)

    def with_columns(self, columns: Mapping[str, Any]) -> Document:
        """The same document with more columns."""
        return replace(self, columns={**self.columns, **columns})


def _digest(text: str) -> bytes:
    return blake2b(text.strip().encode(errors="replace"), digest_size=16).digest()


def normalize(text: str, form: Literal["NFC", "NFKC", "none"]) -> str:
    r"""Bring text to one form: Unicode form, `\n` line ends, no NUL, no byte order mark, no lone surrogate."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\ufeff", "")
    if form != "none" and not unicodedata.is_normalized(form, text):
        text = unicodedata.normalize(form, text)
    return _LONE_SURROGATE.sub("\ufffd", text)


def tidy(text: str) -> str:
    """A text as prepared text is before any step, so that what somebody asks about is read as what was learned from."""
    return trim(normalize(text, "NFC"))


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON may spell them; UTF-8 cannot
_OUTER_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


def trim(text: str) -> str:
    """Drop the blank lines around a text; the indent of its first line stays."""
    return _OUTER_BLANK_LINES.sub("", text).rstrip()


def piece_bytes(text_bytes: int, document_bytes: int) -> int:
    """How large the documents are that one file is cut into.

    A large file gives documents of `document_bytes`. A smaller one gives smaller documents, about 64 of them, so that
    it can still be split into train, validation and test. The steps are powers of two: a longer tail rarely changes
    them.

    Args:
        text_bytes: size of the text, at least 1.
        document_bytes: largest size.

    Returns:
        A size in [512, document_bytes], or `document_bytes` for a text that needs no cut.
    """
    if text_bytes <= document_bytes:
        return document_bytes
    power_of_two = 1 << max((text_bytes // PIECES_OF_A_SMALL_FILE).bit_length() - 1, 0)
    return min(max(power_of_two, SMALLEST_PIECE_BYTES), document_bytes)


# From the best place for a cut to the worst. Each pattern ends where a cut may be.
_BORDERS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n"),
    re.compile(r"[。！？…]+[”’」』）】》]*|[.!?][\"')\]]{0,3}\s+"),
    re.compile(r"\s+"),
)


def cut(blocks: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text into pieces of at most `size` bytes of UTF-8; joined, they are the text again.

    Args:
        blocks: the text, whole or in blocks that end at line ends; only one block is held at a time.
        size: largest piece in bytes, at least 4.

    Yields:
        Pieces, filled from the front with as many whole paragraphs as go in.
    """
    return _fill((atom for block in blocks for atom in _atoms(block, size, 0)), size)


def _fill(atoms: Iterable[str], size: int) -> Iterator[str]:
    held: list[str] = []
    held_bytes = 0
    for atom in atoms:
        atom_bytes = _num_bytes(atom)
        if held and held_bytes + atom_bytes > size:
            yield "".join(held)
            held, held_bytes = [], 0
        held.append(atom)
        held_bytes += atom_bytes
    if held:
        yield "".join(held)


def _atoms(text: str, size: int, level: int) -> Iterator[str]:
    """Parts of at most `size` bytes: paragraphs; one too long gives lines, a long line sentences, and then words."""
    if level == len(_BORDERS):
        yield from _hard_cut(text, size)
        return
    start = 0
    ends = [match.end() for match in _BORDERS[level].finditer(text)]
    for end in [*ends, len(text)]:
        part = text[start:end]
        start = end
        if not part:
            continue
        if _num_bytes(part) <= size:
            yield part
        else:
            # A long part is filled on its own first, so that its pieces are large.
            yield from _fill(_atoms(part, size, level + 1), size)


def _hard_cut(text: str, size: int) -> Iterator[str]:
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + size, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        yield data[start:end].decode()
        start = end


def _num_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def split_of(digest: bytes, *, validation_ratio: float, test_ratio: float) -> SplitName:
    """The split a document belongs to, from its digest alone.

    Args:
        digest: `Document.digest`.
        validation_ratio: share held out for validation, in [0, 1).
        test_ratio: share held out for the test, in [0, 1).
    """
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_ratio:
        return "test"
    if place < test_ratio + validation_ratio:
        return "validation"
    return "train"
