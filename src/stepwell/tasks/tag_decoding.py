"""The best sequence of tags: dynamic programming over a linear chain (Viterbi, 1967; Lafferty et al., 2001).

Each word has a score for each tag, each pair of neighbours has one for following one another, and what a scheme forbids
has none at all. The forward and backward sums over all allowed sequences say how probable a span is. NumPy alone, many
sentences at once. This file leaves out where scores come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FORBIDDEN = -1e30
"""Score of what may not be; finite, so that sums of it stay numbers."""

AT_ONCE = 256
"""Sentences that are decoded together."""


def best_tags(scores: Sequence[NDArray[np.floating[Any]]], transitions: Floats) -> list[NDArray[np.int64]]:
    """The likeliest tags of each sentence.

    Args:
        scores: (T, K) of each of N sentences; T may be 0.
        transitions: (K + 1, K + 1) score of each tag after each; the last row is the beginning, the last column the
            end; `FORBIDDEN` for what may not be.

    Returns:
        (T,) of each sentence, tags in [0, K).
    """
    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(scores)
    order = sorted((number for number in range(len(scores)) if len(scores[number])), key=lambda n: len(scores[n]))
    for first in range(0, len(order), AT_ONCE):
        numbers = order[first : first + AT_ONCE]
        padded, lengths = _padded([scores[number] for number in numbers])
        for number, row, length in zip(numbers, _best(padded, lengths, transitions), lengths.tolist(), strict=True):
            found[number] = row[:length]
    return found


def _padded(scores: Sequence[NDArray[Any]]) -> tuple[Floats, NDArray[np.int64]]:
    lengths = np.array([len(one) for one in scores])
    padded = np.zeros((len(scores), int(lengths.max()), scores[0].shape[1]))
    for row, one in enumerate(scores):
        padded[row, : len(one)] = one
    return padded, lengths


def _best(scores: Floats, lengths: NDArray[np.int64], transitions: Floats) -> NDArray[np.int64]:
    """(N, T) tags; what stands after a sentence's end means nothing."""
    between, ending = transitions[:-1, :-1], transitions[:-1, -1]
    rows, longest, size = scores.shape
    came_from = np.zeros((longest, rows, size), np.int64)
    best = transitions[-1, :-1] + scores[:, 0]
    for at in range(1, longest):
        paths = best[:, :, None] + between
        came_from[at] = paths.argmax(1)
        inside = (at < lengths)[:, None]
        best = np.where(inside, paths.max(1) + scores[:, at], best)
        came_from[at] = np.where(inside, came_from[at], np.arange(size))
    chosen = np.zeros((rows, longest), np.int64)
    tag = (best + ending).argmax(1)
    for at in range(longest - 1, -1, -1):
        chosen[:, at] = tag
        tag = came_from[at][np.arange(rows), tag]
    return chosen


def log_partitions(scores: Sequence[NDArray[np.floating[Any]]], transitions: Floats) -> Floats:
    """(N,) the logarithm of the sum over all sequences of tags of each sentence; 0 for one without words.

    Args:
        scores: as in `best_tags`.
        transitions: as in `best_tags`.
    """
    found = np.zeros(len(scores))
    order = sorted((number for number in range(len(scores)) if len(scores[number])), key=lambda n: len(scores[n]))
    for first in range(0, len(order), AT_ONCE):
        numbers = order[first : first + AT_ONCE]
        padded, lengths = _padded([scores[number] for number in numbers])
        sums = transitions[-1, :-1] + padded[:, 0]
        for at in range(1, padded.shape[1]):
            moved = _log_sum(sums[:, :, None] + transitions[:-1, :-1], 1) + padded[:, at]
            sums = np.where((at < lengths)[:, None], moved, sums)
        found[numbers] = _log_sum(sums + transitions[:-1, -1], 1)
    return found


class Chain:
    """All tag sequences of one sentence, each as probable as its scores say.

    Args:
        scores: (T, K), T at least 1.
        transitions: as in `best_tags`.
    """

    def __init__(self, scores: NDArray[np.floating[Any]], transitions: Floats) -> None:
        self._scores, self._transitions = np.asarray(scores, np.float64), transitions
        between = transitions[:-1, :-1]
        self._forward = np.empty_like(self._scores)
        self._backward = np.empty_like(self._scores)
        self._forward[0] = transitions[-1, :-1] + self._scores[0]
        for at in range(1, len(self._scores)):
            self._forward[at] = _log_sum(self._forward[at - 1][:, None] + between, 0) + self._scores[at]
        self._backward[-1] = transitions[:-1, -1]
        for at in range(len(self._scores) - 2, -1, -1):
            self._backward[at] = _log_sum(between + self._scores[at + 1] + self._backward[at + 1], 1)
        self.log_partition = float(_log_sum(self._forward[-1] + self._backward[-1], 0))

    def log_probability(self, tags: Sequence[int], first: int = 0) -> float:
        """How probable it is that these tags stand there, whatever stands around them, as a logarithm.

        Args:
            tags: one or more, in [0, K).
            first: the place of the first of them.
        """
        last = first + len(tags) - 1
        score = self._forward[first, tags[0]] + self._backward[last, tags[-1]]
        for at, (before, after) in enumerate(pairwise(tags), start=first + 1):
            score += self._transitions[before, after] + self._scores[at, after]
        return float(score - self.log_partition)


def _log_sum(values: Floats, axis: int) -> Floats:
    most = values.max(axis, keepdims=True)
    summed: Floats = np.log(np.exp(values - most).sum(axis)) + most.squeeze(axis)
    return summed
