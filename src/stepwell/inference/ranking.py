"""The nearest of many vectors, and rankings of several ways to search made one.

Vectors of length 1 are compared by their dot product, part by part. Two rankings are joined by the reciprocals of
their ranks (Cormack et al., 2009), which needs no common scale. This file leaves out how texts become vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

COMPARED_AT_ONCE = 64
"""Queries whose similarities to all documents are held at once."""

RANK_SHIFT = 60
"""What is added to each rank before its reciprocal is taken; as in the paper."""


def nearest(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest vectors of each query.

    Args:
        queries: (Q, D) of length 1.
        vectors: (N, D) of length 1.
        k: at least 1; fewer are found where there are fewer.

    Returns:
        (Q, min(k, N)) numbers of vectors, the nearest first, of equally near ones the first; and their cosines.
    """
    found = [
        _highest(queries[first : first + COMPARED_AT_ONCE] @ vectors.T, k)
        for first in range(0, len(queries), COMPARED_AT_ONCE)
    ]
    if not found:
        return np.zeros((0, min(k, len(vectors))), np.int64), np.zeros((0, min(k, len(vectors))), np.float32)
    return np.concatenate([numbers for numbers, _ in found]), np.concatenate([values for _, values in found])


def _highest(values: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(Q, k) columns with the highest values in each row, and the values."""
    chosen = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return chosen, np.take_along_axis(values, chosen, axis=1)


def fused(rankings: Sequence[Sequence[int]], k: int) -> list[tuple[int, float]]:
    """One ranking of several.

    Args:
        rankings: numbers of documents, the best first, by each way to search.
        k: how many are wanted.

    Returns:
        The best k, each with its sum of 1 / (60 + rank); of equal ones the lower number first.
    """
    worth: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, start=1):
            worth[number] = worth.get(number, 0.0) + 1 / (RANK_SHIFT + rank)
    return sorted(worth.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
