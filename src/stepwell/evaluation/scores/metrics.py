"""Scores of a model, one row for each example, and the metrics that are taken of them.

Every metric is a function of sums over examples, so it can be taken of a corpus and of thousands of resampled corpora
by the same line of NumPy. The scores of a language model stand here; those of other tasks have files of their own. Bits
per byte compares language models whatever their tokenizers; the others hold for one tokenizer. This file leaves out how
sure a value is (`intervals.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One way to sum up scores.

    Attributes:
        compute: from totals (`Scores.totals`), each field of shape (...), to values of shape (...); NaN where they
            say nothing about it (see `share`).
        higher_is_better: which way is up; None where neither is, as of a length.
        unit: in words.
        per: what it averages over; values per token compare only where the tokens are the same.
    """

    compute: Callable[[Any], Any]
    higher_is_better: bool | None
    unit: str
    per: Literal["token", "byte", "example"]


def share(part: Any, whole: Any) -> Any:
    """Part / whole, and NaN where there is no whole: such a metric was not measured."""
    shape = np.broadcast_shapes(np.shape(part), np.shape(whole))
    return np.divide(part, whole, out=np.full(shape, np.nan), where=np.asarray(whole) > 0)


@dataclass(frozen=True)
class Scores:
    """What a model made of each example; N examples. Each field is an array (N, ...), and its sums are what counts.

    Class attributes:
        metrics: what can be taken of them, by name.
        said: (N,) what was said of each example, for people to look at: JSON values by name, `answer` among them. No
            metric is taken of it, and a file of scores does not hold it; empty where nobody wrote it down.
    """

    metrics: ClassVar[Mapping[str, Metric]] = {}
    said: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def __post_init__(self) -> None:
        if len({len(array) for array in self.arrays().values()}) > 1:
            raise ValueError(f"{', '.join(self.arrays())} are of equal length")

    def __len__(self) -> int:
        return len(next(iter(self.arrays().values())))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: ArrayLike) -> Self:
        """The scores of some examples.

        Args:
            rows: (M,) which of them, or (N,) bool.
        """
        chosen = np.asarray(rows)
        at = chosen if chosen.size else chosen.astype(np.int64)
        taken = type(self)(**{name: array[at] for name, array in self.arrays().items()})
        return taken.saying([self.said[row] for row in np.arange(len(self))[at].tolist()]) if self.said else taken

    def saying(self, said: Sequence[Mapping[str, Any]]) -> Self:
        """The same scores, which remember what was said.

        Args:
            said: (N,) see `said`; empty for nothing.

        Raises:
            ValueError: when it is not of as many examples.
        """
        if said and len(said) != len(self):
            raise ValueError(f"what was said of {len(self)} examples, not of {len(said)}")
        told = copy(self)
        object.__setattr__(told, "said", tuple(said))  # frozen, and no field: a field is summed
        return told

    @property
    def columns(self) -> FloatArray:
        """(N, C) float64: all numbers of an example in a row."""
        arrays = [np.asarray(array, np.float64) for array in self.arrays().values()]
        return np.concatenate([array.reshape((len(self), math.prod(array.shape[1:]))) for array in arrays], axis=1)

    def totals(self, sums: FloatArray) -> Self:
        """Sums over examples as fields.

        Args:
            sums: (..., C), of `columns`.

        Returns:
            The same fields, of shape (...) or (..., what one example has).
        """
        found, at = object.__new__(type(self)), 0
        for name, array in self.arrays().items():
            size = math.prod(array.shape[1:])
            part = sums[..., at : at + size].reshape((*sums.shape[:-1], *array.shape[1:]))
            object.__setattr__(found, name, part)
            at += size
        return found

    def check_pair(self, other: Scores, metric: str) -> None:
        """See that a metric of these and of other scores can be compared example by example.

        Raises:
            ValueError: when the examples differ.
        """
        if len(self) != len(other):
            raise ValueError("a paired bootstrap needs scores of the same examples in the same order")


@dataclass(frozen=True)
class LanguageModelingScores(Scores):
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

    def check_pair(self, other: Scores, metric: str) -> None:
        """See `Scores.check_pair`.

        Raises:
            ValueError: when the documents differ, or when their tokens differ and the metric is one per token.
        """
        if not isinstance(other, LanguageModelingScores) or not np.array_equal(self.bytes, other.bytes):
            raise ValueError("a paired bootstrap needs scores of the same documents in the same order")
        if self.metrics[metric].per == "token" and not np.array_equal(self.tokens, other.tokens):
            raise ValueError(f"{metric} compares models of one tokenizer only; bits_per_byte compares any")


def _loss(totals: LanguageModelingScores) -> Any:
    return totals.nats / totals.tokens


def _perplexity(totals: LanguageModelingScores) -> Any:
    return np.exp(totals.nats / totals.tokens)


def _bits_per_byte(totals: LanguageModelingScores) -> Any:
    return totals.nats / np.log(2) / totals.bytes


def _accuracy(totals: LanguageModelingScores) -> Any:
    return totals.correct / totals.tokens


METRICS: dict[str, Metric] = {
    "bits_per_byte": Metric(_bits_per_byte, higher_is_better=False, unit="bits per byte of text", per="byte"),
    "perplexity": Metric(_perplexity, higher_is_better=False, unit="equally likely tokens", per="token"),
    "loss": Metric(_loss, higher_is_better=False, unit="nats per token", per="token"),
    "accuracy": Metric(_accuracy, higher_is_better=True, unit="share of tokens predicted", per="token"),
}

LanguageModelingScores.metrics = METRICS
