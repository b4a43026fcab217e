"""Metrics of a language model, one row each.

Every metric is a function of four totals over documents, so it can be taken of a corpus and of thousands of resampled
corpora by the same line of NumPy. Bits per byte compares models whatever their tokenizers; the others hold for one
tokenizer. This file leaves out how sure a value is (`intervals.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LanguageModelingScores:
    """What a model made of each document; N documents.

    Attributes:
        nats: (N,) negative log-likelihood of the document's tokens, the end token included where the text ends.
        tokens: (N,) how many tokens were predicted.
        bytes: (N,) length of the document's text as UTF-8.
        correct: (N,) for how many tokens the likeliest was the right one; NaN where that was not measured.
    """

    nats: FloatArray
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    correct: FloatArray

    def __post_init__(self) -> None:
        if not len(self.nats) == len(self.tokens) == len(self.bytes) == len(self.correct):
            raise ValueError("nats, tokens, bytes and correct are of equal length")

    def __len__(self) -> int:
        return len(self.nats)

    @property
    def columns(self) -> FloatArray:
        """(N, 4) float64: nats, tokens, bytes, correct."""
        return np.column_stack((self.nats, self.tokens, self.bytes, self.correct)).astype(np.float64)


class Totals(NamedTuple):
    """Sums over documents, each of one shape (...): of one corpus, or of many resampled ones."""

    nats: Any
    tokens: Any
    bytes: Any
    correct: Any

    @classmethod
    def of(cls, columns: FloatArray) -> Totals:
        """From sums (..., 4) in the order of `LanguageModelingScores.columns`."""
        return cls(*np.moveaxis(columns, -1, 0))


def _loss(totals: Totals) -> Any:
    return totals.nats / totals.tokens


def _perplexity(totals: Totals) -> Any:
    return np.exp(totals.nats / totals.tokens)


def _bits_per_byte(totals: Totals) -> Any:
    return totals.nats / np.log(2) / totals.bytes


def _accuracy(totals: Totals) -> Any:
    return totals.correct / totals.tokens


@dataclass(frozen=True)
class Metric:
    """One way to sum up scores.

    Attributes:
        compute: from totals of shape (...) to values of shape (...).
        higher_is_better: which way is up.
        unit: in words.
        per: what it averages over; values per token compare only where the tokens are the same.
    """

    compute: Callable[[Totals], Any]
    higher_is_better: bool
    unit: str
    per: Literal["token", "byte"]


METRICS: dict[str, Metric] = {
    "bits_per_byte": Metric(_bits_per_byte, higher_is_better=False, unit="bits per byte of text", per="byte"),
    "perplexity": Metric(_perplexity, higher_is_better=False, unit="equally likely tokens", per="token"),
    "loss": Metric(_loss, higher_is_better=False, unit="nats per token", per="token"),
    "accuracy": Metric(_accuracy, higher_is_better=True, unit="share of tokens predicted", per="token"),
}
