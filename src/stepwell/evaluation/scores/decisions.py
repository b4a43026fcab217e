"""Precision, recall and F1 of decisions, from three sums: what was right, what was chosen, and what was both.

Classes, labels and spans are counted alike; only what counts as one decision differs. Where there is nothing to divide
by the value is 0, as in scikit-learn and seqeval. This file leaves out what is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Decisions(Protocol):
    """Sums of decisions of K kinds.

    Attributes:
        true: (..., K) how often a kind was right.
        chosen: (..., K) how often it was chosen.
        both: (..., K) how often it was chosen rightly.
    """

    @property
    def true(self) -> Any: ...
    @property
    def chosen(self) -> Any: ...
    @property
    def both(self) -> Any: ...


def ratio(part: Any, whole: Any) -> Any:
    """Part / whole, and 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(np.shape(part), np.shape(whole))), where=whole > 0)


def precision_of(totals: Decisions) -> Any:
    """(..., K) how often a kind was right where it was chosen; 0 where it never was."""
    return ratio(totals.both, totals.chosen)


def recall_of(totals: Decisions) -> Any:
    """(..., K) how often a kind was chosen where it was right; 0 where it never is."""
    return ratio(totals.both, totals.true)


def f1_of(totals: Decisions) -> Any:
    """(..., K) harmonic mean of the two."""
    return ratio(2 * totals.both, totals.true + totals.chosen)


def macro(of_kind: Callable[[Decisions], Any]) -> Callable[[Decisions], Any]:
    """The mean over the kinds that are there or were chosen; 0 where none is."""

    def mean(totals: Decisions) -> Any:
        there = (totals.true + totals.chosen) > 0
        return ratio((of_kind(totals) * there).sum(-1), there.sum(-1))

    return mean


def micro_precision(totals: Decisions) -> Any:
    """Over all decisions."""
    return ratio(totals.both.sum(-1), totals.chosen.sum(-1))


def micro_recall(totals: Decisions) -> Any:
    """Over all decisions."""
    return ratio(totals.both.sum(-1), totals.true.sum(-1))


def micro_f1(totals: Decisions) -> Any:
    """Over all decisions."""
    return ratio(2 * totals.both.sum(-1), totals.true.sum(-1) + totals.chosen.sum(-1))
