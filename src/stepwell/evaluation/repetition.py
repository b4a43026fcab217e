"""How much a sample repeats itself.

A model that was trained too little, or decoded too greedily, falls into loops; its loss does not show that, its
samples do. Both measures count n-grams of tokens. This file leaves out what counts as too much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


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


def _ngrams(token_ids: ArrayLike, n: int) -> NDArray[np.int64]:
    """(number of n-grams, n)."""
    tokens = np.asarray(token_ids, dtype=np.int64)
    if len(tokens) < n:
        return np.empty((0, n), np.int64)
    return np.lib.stride_tricks.sliding_window_view(tokens, n)
