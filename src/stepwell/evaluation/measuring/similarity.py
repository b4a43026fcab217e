"""How well cosines of pairs keep the order of their scores: Spearman's correlation, as semantic similarity is judged.

Ranks are taken once, over all pairs, and the metric is the correlation of ranks, so its value is exact and a bootstrap
draws pairs with the ranks that they have. This file leaves out pairs without a score (`searching.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stepwell.data import Document
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores
from stepwell.inference import vectors_for
from stepwell.models import LanguageModel
from stepwell.tasks import Embedding, EmbeddingConfig
from stepwell.tokenizers import Tokenizer


@dataclass(frozen=True)
class SimilarityScores(Scores):
    """What was made of each of N pairs with a score.

    Attributes:
        count: (N,) 1.
        squared: (N,) squared error of the cosine.
        numbers: (N, 5) cosine, right cosine, their squares, and their product.
        ranks: (N, 5) likewise of their ranks among all pairs, ties shared.
    """

    count: FloatArray
    squared: FloatArray
    numbers: FloatArray
    ranks: FloatArray

    @classmethod
    def of(cls, cosines: ArrayLike, right: ArrayLike) -> SimilarityScores:
        """Scores of pairs.

        Args:
            cosines: (N,) that the model gives.
            right: (N,) what they should be, or any numbers in that order.

        Raises:
            ValueError: when they are not as many, or a number is NaN.
        """
        found, wanted = np.asarray(cosines, np.float64), np.asarray(right, np.float64)
        if found.shape != wanted.shape or found.ndim != 1:
            raise ValueError(f"as many cosines as right ones, not {found.shape} and {wanted.shape}")
        if np.isnan(found).any() or np.isnan(wanted).any():
            raise ValueError("a number is NaN, so nothing can be ranked by it")
        return cls(
            np.ones(len(found)),
            (found - wanted) ** 2,
            _moments(found, wanted),
            _moments(ranked(found), ranked(wanted)),
        )


def ranked(values: FloatArray) -> FloatArray:
    """(N,) the rank of each number, from 1; equal ones share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[group], np.float64)


def _moments(x: FloatArray, y: FloatArray) -> FloatArray:
    x, y = (one - (one.mean() if len(one) else 0.0) for one in (x, y))  # changes no correlation; sums stay exact
    return np.stack([x, y, x**2, y**2, x * y], axis=1)


def _correlation(sums: Any, count: Any) -> Any:
    mean = sums / np.asarray(count)[..., None]
    together = mean[..., 4] - mean[..., 0] * mean[..., 1]
    spread = np.maximum(mean[..., 2] - mean[..., 0] ** 2, 0) * np.maximum(mean[..., 3] - mean[..., 1] ** 2, 0)
    root = np.sqrt(spread)
    return np.divide(together, root, out=np.zeros(np.shape(root)), where=root > 1e-12)


SimilarityScores.metrics = {
    "spearman": Metric(
        lambda totals: _correlation(totals.ranks, totals.count),
        higher_is_better=True,
        unit="correlation of ranks",
        per="example",
    ),
    "pearson": Metric(
        lambda totals: _correlation(totals.numbers, totals.count),
        higher_is_better=True,
        unit="correlation",
        per="example",
    ),
    "loss": Metric(
        lambda totals: totals.squared / totals.count, higher_is_better=False, unit="squared error", per="example"
    ),
}


def evaluate_similarity(
    model: LanguageModel, documents: Sequence[Document], tokenizer: Tokenizer, task: EmbeddingConfig
) -> SimilarityScores:
    """Compare the cosines of held-out pairs with their scores.

    Args:
        model: trained for the task.
        documents: graded pairs.
        tokenizer: that the model was trained with.
        task: how vectors are made, and what scores mean.
    """
    reader = Embedding(task)
    texts = [reader.texts_of(one) for one in documents]
    first, second = (vectors_for(model, tokenizer, task, [row[side] for row in texts], "query") for side in (0, 1))
    return SimilarityScores.of((first * second).sum(1), [reader.cosine_of(one) for one in documents])
