"""How well a model tells the better answer of a pair, and how far it moved from where it began.

A pair is right when the chosen answer scores above the rejected one; by what score (a reward, a mean log-probability,
the log-ratio to a reference) is the caller's choice. The distance to a reference is taken token by token. This file
leaves out the losses themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share

FARTHEST = 50.0
"""Nats: a token that became less likely by more than this counts as this, so that the mean stays a number."""


@dataclass(frozen=True)
class PreferenceScores(Scores):
    """What was made of each of N pairs.

    Attributes:
        count: (N,) 1.
        right: (N,) whether the chosen answer scores above the rejected one; a tie is not right.
        margin: (N,) by how much.
        measured: (N,) whether a loss was taken of the pair.
        nats: (N,) that loss, or 0.
    """

    count: FloatArray
    right: NDArray[np.bool_]
    margin: FloatArray
    measured: NDArray[np.bool_]
    nats: FloatArray

    @classmethod
    def of(cls, chosen: ArrayLike, rejected: ArrayLike, loss: ArrayLike | None = None) -> PreferenceScores:
        """Scores of pairs.

        Args:
            chosen: (N,) score of the better answer.
            rejected: (N,) score of the worse one.
            loss: (N,) of the pair, in nats; default not measured.

        Raises:
            ValueError: when they are not as many, or a score is not finite.
        """
        better, worse = np.asarray(chosen, np.float64), np.asarray(rejected, np.float64)
        nats = np.zeros(better.shape) if loss is None else np.asarray(loss, np.float64)
        if better.ndim != 1 or not better.shape == worse.shape == nats.shape:
            raise ValueError(f"as many scores of each kind, not {better.shape}, {worse.shape} and {nats.shape}")
        if not np.isfinite(better - worse).all():
            raise ValueError("a score is not finite")
        measured = np.full(len(better), loss is not None)
        return cls(np.ones(len(better)), better > worse, better - worse, measured, nats)


PreferenceScores.metrics = {
    "preference_accuracy": Metric(
        lambda totals: totals.right / totals.count, higher_is_better=True, unit="share of pairs", per="example"
    ),
    "margin": Metric(
        lambda totals: totals.margin / totals.count, higher_is_better=True, unit="mean of the score", per="example"
    ),
    "loss": Metric(
        lambda totals: share(totals.nats, totals.measured), higher_is_better=False, unit="nats", per="example"
    ),
}


@dataclass(frozen=True)
class DivergenceScores(Scores):
    """How far a model moved from its reference on each of N texts.

    Attributes:
        tokens: (N,) how many were compared.
        log_ratio: (N,) log-probabilities of the model less those of the reference, summed over tokens.
        k3: (N,) estimates of the divergence, summed over tokens.
    """

    tokens: NDArray[np.int64]
    log_ratio: FloatArray
    k3: FloatArray

    @classmethod
    def of(cls, model: Sequence[ArrayLike], reference: Sequence[ArrayLike]) -> DivergenceScores:
        """Scores of texts, which estimate KL(model, reference) where the model itself has drawn them.

        Args:
            model: (N,) of each text, the log-probabilities of its tokens, (T,) nats.
            reference: likewise, of the same tokens.

        Raises:
            ValueError: when texts or tokens are not as many, or a log-probability is not finite.
        """
        rows = [_of_text(at, *pair) for at, pair in enumerate(zip(model, reference, strict=True))]
        tokens, ratios, estimates = np.array(rows, np.float64).reshape(-1, 3).T
        return cls(tokens.astype(np.int64), ratios, estimates)


def _of_text(text: int, model: ArrayLike, reference: ArrayLike) -> tuple[int, float, float]:
    """Tokens, log-ratio and k3 of one text; k3 = r - 1 - log r of r = reference / model (Schulman, 2020)."""
    ours, theirs = np.asarray(model, np.float64), np.asarray(reference, np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1:
        raise ValueError(f"text {text}: log-probabilities of the same tokens, not {ours.shape} and {theirs.shape}")
    away = theirs - ours
    if not np.isfinite(away).all():
        raise ValueError(f"text {text}: a log-probability is not finite")
    near = np.minimum(away, FARTHEST)
    return len(away), float(-away.sum()), float((np.expm1(near) - near).sum())


DivergenceScores.metrics = {
    "kl": Metric(
        lambda totals: share(totals.k3, totals.tokens), higher_is_better=False, unit="nats per token", per="token"
    ),
    "log_ratio": Metric(
        lambda totals: share(totals.log_ratio, totals.tokens), higher_is_better=None, unit="nats per token", per="token"
    ),
}
