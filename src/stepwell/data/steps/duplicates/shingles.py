"""Texts as sets of hashed n-grams, which is how near duplicates and leaks are found.

A text is a row of units: a word is one, and so is each character of a script that is written without spaces, so mixed
text needs no choice of language. Case, width, blanks and punctuation do not count. Whole lists of texts are hashed by
NumPy, with no Python object for a word. This file leaves out what is done with the sets.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

WINDOW_CHARACTERS = 1 << 15
"""Hashed together; what is made on the way stays in the processor's cache."""

_OTHER, _LETTER, _CHARACTER, _KIND = 0, 1, 2, 3
_BASE = 0xD1342543DE82EF95  # odd, so that it has an inverse modulo 2^64
_TABLE_END = 0x32400  # behind the last ideograph of Unicode 17
_LOOKED_AT_END = 0x20000  # from here to the end of the table there are ideographs only
_BY_CHARACTER = (
    (0x0E00, 0x0F00),  # Thai, Lao
    (0x0F00, 0x10A0),  # Tibetan, Myanmar
    (0x1780, 0x1800),  # Khmer
    (0x3005, 0x3008),  # ideographic marks
    (0x3021, 0x3100),  # kana
    (0x3105, 0x3130),  # bopomofo
    (0x31A0, 0x3200),
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0xFF66, 0xFFA0),  # kana of half width
    (0x16FE0, 0x18E00),  # Tangut, Khitan
    (0x1B000, 0x1B300),
)
"""Scripts without spaces between words. Hangul has them."""


@dataclass(frozen=True)
class Shingles:
    """The n-grams of several texts, one after the other.

    Attributes:
        hashes: (S,) of each n-gram, in the order of the text; what a text repeats is there again.
        offsets: (N + 1,) where each text begins; a text of fewer units than an n-gram has none.
    """

    hashes: Hashes
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, index: int) -> Hashes:
        """(s,) of one text."""
        return self.hashes[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class Units:
    """The words and characters of several texts, one after the other.

    Attributes:
        hashes: (U,) of each.
        is_character: (U,) whether it is a character of a script without spaces.
        starts: (U,) its place in the texts joined by one character each.
        offsets: (N + 1,) where each text begins.
    """

    hashes: Hashes
    is_character: NDArray[np.bool_]
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]


def shingles_of(texts: Sequence[str], words: int, characters: int, *, short: bool = False) -> Shingles:
    """The n-grams of texts.

    Args:
        texts: of any language, or of several.
        words: units of an n-gram that begins with a word, at least 1.
        characters: units of an n-gram that begins with a character of a script without spaces, at least 1.
        short: a text that is too short for an n-gram, but has half the units of one, has one hash: of it as a whole.
    """
    hashes: list[Hashes] = []
    counts: list[NDArray[np.int64]] = []
    for batch in batches(texts, WINDOW_CHARACTERS):
        units = units_of(batch)
        starts, hashed = ngrams(units, words, characters)
        if short:
            starts, hashed = _with_short(units, starts, hashed, words, characters)
        hashes.append(hashed)
        counts.append(np.diff(np.searchsorted(starts, units.offsets)))
    offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    return Shingles(np.concatenate([np.zeros(0, np.uint64), *hashes]), offsets)


