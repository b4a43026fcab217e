"""Logistic regression on hashed n-grams of words: small, fast, and the same in every run.

A text is the counts of its words and pairs of words (in Chinese of characters), each at a place that its hash gives,
weighed by how rare it is. The loss is convex and its slope bounded, so Nesterov's method with one fixed rate finds the
minimum without a choice. This file leaves out what is judged.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.data.steps.filters.quality.page import HAN

PLACE_BITS = 18
ITERATIONS = 200
WEIGHT_DECAY = 1e-5
_TOKENS = re.compile(rf"[{HAN}]|[^\W{HAN}]+|\S")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
MOST_HASHES = 1 << 20


class _Hashes(dict[str, int]):
    """Token -> its hash, the same in every process."""

    def __missing__(self, token: str) -> int:
        if len(self) >= MOST_HASHES:
            self.clear()
        value = self[token] = zlib.crc32(token.encode())
        return value


_HASHES = _Hashes()


class Features(NamedTuple):
    """Texts as places of their n-grams.

    Attributes:
        places: (M,) in [0, 2**18), of all texts one after the other; an n-gram that comes twice is there twice.
        ends: (N + 1,) where each text begins and ends among them.
    """

    places: NDArray[np.int64]
    ends: NDArray[np.int64]

    def some(self, chosen: NDArray[np.bool_]) -> Features:
        """Those of some of the texts: (N,) which."""
        sizes = np.diff(self.ends)
        return Features(self.places[np.repeat(chosen, sizes)], np.concatenate([[0], np.cumsum(sizes[chosen])]))


def features_of(texts: Sequence[str]) -> Features:
    """Words, signs and pairs of them, without regard to case; the words of a text come before its pairs."""
    tokens = [_TOKENS.findall(text.lower()) for text in texts]
    sizes = np.array([len(several) for several in tokens], np.int64)
    total = int(sizes.sum())
    hashes = np.fromiter(map(_HASHES.__getitem__, chain.from_iterable(tokens)), np.uint64, total) * _FACTOR
    hashes ^= hashes >> np.uint64(31)
    of_text = np.repeat(np.arange(len(texts)), sizes)
    ends = np.concatenate([[0], np.cumsum(sizes + np.maximum(sizes - 1, 0))])
    singles = np.arange(total) + (ends[:-1] - np.cumsum(sizes) + sizes)[of_text]
    places = np.empty(int(ends[-1]), np.int64)
    places[singles] = _place(hashes)
    inside = np.flatnonzero(of_text[1:] == of_text[:-1])  # no pair reaches into the next text
    places[singles[inside] + sizes[of_text[inside]]] = _place(hashes[inside] * _FACTOR + hashes[inside + 1])
    return Features(places, ends)


def _place(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    return ((hashes * _FACTOR) >> np.uint64(64 - PLACE_BITS)).astype(np.int64)


@dataclass(frozen=True)
class HashedRegression:
    """What was learned.

    Attributes:
        weights: (2**18,) of each place.
        bias: of every text.
    """

    weights: NDArray[np.float32]
    bias: float

    @classmethod
    def fit(cls, features: Features, labels: ArrayLike) -> Self:
        """Learn from texts; both labels weigh the same, however many texts have them.

        Args:
            features: of N texts.
            labels: (N,) bool; both are there.
        """
        wanted = np.asarray(labels, bool)
        table = _Table.of(features)
        shares = np.where(wanted, 0.5 / wanted.sum(), 0.5 / (~wanted).sum())
        weights, bias = _minimize(table, wanted.astype(np.float64), shares)
        full = np.zeros(1 << PLACE_BITS, np.float32)
        full[table.columns] = weights * table.rarity * table.scale
        return cls(full, bias)

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        """(N,) of the label True, for N texts."""
        # Sums of one text alone: the same to the bit whatever stands beside it.
        weights = np.append(self.weights[features.places].astype(np.float64), 0.0)
        sizes = np.diff(features.ends)
        sums = np.where(sizes > 0, np.add.reduceat(weights, features.ends[:-1]), 0.0) if len(sizes) else np.zeros(0)
        logits = sums / np.sqrt(np.maximum(sizes, 1)) + self.bias
        chances: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        return chances


@dataclass(frozen=True)
class _Table:
    """Texts x places, sparse, twice: by texts and by places, so that sums over either are of neighbours.

    Attributes:
        columns: (C,) places that come in any text.
        rarity: (C,) logarithm of how many texts there are for each that has it.
        scale: makes the mean square of a text's values 1.
        values: (E,) by texts.
        column_of: (E,) index into `columns`, by texts.
        row_begins: (N,) first entry of each text; every text has one.
        order: (E,) by places -> by texts.
        row_of: (E,) text, by places.
        column_begins: (C,) first entry of each place.
    """

    columns: NDArray[np.int64]
    rarity: NDArray[np.float64]
    scale: float
    values: NDArray[np.float64]
    column_of: NDArray[np.int64]
    row_begins: NDArray[np.int64]
    order: NDArray[np.int64]
    row_of: NDArray[np.int64]
    column_begins: NDArray[np.int64]

    @classmethod
    def of(cls, features: Features) -> Self:
        sizes = np.diff(features.ends)
        rows = np.repeat(np.arange(len(sizes)), sizes)
        entries, counts = np.unique((rows << PLACE_BITS) | features.places, return_counts=True)
        rows, places = entries >> PLACE_BITS, entries & ((1 << PLACE_BITS) - 1)
        columns, column_of, texts_with = np.unique(places, return_inverse=True, return_counts=True)
        rarity = np.log((1 + len(sizes)) / texts_with)
        values = counts * rarity[column_of] / np.sqrt(sizes[rows])
        scale = 1 / max(float(np.sqrt((values**2).sum() / len(sizes))), 1e-12)
        order = np.argsort(column_of, kind="stable")
        return cls(
            columns, rarity, scale, values * scale, column_of, np.searchsorted(rows, np.arange(len(sizes))),
            order, rows[order], np.concatenate([[0], np.cumsum(texts_with)[:-1]]),
        )  # fmt: skip


def _minimize(
    table: _Table, wanted: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of the least loss: sum of shares * cross-entropy + decay / 2 * weights squared.

    The rate is one over a bound of the curvature: a quarter of the largest mean square that any direction has, at most
    that of all together (Nesterov, 1983).
    """
    by_place = table.values[table.order]
    squares = np.add.reduceat(table.values**2, table.row_begins)
    rate = 1 / (0.25 * (float((shares * squares).sum()) + 1) + WEIGHT_DECAY)
    weights = before = np.zeros(len(table.columns))
    bias = bias_before = 0.0
    for iteration in range(ITERATIONS):
        momentum = iteration / (iteration + 3)
        ahead, bias_ahead = weights + momentum * (weights - before), bias + momentum * (bias - bias_before)
        logits = np.add.reduceat(table.values * ahead[table.column_of], table.row_begins) + bias_ahead
        errors = shares * (1 / (1 + np.exp(-np.clip(logits, -30, 30))) - wanted)
        slope = np.add.reduceat(by_place * errors[table.row_of], table.column_begins) + WEIGHT_DECAY * ahead
        before, bias_before = weights, bias
        weights, bias = ahead - rate * slope, bias_ahead - rate * float(errors.sum())
    return weights, bias


def cross_validated(features: Features, labels: ArrayLike, folds: ArrayLike) -> NDArray[np.float64]:
    """Probabilities of the label True, each from texts of other folds.

    Args:
        features: of N texts.
        labels: (N,) bool.
        folds: (N,) of each text.

    Returns:
        (N,) probabilities.
    """
    wanted, parts = np.asarray(labels, bool), np.asarray(folds)
    told = np.full(len(wanted), 0.5)
    for fold in np.unique(parts):
        here = parts == fold
        if wanted[~here].all() or not wanted[~here].any():
            continue  # nothing to learn from
        learned = HashedRegression.fit(features.some(~here), wanted[~here])
        told[here] = learned.probabilities(features.some(here))
    return told
