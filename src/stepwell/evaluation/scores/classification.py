"""How well texts were given classes or numbers: scores of each text, and their metrics as sums over texts.

Precision, recall and F1 are counted class by class (`decisions.py`), and a macro mean is over the classes that are
there or were chosen, as scikit-learn takes it. Calibration is counted in bins of confidence. This file leaves out how a
class is chosen, and the pages that show confusions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.scores.decisions import f1_of, macro, micro_f1, precision_of, ratio, recall_of
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share

BINS = 15
"""Of confidences, for the calibration error (Guo et al., 2017)."""

SMALLEST = 1e-12
"""A class that was given no chance at all counts as this, so that one text cannot make a loss infinite."""


@dataclass(frozen=True)
class ClassificationScores(Scores):
    """What was made of each of N texts, for K classes.

    Attributes:
        count: (N,) 1.
        nats: (N,) negative log-likelihood of the right class; of several labels, summed over all of them, given or not.
        exact: (N,) whether everything was right.
        true: (N, K) whether a class is right.
        chosen: (N, K) whether it was chosen.
        both: (N, K) whether it was chosen rightly.
        calibration: (N, 15, 2) at the bin of its confidence, 1 and how much the confidence was above being right; of
            several labels, one for each, summed.
        placed: (N, K, 2) where a class is right, the share of other texts that its probability ranks above; where it is
            not, the share of right texts that rank above it; each less half of the area under the curve.
    """

    count: FloatArray
    nats: FloatArray
    exact: NDArray[np.bool_]
    true: NDArray[np.bool_]
    chosen: NDArray[np.bool_]
    both: NDArray[np.bool_]
    calibration: FloatArray
    placed: FloatArray

    @classmethod
    def of(
        cls, probabilities: ArrayLike, true: ArrayLike, chosen: ArrayLike | None = None, *, threshold: float = 0.5
    ) -> ClassificationScores:
        """Scores of probabilities.

        Args:
            probabilities: (N, K), each in [0, 1]; where each text has one class, a row sums to 1.
            true: (N,) the right class, or (N, K) whether each label is right.
            chosen: likewise; default the likeliest class, or the labels from the threshold on.
            threshold: of labels, in [0, 1].

        Raises:
            ValueError: when shapes do not fit, a class is not in [0, K), or a probability is NaN.
        """
        chances, right = np.asarray(probabilities, np.float64), np.asarray(true)
        if chances.ndim != 2 or right.shape not in ((len(chances),), chances.shape):
            raise ValueError(f"(N, K) probabilities and (N,) or (N, K) truth, not {chances.shape} and {right.shape}")
        if np.isnan(chances).any():
            raise ValueError("a probability is NaN, so no class is the likeliest")
        if right.ndim == 1:
            return cls._of_classes(chances, right, chances.argmax(1) if chosen is None else np.asarray(chosen))
        picked = chances >= threshold if chosen is None else np.asarray(chosen, bool)
        given = right.astype(bool)
        clipped = np.clip(np.where(given, chances, 1 - chances), SMALLEST, 1)
        confidence = np.maximum(chances, 1 - chances)
        calibration = _calibration(confidence.ravel(), ((chances >= 0.5) == given).ravel())
        return cls(
            count=np.ones(len(chances)),
            nats=-np.log(clipped).sum(1),
            exact=(picked == given).all(1),
            true=given,
            chosen=picked,
            both=picked & given,
            calibration=calibration.reshape(*chances.shape, BINS, 2).sum(1),
            placed=_placed(chances, given),
        )

    @classmethod
    def _of_classes(cls, chances: FloatArray, right: NDArray[Any], picked: NDArray[Any]) -> ClassificationScores:
        rows, classes = np.arange(len(chances)), np.arange(chances.shape[1])
        for some in (right, picked):
            if len(some) and not (some.min() >= 0 and some.max() < len(classes)):
                raise ValueError(f"classes in [0, {len(classes)}), not {some.min()} to {some.max()}")
        true, chosen = right[:, None] == classes, picked[:, None] == classes
        return cls(
            count=np.ones(len(chances)),
            nats=-np.log(np.maximum(chances[rows, right], SMALLEST)),
            exact=right == picked,
            true=true,
            chosen=chosen,
            both=true & chosen,
            calibration=_calibration(chances.max(1, initial=0.0), chances.argmax(1) == right),
            placed=_placed(chances, true),
        )

    def check_pair(self, other: Scores, metric: str) -> None:
        """See `Scores.check_pair`.

        Raises:
            ValueError: when the right classes differ.
        """
        if not isinstance(other, ClassificationScores) or not np.array_equal(self.true, other.true):
            raise ValueError("a paired bootstrap needs scores of the same labelled texts in the same order")


def _calibration(confidence: FloatArray, right: NDArray[np.bool_]) -> FloatArray:
    """(N, 15, 2), see `ClassificationScores.calibration`."""
    found = np.zeros((len(confidence), BINS, 2))
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    found[np.arange(len(confidence)), bins] = np.stack([np.ones(len(confidence)), confidence - right], axis=1)
    return found


def _calibration_error(totals: ClassificationScores) -> Any:
    return np.abs(totals.calibration[..., 1]).sum(-1) / totals.calibration[..., 0].sum(-1)


def _placed(chances: FloatArray, true: NDArray[np.bool_]) -> FloatArray:
    """(N, K, 2), see `ClassificationScores.placed`: the components of DeLong et al. (1988).

    Their means over right and over other texts sum to the area. A drawn corpus keeps the places that texts have among
    all, which changes its area in the second order only.
    """
    found = np.zeros((*chances.shape, 2))
    for at, right in enumerate(true.T):
        sides = chances[right, at], chances[~right, at]
        if not len(sides[0]) or not len(sides[1]):
            continue
        below = _share_below(sides[0], sides[1])
        half = below.mean() / 2
        found[right, at, 0] = below - half
        found[~right, at, 1] = 1 - _share_below(sides[1], sides[0]) - half
    return found


def _share_below(values: FloatArray, others: FloatArray) -> FloatArray:
    """(N,) for each value the share of others that are less; an equal one counts half."""
    ordered = np.sort(others)
    places = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(places / (2 * len(others)))


def _roc_auc(totals: ClassificationScores) -> Any:
    wrong = np.asarray(totals.count)[..., None] - totals.true
    areas = share(totals.placed[..., 0], totals.true) + share(totals.placed[..., 1], wrong)
    return share(np.nansum(areas, axis=-1), (~np.isnan(areas)).sum(-1))


def _accuracy(totals: ClassificationScores) -> Any:
    return totals.exact / totals.count


def _loss(totals: ClassificationScores) -> Any:
    return totals.nats / totals.count


CLASSIFICATION_METRICS = {
    "accuracy": Metric(_accuracy, higher_is_better=True, unit="share of texts", per="example"),
    "macro_f1": Metric(macro(f1_of), higher_is_better=True, unit="mean over classes", per="example"),
    "micro_f1": Metric(micro_f1, higher_is_better=True, unit="over all decisions", per="example"),
    "macro_precision": Metric(macro(precision_of), higher_is_better=True, unit="mean over classes", per="example"),
    "macro_recall": Metric(macro(recall_of), higher_is_better=True, unit="mean over classes", per="example"),
    "roc_auc": Metric(_roc_auc, higher_is_better=True, unit="mean over classes", per="example"),
    "loss": Metric(_loss, higher_is_better=False, unit="nats per text", per="example"),
    "calibration_error": Metric(
        _calibration_error, higher_is_better=False, unit="mean gap of confidence and accuracy", per="example"
    ),
}
ClassificationScores.metrics = CLASSIFICATION_METRICS


@dataclass(frozen=True)
class RegressionScores(Scores):
    """What was made of each of N texts that have a number.

    Attributes:
        count: (N,) 1.
        true: (N,) the right number.
        true_squared: (N,) its square.
        guess: (N,) the predicted number.
        guess_squared: (N,) its square.
        product: (N,) of both.
        distance: (N,) how far they are apart.
    """

    count: FloatArray
    true: FloatArray
    true_squared: FloatArray
    guess: FloatArray
    guess_squared: FloatArray
    product: FloatArray
    distance: FloatArray

    @classmethod
    def of(cls, guess: ArrayLike, true: ArrayLike) -> RegressionScores:
        """Scores of N predicted numbers beside the right ones.

        Numbers are taken from the mean of the right ones, which changes no metric and keeps the sums exact.

        Raises:
            ValueError: when they are not as many.
        """
        found, right = np.asarray(guess, np.float64), np.asarray(true, np.float64)
        if found.shape != right.shape or right.ndim != 1:
            raise ValueError(f"as many numbers as right ones, not {found.shape} and {right.shape}")
        middle = right.mean() if len(right) else 0.0
        x, y = found - middle, right - middle
        return cls(np.ones(len(y)), y, y**2, x, x**2, x * y, np.abs(x - y))


def _squared(totals: RegressionScores) -> Any:
    return (totals.guess_squared - 2 * totals.product + totals.true_squared) / totals.count


def _variance(squares: Any, sums: Any, count: Any) -> Any:
    return np.maximum(squares / count - (sums / count) ** 2, 0.0)


def _pearson(totals: RegressionScores) -> Any:
    together = totals.product / totals.count - totals.guess * totals.true / totals.count**2
    spread = _variance(totals.guess_squared, totals.guess, totals.count)
    return ratio(together, np.sqrt(spread * _variance(totals.true_squared, totals.true, totals.count)))


def _explained(totals: RegressionScores) -> Any:
    error, spread = _squared(totals), _variance(totals.true_squared, totals.true, totals.count)
    return np.where(spread > 0, 1 - ratio(error, spread), error == 0)  # as scikit-learn where all are the same


REGRESSION_METRICS = {
    "loss": Metric(_squared, higher_is_better=False, unit="squared", per="example"),
    "mean_squared_error": Metric(_squared, higher_is_better=False, unit="squared", per="example"),
    "mean_absolute_error": Metric(
        lambda totals: totals.distance / totals.count, higher_is_better=False, unit="of the number", per="example"
    ),
    "pearson": Metric(_pearson, higher_is_better=True, unit="correlation", per="example"),
    "r_squared": Metric(_explained, higher_is_better=True, unit="share of the variance", per="example"),
}
RegressionScores.metrics = REGRESSION_METRICS


def confusion(true: Sequence[int], chosen: Sequence[int], num_classes: int) -> NDArray[np.int64]:
    """(K, K) how often class i was taken for class j.

    Args:
        true: (N,) right classes in [0, K).
        chosen: (N,) likewise.
        num_classes: K.
    """
    table = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(table, (np.asarray(true, np.int64), np.asarray(chosen, np.int64)), 1)
    return table
