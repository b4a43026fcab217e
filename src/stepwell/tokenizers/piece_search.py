"""The pieces of a unigram model, learned from words and how often they occur (Kudo 2018).

It begins with the substrings that save most, estimates how probable each is by the expectation over all ways to cut
the words, and drops those whose loss costs least, until there are as many as asked for. The trainer of the `tokenizers`
library was tried: it finds no substring that stands in one word only, however frequent that word is, and its result
changes from run to run. Plain sums in a fixed order; this file leaves out how text becomes words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LONGEST_PIECE = 16
"""Characters of a piece."""

LONGEST_WORD = 32
"""Characters that are looked at together: the probability of a longer word would be too small for a float64."""

SEEDS = 8
"""Substrings to begin with, for each piece asked for."""

SHRINKING = 0.75
"""Share of the pieces that one round of dropping leaves."""

ROUNDS = 2
"""Of estimating before each dropping."""

RARE = 0.5
"""A piece that is expected less often counts as if it were expected so often."""

SMALLEST = 1e-9
"""Probability of a piece, at least: LONGEST_WORD of them still make a number above zero."""


def learn_pieces(words: Mapping[str, int], characters: Collection[str], size: int) -> dict[str, float]:
    """Learn the pieces of words.

    Args:
        words: how often each occurs; all of their characters are in `characters`.
        characters: they are pieces in any case.
        size: how many pieces there are to be, characters included; not fewer than these.

    Returns:
        Piece -> natural logarithm of its probability; fewer pieces where the words do not give more.
    """
    if not characters:
        return {}
    corpus = _Corpus(words, characters)
    seeds = corpus.choose(SEEDS * max(0, size - len(characters)))
    probabilities = np.full(len(seeds), 1.0 / len(seeds))
    while True:
        edges = _Edges(corpus, seeds)
        for _ in range(ROUNDS):
            expected = edges.expected(probabilities)
            probabilities = _estimate(expected)
        if len(seeds) <= size:
            return dict(zip(seeds.texts(corpus), np.log(probabilities).tolist(), strict=True))
        least_first = np.argsort(_loss(seeds, probabilities, expected), kind="stable")
        kept = np.ones(len(seeds), dtype=bool)
        kept[least_first[: len(seeds) - max(size, int(SHRINKING * len(seeds)))]] = False
        seeds, probabilities = seeds.only(kept), probabilities[kept]


def _estimate(expected: Floats) -> Floats:
    """Probabilities from how often pieces are expected, rare ones less than their share (a sparse prior)."""
    counts = np.maximum(expected, RARE)
    shares = np.exp(_digamma(counts) - _digamma(counts.sum(keepdims=True)))
    return np.maximum(shares, SMALLEST)


def _digamma(x: Floats) -> Floats:
    """The logarithmic derivative of the gamma function for x > 0, by its asymptotic series beyond 6."""
    result = np.zeros_like(x)
    x = x.copy()
    for _ in range(6):
        small = x < 6
        result[small] -= 1 / x[small]
        x[small] += 1
    inverse = 1 / x**2
    return result + np.log(x) - 0.5 / x - inverse * (1 / 12 - inverse * (1 / 120 - inverse / 252))


@dataclass(frozen=True)
class _Seeds:
    """Pieces.

    Attributes:
        lengths: (P,) in characters.
        examples: (P,) a place among the letters where each stands; -1 for a character that no word has.
        characters: (P,) the number of the character of a piece of one, else -1.
        at: (LONGEST_PIECE + 1, N) the piece of each length that begins at each letter, or -1.
    """

    lengths: Ints
    examples: Ints
    characters: Ints
    at: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def is_single(self) -> NDArray[np.bool_]:
        """(P,) whether a piece is one character."""
        return np.asarray(self.lengths == 1)

    def only(self, kept: NDArray[np.bool_]) -> _Seeds:
        """Some of them, numbered anew."""
        numbers = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        at = np.where(self.at >= 0, numbers[self.at], np.int32(-1))
        return _Seeds(self.lengths[kept], self.examples[kept], self.characters[kept], at)

    def texts(self, corpus: _Corpus) -> Iterator[str]:
        """What the pieces are."""
        for length, example, character in zip(self.lengths, self.examples, self.characters, strict=True):
            if character >= 0:
                yield corpus.alphabet[character]
            else:
                yield "".join(corpus.alphabet[n] for n in corpus.letters[example : example + length])


class _Corpus:
    """Words as one array of numbered characters.

    Args:
        words: how often each occurs.
        characters: all that there are.
    """

    def __init__(self, words: Mapping[str, int], characters: Collection[str]) -> None:
        self.alphabet = sorted(characters)
        number = {letter: n for n, letter in enumerate(self.alphabet)}
        parts = [
            (word[at : at + LONGEST_WORD], count)
            for word, count in sorted(words.items())
            for at in range(0, len(word), LONGEST_WORD)
        ]
        self.letters: Ints = np.array([number[letter] for part, _ in parts for letter in part], dtype=np.int64)
        self.word_lengths: Ints = np.array([len(part) for part, _ in parts], dtype=np.int64)
        self.word_counts: Floats = np.array([count for _, count in parts], dtype=np.float64)
        self.word_of: Ints = np.repeat(np.arange(len(parts)), self.word_lengths)
        ends = np.cumsum(self.word_lengths)
        places = np.arange(len(self.letters))
        self.left: Ints = ends[self.word_of] - places  # letters from here to the end of the word
        self.offsets: Ints = self.word_lengths[self.word_of] - self.left  # letters of the word before here

    def choose(self, most: int) -> _Seeds:
        """Every character, and the substrings that occur more than once and would save most characters."""
        grams = self.letters.copy()  # the number of the substring of the length so far that begins here
        alive = np.arange(len(self.letters))
        counts_of = self.word_counts[self.word_of]
        found: list[tuple[Ints, Ints, Ints, Floats]] = []  # places, substring of each, and for each substring:
        for length in range(2, LONGEST_PIECE + 1):  # a place where it stands, how much it saves
            alive = alive[self.left[alive] >= length]
            keys = grams[alive] * len(self.alphabet) + self.letters[alive + length - 1]
            _, examples, inverse = np.unique(keys, return_index=True, return_inverse=True)
            counts: Floats = np.bincount(inverse, weights=counts_of[alive]).astype(np.float64)
            often = counts >= 2
            number = np.cumsum(often) - 1
            here = often[inverse]
            examples = alive[examples[often]]
            alive, inverse = alive[here], number[inverse[here]]
            grams[alive] = inverse
            found.append((alive, inverse, examples, counts[often] * (length - 1)))
        return self._seeds(found, most)

    def _seeds(self, found: list[tuple[Ints, Ints, Ints, Floats]], most: int) -> _Seeds:
        savings = np.concatenate([np.zeros(0), *(one[3] for one in found)])
        chosen = np.zeros(len(savings), dtype=bool)
        chosen[np.argsort(-savings, kind="stable")[:most]] = True
        singles = len(self.alphabet)
        at = np.full((LONGEST_PIECE + 1, len(self.letters)), -1, dtype=np.int32)
        at[1] = self.letters
        lengths, examples = [np.ones(singles, dtype=np.int64)], [np.full(singles, -1)]
        first, next_number = 0, singles
        for length, (places, grams, where, _) in enumerate(found, start=2):
            here = chosen[first : first + len(where)]
            numbers = np.where(here, np.cumsum(here) - 1 + next_number, -1)
            at[length, places] = numbers[grams]
            examples.append(where[here])
            lengths.append(np.full(int(here.sum()), length))
            first, next_number = first + len(where), next_number + int(here.sum())
        characters = np.concatenate([np.arange(singles), np.full(next_number - singles, -1)])
        return _Seeds(np.concatenate(lengths), np.concatenate(examples), characters, at)


class _Edges:
    """Every place where a piece may stand, as an edge from the border before it to the border after it.

    Args:
        corpus: the words.
        seeds: the pieces.
    """

    def __init__(self, corpus: _Corpus, seeds: _Seeds) -> None:
        self._num_pieces = len(seeds)
        lengths, places = np.nonzero(seeds.at >= 0)
        self._piece = seeds.at[lengths, places]
        word = corpus.word_of[places]
        self._start = places + word  # a word of n letters has n + 1 borders
        self._end = self._start + lengths
        self._first = np.cumsum(corpus.word_lengths + 1) - corpus.word_lengths - 1
        self._last = self._first + corpus.word_lengths
        self._num_borders = len(corpus.letters) + len(corpus.word_lengths)
        self._word, self._counts = word, corpus.word_counts
        offsets = corpus.offsets[places]
        self._forward = list(_grouped(self._end, offsets + lengths))
        self._backward = list(_grouped(self._start, offsets))[::-1]

    def expected(self, probabilities: Floats) -> Floats:
        """(P,) how often each piece is expected, over all ways to cut each word."""
        of_edge = probabilities[self._piece]
        before, after = np.zeros(self._num_borders), np.zeros(self._num_borders)
        before[self._first], after[self._last] = 1.0, 1.0
        for edges, borders, ends in self._forward:
            before[ends] = np.add.reduceat(before[self._start[edges]] * of_edge[edges], borders)
        for edges, borders, starts in self._backward:
            after[starts] = np.add.reduceat(after[self._end[edges]] * of_edge[edges], borders)
        share = (self._counts / before[self._last])[self._word] if len(self._word) else self._counts
        weights = before[self._start] * of_edge * after[self._end] * share
        return np.bincount(self._piece, weights=weights, minlength=self._num_pieces).astype(np.float64)


def _grouped(nodes: Ints, offsets: Ints) -> Iterator[tuple[Ints, Any, Ints]]:
    """Edges by how far into its word their node is, those of one node together.

    Yields:
        The edges, where among them those of the next node begin, and the nodes.
    """
    order = np.lexsort((nodes, offsets))
    for edges in np.split(order, np.flatnonzero(np.diff(offsets[order])) + 1):
        if len(edges):
            begins = np.flatnonzero(np.diff(nodes[edges], prepend=-1))
            yield edges, begins, nodes[edges[begins]]


def _loss(seeds: _Seeds, probabilities: Floats, expected: Floats) -> Floats:
    """(P,) nats that it costs to write each piece by the others, in the best way; endless for a character."""
    logs = np.append(np.log(probabilities), -np.inf)  # the last one for `at` = -1
    longer = np.flatnonzero(~seeds.is_single)
    lengths, places = seeds.lengths[longer], seeds.examples[longer]
    best = np.full((LONGEST_PIECE + 1, len(longer)), -np.inf)  # up to so many letters
    best[0] = 0.0
    last_place = seeds.at.shape[1] - 1
    for end in range(1, LONGEST_PIECE + 1):
        for length in range(1, end + 1):
            part = logs[seeds.at[length, np.minimum(places + end - length, last_place)]]
            is_itself = (length == end) & (lengths == end)
            best[end] = np.maximum(best[end], np.where(is_itself, -np.inf, best[end - length] + part))
    loss = np.full(len(seeds), np.inf)
    others = best[lengths, np.arange(len(longer))]
    loss[longer] = expected[longer] * (logs[longer] - others)
    return loss
