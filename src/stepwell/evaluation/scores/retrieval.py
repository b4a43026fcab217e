"""How well the documents that answer a query are found: recall, nDCG and reciprocal rank, query by query.

All that counts is at which ranks the relevant documents of a query stand, so a corpus is never held as a whole. Where
documents are equally near, the relevant one stands last: a model that gives every text the same vector finds nothing.
This file leaves out how texts become vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores

CUTOFFS = (1, 5, 10, 100)
"""Ranks up to which recall is taken."""

DEPTH = 10
"""Ranks up to which nDCG and the reciprocal rank are taken."""


@dataclass(frozen=True)
class RetrievalScores(Scores):
    """What was found for each of N queries.

    Attributes:
        count: (N,) 1.
        recall: (N, 4) share of the relevant documents among the first 1, 5, 10 and 100.
        ndcg: (N,) discounted gain of the first 10, by the highest possible (Järvelin & Kekäläinen, 2002).
        reciprocal_rank: (N,) 1 / rank of the first relevant document, 0 from the 11th on.
    """

    count: FloatArray
    recall: FloatArray
    ndcg: FloatArray
    reciprocal_rank: FloatArray

    @classmethod
    def of(
        cls, ranks: Sequence[Sequence[int | None]], gains: Sequence[Sequence[float]] | None = None
    ) -> RetrievalScores:
        """Scores of rankings.

        Args:
            ranks: (N,) of each query, the ranks of its relevant documents, from 1; None for one that was not found.
            gains: (N,) likewise, how relevant each of them is, above 0; default all alike.

        Raises:
            ValueError: when a query has no relevant document, or ranks and gains do not fit.
        """
        if gains is not None and [len(row) for row in gains] != [len(row) for row in ranks]:
            raise ValueError("a gain for each rank")
        weights = [[1.0] * len(row) for row in ranks] if gains is None else gains
        rows = [_of_query(row, *pair) for row, pair in enumerate(zip(ranks, weights, strict=True))]
        table = np.array(rows, np.float64).reshape(len(rows), len(CUTOFFS) + 2)
        return cls(np.ones(len(rows)), table[:, : len(CUTOFFS)], table[:, -2], table[:, -1])


def _of_query(query: int, ranks: Sequence[int | None], gains: Sequence[float]) -> list[float]:
    if not len(ranks):
        raise ValueError(f"query {query} has no relevant document; leave it out")
    places = np.array([np.inf if rank is None else rank for rank in ranks], np.float64)
    worth = np.asarray(gains, np.float64)
    if places.min() < 1 or len(set(places[np.isfinite(places)])) < np.isfinite(places).sum():
        raise ValueError(f"query {query}: ranks count from 1, each once, not {list(ranks)}")
    if not (worth > 0).all():
        raise ValueError(f"query {query}: gains of relevant documents are above 0, not {list(gains)}")
    near = places <= DEPTH
    best = np.sort(worth)[::-1][:DEPTH]
    ideal = (best / np.log2(np.arange(len(best)) + 2)).sum()
    found = (worth[near] / np.log2(places[near] + 1)).sum()
    recall = [(places <= cutoff).mean() for cutoff in CUTOFFS]
    return [*recall, found / ideal, 1 / places.min() if near.any() else 0.0]


def ranks_of(similarities: ArrayLike, gains: ArrayLike) -> tuple[list[list[int | None]], list[list[float]]]:
    """Ranks and gains of the relevant documents, for `RetrievalScores.of`; queries may come in parts.

    Args:
        similarities: (Q, D) of each query to each document; the higher, the nearer.
        gains: (Q, D) how relevant it is; 0 or False where it is not.

    Raises:
        ValueError: when shapes differ or a similarity is NaN.
    """
    near, worth = np.asarray(similarities, np.float64), np.asarray(gains, np.float64)
    if near.shape != worth.shape or near.ndim != 2:
        raise ValueError(f"(Q, D) similarities and gains, not {near.shape} and {worth.shape}")
    if np.isnan(near).any():
        raise ValueError("a similarity is NaN, so nothing can be ranked by it")
    ranks: list[list[int | None]] = []
    weights: list[list[float]] = []
    for row, values in zip(near, worth, strict=True):
        relevant = np.flatnonzero(values > 0)
        place: NDArray[np.int64] = np.empty(len(row), np.int64)
        place[np.lexsort((values, -row))] = np.arange(1, len(row) + 1)  # of equally near ones, the least relevant first
        ranks.append([int(rank) for rank in place[relevant]])
        weights.append([float(value) for value in values[relevant]])
    return ranks, weights


def _recall_at(column: int) -> Callable[[Any], Any]:
    return lambda totals: totals.recall[..., column] / totals.count


RetrievalScores.metrics = {
    **{
        f"recall_at_{cutoff}": Metric(
            _recall_at(column), higher_is_better=True, unit="share of the relevant documents", per="example"
        )
        for column, cutoff in enumerate(CUTOFFS)
    },
    "ndcg_at_10": Metric(
        lambda totals: totals.ndcg / totals.count,
        higher_is_better=True,
        unit="share of the highest discounted gain",
        per="example",
    ),
    "mrr_at_10": Metric(
        lambda totals: totals.reciprocal_rank / totals.count,
        higher_is_better=True,
        unit="mean of 1 / rank",
        per="example",
    ),
}
