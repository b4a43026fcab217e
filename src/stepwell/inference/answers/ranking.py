"""The best of many documents, and two rankings made one.

Rankings are joined by the reciprocals of their ranks (Cormack et al., 2009), which needs no common scale. This file
leaves out what documents are ranked by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RANK_SHIFT = 60
"""What is added to each rank before its reciprocal is taken; as in the paper."""


def highest(values: NDArray[np.floating[Any]], k: int) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """The k documents of the highest values for each query.

    Args:
        values: (Q, N).
        k: at least 1; fewer are found where there are fewer.

    Returns:
        (Q, min(k, N)) their numbers, the highest first, of equal ones the first; and their values.
    """
    chosen = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return chosen, np.take_along_axis(values, chosen, axis=1)


def joined(near: NDArray[np.floating[Any]], words: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Two rankings as one: of each document the sum of 1 / (60 + rank) in both.

    Args:
        near: (Q, N) of each document, the higher the better.
        words: (Q, N) likewise; a document with 0 shares no word, and has no rank.

    Returns:
        (Q, N) the higher the better.
    """
    first, second = (1 / (RANK_SHIFT + _ranks(one)) for one in (near, words))
    return (first + np.where(words > 0, second, 0)).astype(np.float32)


def _ranks(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """(Q, N) from 1, of equal ones the first first."""
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty(values.shape, np.int64)
    np.put_along_axis(ranks, order, np.arange(1, values.shape[1] + 1)[None], axis=1)
    return ranks
