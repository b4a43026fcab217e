"""From what a model says about labels to labels: temperature, priors, thresholds.

These settings belong to prediction: they are found on held-out text in a moment, without training again. NumPy alone.
This file leaves out how they are found (`studies`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.tasks.classification import ClassificationConfig

Numbers = NDArray[np.floating[Any]]


def probabilities_of(logits: Numbers, config: ClassificationConfig) -> Numbers:
    """(N, K) probabilities of labels; each on its own where a text may have several.

    Args:
        logits: (N, K).
        config: its decision counts.
    """
    scaled = np.asarray(logits, np.float64) / config.decision.temperature
    if config.decision.prior:
        scaled = scaled + np.array(config.decision.prior)
    if config.problem == "multiple":
        return np.asarray(0.5 * (1 + np.tanh(scaled / 2)))
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


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


def numbers_told(outputs: Numbers, config: ClassificationConfig) -> Numbers:
    """(N,) the numbers that the model's outputs (N, 1) stand for."""
    return np.asarray(outputs, np.float64)[:, 0] * config.spread + config.center


def in_words(outputs: Numbers, config: ClassificationConfig) -> list[str]:
    """What the model says of each text, as a person reads it.

    Args:
        outputs: (N, K) of the task head.
        config: of the task.
    """
    if config.problem == "number":
        return [f"{value:.4g}" for value in numbers_told(outputs, config).tolist()]
    labels: Sequence[tuple[str, ...]] = chosen_labels(probabilities_of(outputs, config), config)
    return [", ".join(some) or "-" for some in labels]