def batches(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Texts in lists of at most so many characters, the line ends between them counted; a longer text is alone."""
    held: list[str] = []
    size = 0
    for text in texts:
        if held and size + len(text) >= characters:
            yield held
            held, size = [], 0
        held.append(text)
        size += len(text) + 1
    if held:
        yield held


def units_of(texts: Sequence[str]) -> Units:
    """The units of texts, hashed: a sum over the characters of each, each times the power of its place."""
    joined = "\n".join((*texts, ""))
    if joined.isascii():
        codes: NDArray[Any] = np.frombuffer(joined.encode("ascii"), np.uint8)
    else:
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    found = list(_windows(codes))
    starts = np.concatenate([np.zeros(0, np.int64), *(starts for starts, _, _ in found)])
    hashes = np.concatenate([np.zeros(0, np.uint64), *(hashes for _, hashes, _ in found)])
    kinds = np.concatenate([np.zeros(0, np.uint8), *(kinds for _, _, kinds in found)])
    ends = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return Units(hashes, kinds == _CHARACTER, starts, np.searchsorted(starts, ends))


def _windows(codes: NDArray[Any]) -> Iterator[tuple[NDArray[np.int64], Hashes, NDArray[np.uint8]]]:
    """Starts, hashes and kinds of the units of a long text, some at a time; each window ends where a unit begins."""
    table, powers, inverses = _tables()
    begin = 0
    while begin < len(codes):
        values = table.take(codes[begin : begin + WINDOW_CHARACTERS], mode="clip")
        kinds = (values & np.uint64(_KIND)).astype(np.uint8)
        begins = np.empty(len(kinds), bool)
        begins[0] = kinds[0] != _OTHER
        np.greater(kinds[1:], kinds[:-1] == _LETTER, out=begins[1:])  # a letter after none, or a character
        starts = np.flatnonzero(begins)
        # What is no unit has the value 0, so what comes between the starts of two units is the first of them.
        sums = np.cumsum(values * powers[: len(values)])
        borders = np.concatenate([np.zeros(1, np.uint64), sums])[np.append(starts, len(values))]
        hashes = np.diff(borders) * inverses[starts]
        end = begin + len(values)
        if end < len(codes) and len(starts) > 1:  # the last unit may go on
            end = begin + int(starts[-1])
            starts, hashes = starts[:-1], hashes[:-1]
        yield starts + begin, mix(hashes), kinds[starts]
        begin = end


def ngrams(units: Units, words: int, characters: int) -> tuple[NDArray[np.int64], Hashes]:
    """The n-grams that lie within one text.

    Returns:
        (S,) with which unit each begins, and (S,) its hash.
    """
    long_enough, hashed = _of_length(units, words)
    if characters != words and units.is_character.any():
        also_long_enough, others = _of_length(units, characters)
        long_enough = np.where(units.is_character, also_long_enough, long_enough)
        hashed = np.where(units.is_character, others, hashed)
    starts = np.flatnonzero(long_enough)
    return starts, mix(hashed[starts])


def _with_short(
    units: Units, starts: NDArray[np.int64], hashes: Hashes, words: int, characters: int
) -> tuple[NDArray[np.int64], Hashes]:
    """The n-grams, and each text without any as a whole."""
    first, sizes = units.offsets[:-1], np.diff(units.offsets)
    without = np.flatnonzero((np.diff(np.searchsorted(starts, units.offsets)) == 0) & (sizes > 0))
    enough = np.where(units.is_character[first[without]], characters, words)
    without = without[2 * sizes[without] >= enough]
    powers = _powers(_BASE, max(words, characters))
    wholes = [
        np.sum(units.hashes[begin : begin + size] * powers[:size])
        for begin, size in zip(first[without], sizes[without], strict=True)
    ]
    places = np.searchsorted(starts, first[without])
    return np.insert(starts, places, first[without]), np.insert(hashes, places, mix(np.array(wholes, np.uint64)))


def _of_length(units: Units, length: int) -> tuple[NDArray[np.bool_], Hashes]:
    """For each unit whether its text has `length` units from there on, and the sum of their hashes by place."""
    total = len(units.hashes)
    fits = np.ones(total, bool)
    for end in units.offsets[1:]:  # the last units of each text begin nothing
        fits[max(0, end - length + 1) : end] = False
    sums = np.zeros(total, np.uint64)
    for place, power in enumerate(_powers(_BASE, min(length, total))):
        sums[: total - place] += units.hashes[place:] * power
    return fits, sums


def distinct(hashes: Hashes) -> Hashes:
    """Each hash once, rising; NumPy's own `unique` takes ten times as long for these."""
    rising = np.sort(hashes)
    once: Hashes = rising[np.append(True, rising[1:] != rising[:-1])[: len(rising)]]
    return once


def mix(hashes: Hashes) -> Hashes:
    """Spread hashes evenly over 64 bits (the finalizer of SplitMix64; Steele et al. 2014)."""
    mixed = hashes + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _powers(base: int, count: int) -> Hashes:
    """base^0, base^1, ... modulo 2^64."""
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers)


@cache
def _tables() -> tuple[Hashes, Hashes, Hashes]:
    """The value of each code point, its kind in the lowest bits, and powers of `_BASE` and of its inverse."""
    kinds = np.full(_TABLE_END, _CHARACTER, np.uint8)
    folded = np.arange(_TABLE_END, dtype=np.uint64)
    for code in range(_LOOKED_AT_END):
        letter = chr(code)
        is_letter = letter.isalnum() or unicodedata.category(letter)[0] == "M"
        kinds[code] = _LETTER if is_letter else _OTHER
        if is_letter:
            folded[code] = ord(unicodedata.normalize("NFKC", letter)[0].lower()[0])
    for first, end in _BY_CHARACTER:
        kinds[first:end][kinds[first:end] == _LETTER] = _CHARACTER
    kinds[-1] = _OTHER  # stands for all behind it
    values = mix(folded) & ~np.uint64(_KIND) | kinds
    values[kinds == _OTHER] = 0
    return values, _powers(_BASE, WINDOW_CHARACTERS), _powers(pow(_BASE, -1, 1 << 64), WINDOW_CHARACTERS)
