"""Metrics of order: the area under the ROC curve, and Spearman's correlation.

Both are functions of ranks, and those of a drawn corpus are no sum over its examples. But the examples are sorted only
once: how often each was drawn decides all ranks, ties shared, so a bootstrap needs no second sorting. This file leaves
out the curve itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.intervals import RESAMPLES, Interval, bootstrap_counts
from stepwell.evaluation.metrics import FloatArray, share

Statistic = Callable[[FloatArray], FloatArray]
"""From how often each example counts, (R, N), to R values."""


def roc_auc(probabilities: ArrayLike, true: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval | None:
    """How surely a right class ranks above a wrong one: the mean over classes of one against the rest.

    Args:
        probabilities: (N, K), of each class or label.
        true: (N,) the right class in [0, K), or (N, K) whether each label is right.
        resamples: how many corpora are drawn, from 1.
        seed: decides the draws.

    Returns:
        In [0, 1]; 0.5 is chance. A class that is right everywhere or nowhere does not count; None when none counts.

    Raises:
        ValueError: when shapes do not fit, a class is not in [0, K), a number is NaN, or there is no example.
    """
    return _measured(_auc_of(probabilities, true), probabilities, resamples, seed)


def paired_roc_auc(
    first: ArrayLike, second: ArrayLike, true: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """`roc_auc` of the first less that of the second, on the same draws of examples.

    Args:
        first: (N, K), of one model.
        second: (N, K), of another.
        true: as in `roc_auc`.
        resamples: how many corpora are drawn, from 1.
        seed: decides the draws.

    Raises:
        ValueError: as in `roc_auc`.
    """
    return _measured(_difference(_auc_of(first, true), _auc_of(second, true)), first, resamples, seed)


def spearman(guess: ArrayLike, true: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """How alike two orders are: the correlation of ranks, those of equal numbers being shared.

    Args:
        guess: (N,) numbers, such as similarities of pairs.
        true: (N,) the right ones.
        resamples: how many sets are drawn, from 1.
        seed: decides the draws.

    Returns:
        In [-1, 1]; 0 where either has no order because all its numbers are the same.

    Raises:
        ValueError: when they are not as many, a number is NaN, or there is no example.
    """
    return bootstrap_counts(_spearman_of(guess, true), np.size(guess), resamples=resamples, seed=seed)


def paired_spearman(
    first: ArrayLike, second: ArrayLike, true: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """`spearman` of the first less that of the second, on the same draws of examples.

    Args:
        first: (N,) numbers of one model.
        second: (N,) of another.
        true: (N,) the right ones.
        resamples: how many sets are drawn, from 1.
        seed: decides the draws.

    Raises:
        ValueError: as in `spearman`.
    """
    statistic = _difference(_spearman_of(first, true), _spearman_of(second, true))
    return bootstrap_counts(statistic, np.size(first), resamples=resamples, seed=seed)


def _measured(statistic: Statistic, probabilities: ArrayLike, resamples: int, seed: int) -> Interval | None:
    found = bootstrap_counts(statistic, len(np.asarray(probabilities)), resamples=resamples, seed=seed)
    return None if np.isnan(found.value) else found


def _difference(first: Statistic, second: Statistic) -> Statistic:
    return lambda counts: first(counts) - second(counts)


def _shared_ranks(values: FloatArray) -> Callable[[FloatArray, NDArray[np.int64]], FloatArray]:
    """From how often each example counts, (R, N), and M rows to their ranks, (R, M), from 1; ties are shared."""
    order = np.argsort(values, kind="stable")
    steps = np.ones(len(values), np.bool_)
    steps[1:] = values[order][1:] != values[order][:-1]
    starts = np.flatnonzero(steps)
    group: NDArray[np.int64] = np.empty(len(values), np.int64)
    group[order] = np.cumsum(steps) - 1

    def ranks(counts: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
        together = np.add.reduceat(counts[:, order], starts, axis=1)
        up_to = np.cumsum(together, axis=1)
        return np.asarray((up_to - (together - 1) / 2)[:, group[rows]])

    return ranks


def _auc_of(probabilities: ArrayLike, true: ArrayLike) -> Statistic:
    chances, right = np.asarray(probabilities, np.float64), np.asarray(true)
    if chances.ndim != 2 or right.shape not in ((len(chances),), chances.shape):
        raise ValueError(f"(N, K) probabilities and (N,) or (N, K) truth, not {chances.shape} and {right.shape}")
    if np.isnan(chances).any():
        raise ValueError("a probability is NaN, so nothing can be ranked by it")
    classes = np.arange(chances.shape[1])
    if right.ndim == 1:
        if not np.isin(right, classes).all():
            raise ValueError(f"classes in [0, {len(classes)}), not {right.min()} to {right.max()}")
        right = right[:, None] == classes
    each = [(_shared_ranks(chances[:, at]), np.flatnonzero(right[:, at])) for at in classes]

    def area(counts: FloatArray) -> FloatArray:
        total, measured = np.zeros(len(counts)), np.zeros(len(counts))
        for ranks, rows in each:
            drawn = counts[:, rows]
            positive = drawn.sum(1)
            above = (ranks(counts, rows) * drawn).sum(1) - positive * (positive + 1) / 2  # Mann and Whitney's U
            one = share(above, positive * (counts.sum(1) - positive))
            total += np.nan_to_num(one)
            measured += ~np.isnan(one)
        return np.asarray(share(total, measured))

    return area


def _spearman_of(guess: ArrayLike, true: ArrayLike) -> Statistic:
    found, right = np.asarray(guess, np.float64), np.asarray(true, np.float64)
    if found.shape != right.shape or right.ndim != 1:
        raise ValueError(f"as many numbers as right ones, not {found.shape} and {right.shape}")
    if np.isnan(found).any() or np.isnan(right).any():
        raise ValueError("a number is NaN, so nothing can be ranked by it")
    orders, rows = [_shared_ranks(values) for values in (found, right)], np.arange(len(right))

    def correlation(counts: FloatArray) -> FloatArray:
        middle = (counts.sum(1, keepdims=True) + 1) / 2
        x, y = (ranks(counts, rows) - middle for ranks in orders)
        spread = np.sqrt((counts * x**2).sum(1) * (counts * y**2).sum(1))
        return np.asarray(np.nan_to_num(share((counts * x * y).sum(1), spread)))

    return correlation
