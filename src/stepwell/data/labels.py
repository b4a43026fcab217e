"""Labelled data: which column has the labels, how even the classes are, and which labels are likely wrong.

Wrong labels are found by confident learning (Northcutt, Jiang and Chuang, 2021): a text whose probability for another
class is above what that class usually gets counts as one of that class, and so many texts of each class are suspects,
the least confident first. This file leaves out where the probabilities come from (`text_classifier.py`).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import DataError

LABEL_COLUMNS = (
    "label",
    "labels",
    "category",
    "class",
    "target",
    "label_text",
    "sentiment",
    "topic",
    "intent",
    "标签",
    "类别",
)
"""Names that a column of labels has, the likeliest first."""


def find_label_column(names: Collection[str]) -> str | None:
    """The column that has the labels, by its name; None when there is none.

    Args:
        names: of the columns.
    """
    by_lower = {name.strip().lower(): name for name in reversed(list(names))}
    return next((by_lower[name] for name in LABEL_COLUMNS if name in by_lower), None)


def label_of(columns: Mapping[str, Any], column: str) -> str | None:
    """The label in a column as text; None when there is none.

    Raises:
        DataError: when it is no single value.
    """
    value = columns.get(column)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str | int | float):
        raise DataError(
            f"column {column}: not one label",
            got=f"{type(value).__name__} {str(value)[:60]}",
            wanted="one text or number for each document",
        )
    return str(value).strip() or None


@dataclass(frozen=True)
class Balance:
    """How even classes are.

    Attributes:
        counts: label -> examples, each at least 1.
    """

    counts: Mapping[str, int]

    @property
    def imbalance_factor(self) -> float:
        """The largest class over the smallest (the imbalance ratio); 1 where all are the same size."""
        return max(self.counts.values()) / min(self.counts.values())

    @property
    def effective_classes(self) -> float:
        """Classes of one size that would be as uncertain: exp of the entropy (Hill number of order 1)."""
        shares = np.array(list(self.counts.values()), float) / sum(self.counts.values())
        return float(np.exp(-(shares * np.log(shares)).sum()))


def names_alike(names: Collection[str]) -> list[list[str]]:
    """Labels that differ only in case, width or blanks, and are likely meant to be one."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


@dataclass(frozen=True)
class LabelNoise:
    """What confident learning says about labels.

    Attributes:
        joint: (K, K) int64, examples by given (row) and likely true class (column); each row sums to its class.
        suspect: (N,) bool, whether the label is likely wrong.
        likely: (N,) the likeliest class.
        self_confidence: (N,) probability of the given label; the smaller, the more suspect.
        margin: (N,) probability of the given label less that of the best other class, in [-1, 1].
    """

    joint: NDArray[np.int64]
    suspect: NDArray[np.bool_]
    likely: NDArray[np.int64]
    self_confidence: NDArray[np.float64]
    margin: NDArray[np.float64]

    @property
    def noise_ratio(self) -> float:
        """Estimated share of wrong labels. A weak classifier puts it too high."""
        return 1 - float(np.trace(self.joint)) / max(1, int(self.joint.sum()))


def thresholds_of(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,) mean probability of each class among those labelled with it; 2, which nothing reaches, where there are none.

    Args:
        probabilities: (N, K) of models that did not see the example.
        labels: (N,) given.
    """
    num_classes = probabilities.shape[1]
    given = probabilities[np.arange(len(labels)), labels]
    sizes = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=given, minlength=num_classes)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), 2.0)


def confident_joint(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], thresholds: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Count examples by given and likely true class.

    An example counts for the likeliest of the classes whose threshold it reaches (Northcutt et al., 2021, equations 1
    and 3).

    Args:
        probabilities: (N, K) of models that did not see the example.
        labels: (N,) given.
        thresholds: (K,) of other examples; None for those of these.

    Returns:
        (K, K), scaled so that each row sums to the size of its class.
    """
    num_classes = probabilities.shape[1]
    sizes = np.bincount(labels, minlength=num_classes)
    reached = probabilities >= (thresholds_of(probabilities, labels) if thresholds is None else thresholds) - 1e-6
    confident = reached.any(axis=1)
    likely = np.where(reached, probabilities, -1.0).argmax(axis=1)
    joint = np.zeros((num_classes, num_classes))
    np.add.at(joint, (labels[confident], likely[confident]), 1)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))  # some label of each class is right
    return _rounded(joint / joint.sum(axis=1, keepdims=True) * sizes[:, None])


def _rounded(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers with the same sums of rows: the largest remainders are rounded up."""
    whole = np.floor(rows + 1e-9)
    missing = np.rint(rows.sum(axis=1) - whole.sum(axis=1)).astype(np.int64)
    places = np.argsort(np.argsort(-(rows - whole), axis=1, kind="stable"), axis=1, kind="stable")
    return np.asarray(whole + (places < missing[:, None]), np.int64)


def confident_learning(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], thresholds: NDArray[np.float64] | None = None
) -> LabelNoise:
    """Find labels that are likely wrong.

    A suspect is chosen by its class (so many of the least confident as the joint says are wrong) and by its pair of
    classes (so many of the largest difference), and the models prefer another class: "C+NR" in the paper.

    Args:
        probabilities: (N, K) of models that did not see the example.
        labels: (N,) given.
        thresholds: (K,) of other examples; None for those of these.
    """
    everyone = np.arange(len(labels))
    joint = confident_joint(probabilities, labels, thresholds)
    given = probabilities[everyone, labels]
    by_class, by_pair = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for one in range(len(joint)):
        members = np.flatnonzero(labels == one)
        by_class[_first(members, given[members], int(joint[one].sum() - joint[one, one]))] = True
        for other in np.flatnonzero(joint[one]):
            if other != one:
                less = given[members] - probabilities[members, other]
                by_pair[_first(members, less, int(joint[one, other]))] = True
    likely = probabilities.argmax(axis=1)
    others = probabilities.copy()
    others[everyone, labels] = -1.0
    return LabelNoise(joint, by_class & by_pair & (likely != labels), likely, given, given - others.max(axis=1))


def _first(members: NDArray[np.int64], scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The members with the smallest scores; those as high as the first one left out are left out too."""
    if not 0 < count < len(members):
        return members[:0]
    kept: NDArray[np.int64] = members[scores < np.partition(scores, count)[count]]
    return kept
