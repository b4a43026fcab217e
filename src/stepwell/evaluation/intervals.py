"""How sure a value is: the bootstrap over documents (Efron, 1979).

Documents, not tokens, are drawn again with replacement, because tokens of one document depend on each other. Two
models are compared on the same draws, which cancels what makes a document hard for both (Koehn, 2004). With fewer
than two documents nothing can be said, and the ends of the interval are None. A drawn corpus that says nothing about a
metric (none of its questions is without an answer) is not counted. This file leaves out corrections for bias.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores

RESAMPLES = 2000
CONFIDENCE = 0.95

COUNTS_AT_ONCE = 2**22
"""How often each document was drawn is held for so many documents and resamples at a time."""


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval.

    Attributes:
        value: as measured on the documents; NaN when they say nothing about it.
        low: lower end; None when fewer than two documents, or none, say something about it.
        high: upper end, or None likewise.
    """

    value: float
    low: float | None
    high: float | None


def bootstrap(scores: Scores, metric: str, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """A metric and its percentile interval.

    Args:
        scores: from 1 example.
        metric: a name of `scores.metrics`.
        resamples: how many corpora are drawn, from 1.
        seed: decides the draws.

    Raises:
        ValueError: when there is no document, or no such metric.
    """
    chosen = _metric(scores, metric)
    columns = scores.columns
    _check_not_empty(columns)
    value = float(chosen.compute(scores.totals(columns.sum(0))))
    if len(columns) < 2:
        return Interval(value, None, None)
    return _percentiles(value, chosen.compute(scores.totals(_resampled_sums(columns, resamples, seed))))


def paired_bootstrap(
    first: Scores,
    second: Scores,
    metric: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The difference `metric(first) - metric(second)` on the same documents, and its percentile interval.

    When `higher_is_better` is False, the second is better beyond the noise where `low` is above 0.

    Args:
        first: of one model.
        second: of another model, on the same documents in the same order.
        metric: a name of `scores.metrics`.
        resamples: how many corpora are drawn, from 1.
        seed: decides the draws.

    Raises:
        ValueError: when the documents differ, when their tokens differ and the metric is one per token, or when there
            is no document or no such metric.
    """
    chosen = _metric(first, metric)
    first.check_pair(second, metric)
    both = np.concatenate((first.columns, second.columns), axis=1)
    _check_not_empty(both)
    cut = first.columns.shape[1]

    def difference(sums: FloatArray) -> FloatArray:
        one, other = (
            chosen.compute(scores.totals(part))
            for scores, part in ((first, sums[..., :cut]), (second, sums[..., cut:]))
        )
        return np.asarray(one - other)

    value = float(difference(both.sum(0)))
    if len(both) < 2:
        return Interval(value, None, None)
    return _percentiles(value, difference(_resampled_sums(both, resamples, seed)))


def paired_means(first: ArrayLike, second: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The difference of two means over the same examples, and its percentile interval.

    Args:
        first: (N,) a number for each example, N from 1.
        second: (N,) likewise.
        resamples: how many sets are drawn, from 1.
        seed: decides the draws.

    Returns:
        `mean(first) - mean(second)`.

    Raises:
        ValueError: when there is no example, or the lengths differ.
    """
    differences = np.subtract(np.asarray(first, np.float64), np.asarray(second, np.float64), dtype=np.float64)
    _check_not_empty(differences)
    if len(differences) < 2:
        return Interval(float(differences.mean()), None, None)
    sums = _resampled_sums(differences[:, None], resamples, seed)[:, 0]
    return _percentiles(float(differences.mean()), sums / len(differences))


def bootstrap_each(
    scores: Scores, compute: Callable[[Any], Any], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interval]:
    """Several values of one kind, such as the F1 of each class, with their percentile intervals.

    Args:
        scores: from 1 example.
        compute: from totals, each field of shape (...), to values of shape (..., M).
        resamples: how many corpora are drawn, from 1.
        seed: decides the draws.

    Returns:
        M intervals.

    Raises:
        ValueError: when there is no example.
    """
    columns = scores.columns
    _check_not_empty(columns)
    values = np.asarray(compute(scores.totals(columns.sum(0))), np.float64)
    if len(columns) < 2:
        return [Interval(float(value), None, None) for value in values]
    drawn = compute(scores.totals(_resampled_sums(columns, resamples, seed)))
    return [_percentiles(float(value), drawn[:, at]) for at, value in enumerate(values)]


def summarize(scores: Scores, metrics: Collection[str] | None = None, *, seed: int = 0) -> dict[str, Interval]:
    """Several metrics with their intervals, by name; default all of which the examples say something.

    A value that is NaN because a model computed one is no such case: it is shown.

    Raises:
        ValueError: when there is no document, or no such metric.
    """
    if metrics is None:
        columns = scores.columns
        _check_not_empty(columns)
        totals, faulty = scores.totals(columns.sum(0)), not np.isfinite(columns).all()
        metrics = [name for name, one in scores.metrics.items() if faulty or not np.isnan(one.compute(totals))]
    return {metric: bootstrap(scores, metric, seed=seed) for metric in metrics}


def _resampled_sums(columns: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Draw N of N documents with replacement, many times, and sum.

    Args:
        columns: (N, C), one row each document.
        resamples: R.
        seed: decides the draws.

    Returns:
        (R, C).
    """
    return np.concatenate([counts @ columns for counts in _drawn_counts(len(columns), resamples, seed)])


def _drawn_counts(num: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each of N documents was drawn, (some resamples, N) at a time."""
    rng = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // num)
    for at in range(0, resamples, at_once):
        rows = min(at_once, resamples - at)
        drawn = rng.integers(0, num, size=(rows, num)) + num * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * num).reshape(rows, num)


def _percentiles(value: float, values: NDArray[np.float64]) -> Interval:
    said = values[~np.isnan(values)]
    if np.isnan(value) or not len(said):
        return Interval(value, None, None)
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(said, (outside, 1 - outside))
    return Interval(value, float(low), float(high))


def _metric(scores: Scores, name: str) -> Metric:
    if name not in scores.metrics:
        raise ValueError(f"no metric {name!r}; there are {', '.join(scores.metrics)}")
    return scores.metrics[name]


def _check_not_empty(columns: FloatArray) -> None:
    if not len(columns):
        raise ValueError("no examples, so there is nothing to measure")
