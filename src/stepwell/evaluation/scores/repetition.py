"""How much a sample repeats itself.

A model that was trained too little, or decoded too greedily, falls into loops; its loss does not show that, its
samples do. All measures count n-grams of tokens; those of texts count words, so that they compare whatever the
tokenizer. This file leaves out what counts as too much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share
from stepwell.evaluation.scores.words import words_of

DISTINCT_ORDERS = (1, 2, 3)
"""Lengths of n-grams of which it is told how many are distinct."""


def repeated_ngram_ratio(token_ids: ArrayLike, n: int = 4) -> float:
    """Share of a sample's n-grams that stood in it before (seq-rep-n; Welleck et al., 2020).

    Args:
        token_ids: (T,) tokens of one sample.
        n: length of an n-gram, from 1.

    Returns:
        In [0, 1); 0 when the sample is shorter than n.
    """
    ngrams = _ngrams(token_ids, n)
    return 1 - len(np.unique(ngrams, axis=0)) / len(ngrams) if len(ngrams) else 0.0


def distinct_ratio(samples: Sequence[ArrayLike], n: int = 2) -> float:
    """Distinct n-grams of many samples by all their n-grams (distinct-n; Li et al., 2016).

    Args:
        samples: (T,) tokens of each sample.
        n: length of an n-gram, from 1.

    Returns:
        In (0, 1], low when samples are alike or repeat themselves; 1 when none is as long as n.
    """
    ngrams = np.concatenate([np.empty((0, n), np.int64), *(_ngrams(sample, n) for sample in samples)])
    return len(np.unique(ngrams, axis=0)) / len(ngrams) if len(ngrams) else 1.0


@dataclass(frozen=True)
class GenerationScores(Scores):
    """What was made of each of N texts that a model wrote.

    Attributes:
        count: (N,) 1.
        words: (N,) how long it is; a Chinese or Japanese character is a word.
        ngrams: (N, 3) its n-grams of 1, 2 and 3 words.
        distinct: (N, 3) how many of them are distinct within the text.
        repeated: (N,) share of its 4-grams that stood in it before.
    """

    count: FloatArray
    words: NDArray[np.int64]
    ngrams: NDArray[np.int64]
    distinct: NDArray[np.int64]
    repeated: FloatArray

    @classmethod
    def of(cls, texts: Sequence[str]) -> GenerationScores:
        """Scores of N texts, in any language; an empty one repeats nothing."""
        samples = word_ids(texts)
        tables = [[_ngrams(sample, n) for n in DISTINCT_ORDERS] for sample in samples]
        counts = [[(len(table), len(np.unique(table, axis=0))) for table in row] for row in tables]
        ngrams, distinct = np.moveaxis(np.array(counts, np.int64).reshape(-1, len(DISTINCT_ORDERS), 2), 2, 0)
        return cls(
            count=np.ones(len(samples)),
            words=np.array([len(sample) for sample in samples], np.int64),
            ngrams=ngrams,
            distinct=distinct,
            repeated=np.array([repeated_ngram_ratio(sample) for sample in samples], np.float64),
        )


def _distinct_within(column: int) -> Callable[[GenerationScores], Any]:
    return lambda totals: share(totals.distinct[..., column], totals.ngrams[..., column])


GenerationScores.metrics = {
    **{
        f"distinct_{n}_within": Metric(
            _distinct_within(column), higher_is_better=True, unit="share of n-grams within a text", per="example"
        )
        for column, n in enumerate(DISTINCT_ORDERS)
    },
    "repeated_4gram_ratio": Metric(
        lambda totals: totals.repeated / totals.count, higher_is_better=False, unit="mean over texts", per="example"
    ),
    "words": Metric(lambda totals: totals.words / totals.count, higher_is_better=None, unit="a text", per="example"),
}


def distinct_ratios(texts: Sequence[str]) -> dict[str, float]:
    """distinct-1, -2 and -3 of the words of many texts taken together: low where texts are alike, or repeat themselves.

    It falls with the number of texts and their length, so it compares only between equally many of a like length.

    Returns:
        `distinct_1` and so on, each in (0, 1]; 1 when no text has so many words.
    """
    samples = word_ids(texts)
    return {f"distinct_{n}": distinct_ratio(samples, n) for n in DISTINCT_ORDERS}


def word_ids(texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """The words of each text as numbers, (number of words,), the same word the same number in all."""
    numbers: dict[str, int] = {}
    return [np.array([numbers.setdefault(word, len(numbers)) for word in words_of(text)], np.int64) for text in texts]


def _ngrams(token_ids: ArrayLike, n: int) -> NDArray[np.int64]:
    """(number of n-grams, n)."""
    tokens = np.asarray(token_ids, dtype=np.int64)
    if len(tokens) < n:
        return np.empty((0, n), np.int64)
    return np.lib.stride_tricks.sliding_window_view(tokens, n)
