"""Where a model is wrong: its worst examples, what it takes for what, and how it does on parts of the data.

A metric of one example is the same function that gives the metric of a corpus, taken of that example's numbers alone. A
part of the data has its own interval, which says when it is too small to say anything. This file leaves out how tables
are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.intervals import Interval, bootstrap_each, summarize
from stepwell.evaluation.scores.classification import ClassificationScores
from stepwell.evaluation.scores.decisions import f1_of, precision_of, recall_of
from stepwell.evaluation.scores.metrics import FloatArray, Scores
from stepwell.evaluation.scores.tagging import TaggingScores
from stepwell.tasks import Scheme, spans_of

MISSED = ""
"""Stands for the type of a span that is not there."""


def metric_of_each(scores: Scores, metric: str) -> FloatArray:
    """A metric of each example alone.

    Args:
        scores: of N examples.
        metric: a name of `scores.metrics`.

    Returns:
        (N,); NaN where an example says nothing about it.

    Raises:
        ValueError: when there is no such metric.
    """
    if metric not in scores.metrics:
        raise ValueError(f"no metric {metric!r}; there are {', '.join(scores.metrics)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        values = scores.metrics[metric].compute(scores.totals(scores.columns))
    return np.asarray(values, np.float64)


def worst_examples(scores: Scores, metric: str, num: int = 10) -> list[int]:
    """Rows of the examples that do worst, the worst first; of equal ones the earlier first.

    Args:
        scores: of N examples.
        metric: a name of `scores.metrics`, such as `loss`; one that says which way is up.
        num: at most how many, from 1. Examples that say nothing about the metric are left out.

    Raises:
        ValueError: when there is no such metric, or neither way is up.
    """
    values = metric_of_each(scores, metric)
    better = scores.metrics[metric].higher_is_better
    if better is None:
        raise ValueError(f"{metric}: neither high nor low is worse")
    order = np.argsort(values if better else -values, kind="stable")  # NaN comes last
    return [int(row) for row in order if not np.isnan(values[row])][:num]


@dataclass(frozen=True)
class Confusion:
    """One class taken for another.

    Attributes:
        true: what was right.
        chosen: what was chosen instead.
        count: how often.
        true_ratio: share of all that is `true`.
        rows: examples of it, in order.
    """

    true: str
    chosen: str
    count: int
    true_ratio: float
    rows: tuple[int, ...]


def confused_classes(
    true: Sequence[str], chosen: Sequence[str], num: int = 10, *, num_rows: int = 5
) -> list[Confusion]:
    """What is most often taken for what, the commonest first; of equal ones by name.

    Args:
        true: (N,) right classes.
        chosen: (N,) likewise.
        num: at most how many pairs, from 1.
        num_rows: at most how many examples of each.

    Raises:
        ValueError: when they are not as many.
    """
    pairs = [(row, right, guess) for row, (right, guess) in enumerate(zip(true, chosen, strict=True))]
    return _commonest(pairs, num, num_rows)


def confused_spans(
    true: Sequence[Sequence[str]],
    chosen: Sequence[Sequence[str]],
    num: int = 10,
    *,
    scheme: Scheme = "lenient",
    num_rows: int = 5,
) -> list[Confusion]:
    """How spans go wrong: given another type, missed (chosen is ""), or found where there is none (true is "").

    Args:
        true: (N,) right tags of each sentence.
        chosen: (N,) predicted ones.
        num: at most how many kinds, from 1.
        scheme: how tags are read.
        num_rows: at most how many sentences of each.

    Raises:
        DataError: when a tag cannot be read.
        ValueError: when sentences are not as many.
    """
    pairs = []
    for row, (right, guess) in enumerate(zip(true, chosen, strict=True)):
        there, found = ({(begin, end): kind for kind, begin, end in spans_of(tags, scheme)} for tags in (right, guess))
        pairs += [(row, there.get(at, MISSED), found.get(at, MISSED)) for at in sorted(there.keys() | found.keys())]
    return _commonest(pairs, num, num_rows)


def _commonest(pairs: Sequence[tuple[int, str, str]], num: int, num_rows: int) -> list[Confusion]:
    there = Counter(right for _, right, _ in pairs)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, right, guess in pairs:
        if right != guess:
            rows.setdefault((right, guess), []).append(row)
    order = sorted(rows, key=lambda pair: (-len(rows[pair]), pair))[:num]
    return [
        Confusion(*pair, len(rows[pair]), len(rows[pair]) / there[pair[0]], tuple(dict.fromkeys(rows[pair]))[:num_rows])
        for pair in order
    ]


@dataclass(frozen=True)
class ClassRow:
    """How well one class, label or type of spans is told.

    Attributes:
        name: of the class.
        true_count: how often it is right.
        chosen_count: how often it was chosen.
        precision: share of the choices that are right; 0 without any.
        recall: share of the right ones that were chosen; 0 without any.
        f1: harmonic mean of the two.
    """

    name: str
    true_count: int
    chosen_count: int
    precision: Interval
    recall: Interval
    f1: Interval


def class_table(scores: ClassificationScores | TaggingScores, names: Sequence[str], *, seed: int = 0) -> list[ClassRow]:
    """Precision, recall and F1 of each class, with their intervals.

    Args:
        scores: of N examples and K classes, labels or types of spans.
        names: (K,) of them, in the order of the columns (of spans: `span_types`).
        seed: decides the draws.

    Raises:
        ValueError: when names are not as many as classes, or there is no example.
    """
    if scores.true.shape[1] != len(names):
        raise ValueError(f"a name for each of {scores.true.shape[1]} classes, not {len(names)}")
    values = (precision_of, recall_of, f1_of)
    found = bootstrap_each(scores, lambda totals: np.concatenate([of(totals) for of in values], axis=-1), seed=seed)
    columns = [found[at * len(names) : (at + 1) * len(names)] for at in range(len(values))]
    counts = [[int(count) for count in table.sum(0)] for table in (scores.true, scores.chosen)]
    return [ClassRow(*row) for row in zip(names, *counts, *columns, strict=True)]


Key = str | int | tuple[int, int]


@dataclass(frozen=True)
class Slice:
    """A part of the data.

    Attributes:
        key: what its examples have in common.
        num_examples: how many they are.
        metrics: of them, with intervals.
    """

    key: Key
    num_examples: int
    metrics: dict[str, Interval]


def slices(
    scores: Scores, keys: Sequence[Key], metrics: Collection[str] | None = None, *, seed: int = 0
) -> list[Slice]:
    """Metrics of each part of the data, in the order of the keys.

    Args:
        scores: of N examples.
        keys: (N,) all strings (languages, labels), all numbers, or all ranges (`length_ranges`).
        metrics: names of `scores.metrics`; default all that are measured in a part.
        seed: decides the draws.

    Raises:
        ValueError: when keys are not as many as examples, or there is no such metric.
    """
    if len(keys) != len(scores):
        raise ValueError(f"a key for each of {len(scores)} examples, not {len(keys)}")
    rows: dict[Key, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    ordered: list[Key] = sorted(rows)
    return [Slice(key, len(rows[key]), summarize(scores.take(rows[key]), metrics, seed=seed)) for key in ordered]


def length_ranges(lengths: ArrayLike, num: int = 4) -> list[tuple[int, int]]:
    """The range of lengths that each example falls into; ranges hold about equally many, equal lengths stay together.

    Args:
        lengths: (N,) in any unit.
        num: how many ranges, from 1; fewer where many lengths are equal. Default quartiles.

    Returns:
        (N,) shortest and longest that is there, both included.
    """
    sizes: NDArray[np.int64] = np.asarray(lengths, np.int64)
    if not len(sizes):
        return []
    cuts = np.quantile(sizes, np.arange(1, num) / num, method="inverted_cdf")
    part = np.searchsorted(cuts, sizes, side="left")
    ends = {int(at): (int(sizes[part == at].min()), int(sizes[part == at].max())) for at in np.unique(part)}
    return [ends[int(at)] for at in part]
