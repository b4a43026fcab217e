"""How much of a text repeats: lines, paragraphs, and n-grams of words.

The ratios of Gopher (Rae et al., 2021, table A1) as datatrove computes them. Most texts repeat little, so a cheap
bound decides most of them and the exact count is made for the rest. This file leaves out the thresholds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepwell.data.steps.filters.quality.page import Page


class Repeated(NamedTuple):
    """Parts of a text that were there before.

    Attributes:
        parts: how many.
        characters: in them.
    """

    parts: int
    characters: int


def repeated(parts: Sequence[str]) -> Repeated:
    """The parts that are the same as an earlier one."""
    counts = Counter(parts)
    if len(counts) == len(parts):
        return Repeated(0, 0)
    again = [(part, count - 1) for part, count in counts.items() if count > 1]
    return Repeated(sum(count for _, count in again), sum(len(part) * count for part, count in again))


def broken_top_ngram(page: Page, limits: Mapping[int, float]) -> int | None:
    """The first n whose most frequent n-gram fills too much of the text.

    Args:
        page: a text with tokens.
        limits: n in words -> largest share of the text's characters, in [0, 1].

    Returns:
        n in words; None when every n is within its limit.
    """
    blank = 0 if page.is_chinese else 1
    most = max(page.counts.values(), default=0)  # no n-gram comes more often than its words
    longest = max(map(len, page.counts), default=0)
    for words, limit in sorted(limits.items()):
        length = words * page.ngram_scale
        allowed = limit * len(page.text)
        if most * (length * (longest + blank) - blank) <= allowed or length > len(page.tokens):
            continue
        if len(page.tokens) >= WORTH_ARRAYS_TOKENS:
            most, filled = _most_filled(page, length, blank)
            if filled <= allowed:
                continue
        ngram, most = Counter(_ngrams(page.tokens, length)).most_common(1)[0]
        if most * (sum(map(len, ngram)) + blank * (length - 1)) > allowed:
            return words
    return None


def broken_duplicate_ngram(page: Page, limits: Mapping[int, float]) -> int | None:
    """The first n where n-grams that were there before fill too much of the text.

    Args:
        page: a text with tokens.
        limits: n in words -> largest share of the text's characters, in [0, 1].

    Returns:
        n in words; None when every n is within its limit.
    """
    if not limits:
        return None
    tokens, size = page.tokens, len(page.text)
    # A longer n-gram that is there again consists of shorter ones that are there again: their cover is a bound.
    shortest = min(limits) * page.ngram_scale
    cover = _cover_of_arrays if len(tokens) >= WORTH_ARRAYS_TOKENS else _cover
    if cover(page, shortest) <= min(limits.values()) * size:
        return None
    for words, limit in sorted(limits.items()):
        if duplicate_characters(tokens, words * page.ngram_scale) > limit * size:
            return words
    return None


def duplicate_characters(tokens: Sequence[str], length: int) -> int:
    """Characters in n-grams that were there before, read from the front; one that is found is jumped over."""
    seen: set[tuple[str, ...]] = set()
    characters = begin = 0
    while begin <= len(tokens) - length:
        ngram = tuple(tokens[begin : begin + length])
        if ngram in seen:
            characters += sum(map(len, ngram))
            begin += length
        else:
            seen.add(ngram)
            begin += 1
    return characters


def _cover(page: Page, length: int) -> int:
    """Characters under any n-gram that was there before."""
    tokens = page.tokens
    ngrams = list(_ngrams(tokens, length))
    if len(set(ngrams)) == len(ngrams):
        return 0
    seen: set[tuple[str, ...]] = set()
    covered = characters = 0  # `covered`: tokens up to here are counted
    for begin, ngram in enumerate(ngrams):
        if ngram in seen:
            characters += sum(map(len, tokens[max(covered, begin) : begin + length]))
            covered = begin + length
        else:
            seen.add(ngram)
    return characters


WORTH_ARRAYS_TOKENS = 250
"""From here on arrays are faster than dictionaries."""


def _numbers(page: Page, length: int) -> NDArray[np.uint64]:
    """(N,) a number for each n-gram, the same for the same n-gram.

    Two n-grams may have one number, so what is counted with these is never too little; the exact count is made of what
    they do not clear.
    """
    hashes = page.token_hashes
    numbers = hashes[: len(hashes) - length + 1].copy()
    for start in range(1, length):
        numbers *= _FACTOR
        numbers += hashes[start : len(hashes) - length + 1 + start]
    return numbers


_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def _most_filled(page: Page, length: int, blank: int) -> tuple[int, int]:
    """How often the most frequent n-gram comes, and the characters that the one that fills most of the text fills."""
    numbers = _numbers(page, length)
    order = np.argsort(numbers)
    ordered = numbers[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(begins, append=len(ordered))
    ends = page.token_ends
    sizes = (ends[length:] - ends[:-length])[order[begins]] + blank * (length - 1)
    return int(counts.max()), int((counts * sizes).max())


def _cover_of_arrays(page: Page, length: int) -> int:
    """As `_cover`, but no n-gram need be compared; never less."""
    numbers = _numbers(page, length)
    ordered = np.sort(numbers)
    if not (ordered[1:] == ordered[:-1]).any():
        return 0
    order = np.argsort(numbers, kind="stable")
    again = order[1:][numbers[order[1:]] == numbers[order[:-1]]]
    steps = np.zeros(len(numbers) + length + 1, np.int64)
    np.add.at(steps, again, 1)
    np.add.at(steps, again + length, -1)
    covered = np.cumsum(steps)[: len(page.tokens)] > 0
    return int(np.diff(page.token_ends)[covered].sum())


def _ngrams(tokens: Sequence[str], length: int) -> zip[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(length)), strict=False)
