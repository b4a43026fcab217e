"""From what models say about labels to labels: whose word counts, temperature, priors, thresholds.

These settings belong to prediction: they are found on held-out text in a moment, without training again. NumPy alone.
This file leaves out how they are found (`studies.deciding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.tasks.classification import ClassificationConfig

Numbers = NDArray[np.floating[Any]]

MODEL = "model"
"""Name of the trained model among the members of a decision."""

SMALLEST = 1e-6
"""A probability counts as at least this where several are joined, so that no member alone rules a label out."""


def told_by_head(outputs: Numbers, config: ClassificationConfig) -> Numbers:
    """What the outputs of a task head mean.

    Args:
        outputs: (N, K).
        config: of the task.

    Returns:
        (N, K) probabilities, each on its own where a text may have several labels; of a number (N, 1) that number.
    """
    exact = np.asarray(outputs, np.float64)
    if config.problem == "number":
        return exact * config.spread + config.center
    return _probabilities(exact, config)


def decided(told: Mapping[str, Numbers], config: ClassificationConfig) -> Numbers:
    """What the members of a decision say together.

    Args:
        told: member -> (N, K) probabilities, or (N, 1) numbers; at least those that the decision names.
        config: its decision counts.

    Returns:
        (N, K) likewise.
    """
    parts = logits_of([told[name] for name in config.decision.members], config)
    joined = np.average(parts, axis=0, weights=config.decision.weights or None)
    if config.problem == "number":
        return np.asarray(joined)
    logits = joined / config.decision.temperature
    if config.decision.prior:
        logits = logits + np.array(config.decision.prior)
    return _probabilities(logits, config)


def chosen_labels(probabilities: Numbers, config: ClassificationConfig) -> list[tuple[str, ...]]:
    """The labels of each text: the likeliest, or those from the threshold on.

    Args:
        probabilities: (N, K).
        config: names and threshold.
    """
    names = config.labels
    if config.problem == "multiple":
        rows = probabilities >= config.decision.threshold
        return [tuple(name for name, chosen in zip(names, row, strict=True) if chosen) for row in rows.tolist()]
    return [(names[place],) for place in probabilities.argmax(axis=1).tolist()]


def in_words(told: Numbers, config: ClassificationConfig) -> list[str]:
    """A decision about each text, as a person reads it.

    Args:
        told: (N, K), of `decided`.
        config: of the task.
    """
    if config.problem == "number":
        return [f"{value:.4g}" for value in told[:, 0].tolist()]
    return [", ".join(some) or "-" for some in chosen_labels(told, config)]


def logits_of(told: Sequence[Numbers], config: ClassificationConfig) -> Numbers:
    """What is joined when several have a say: (M, N, K) logits of their probabilities, or numbers as they are."""
    parts = np.asarray(told, np.float64)
    if config.problem == "number":
        return parts
    clipped = np.clip(parts, SMALLEST, 1 - SMALLEST if config.problem == "multiple" else 1)
    return np.asarray(np.log(clipped) - (np.log1p(-clipped) if config.problem == "multiple" else 0))


def _probabilities(logits: Numbers, config: ClassificationConfig) -> Numbers:
    if config.problem == "multiple":
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
