"""How much a sample repeats itself."""

from __future__ import annotations

import pytest

from stepwell.evaluation import distinct_ratio, repeated_ngram_ratio


def test_repeated_ngrams_by_hand():
    assert repeated_ngram_ratio([1, 2, 3, 4, 5, 6]) == 0
    assert repeated_ngram_ratio([1] * 13) == pytest.approx(0.9)  # ten 4-grams, one of them new
    assert repeated_ngram_ratio([1, 2, 1, 2, 1], n=2) == pytest.approx(0.5)
    assert repeated_ngram_ratio([1, 2, 3]) == 0
    assert repeated_ngram_ratio([]) == 0


def test_distinct_ngrams_by_hand():
    assert distinct_ratio([[1, 2, 3], [1, 2, 4]], n=2) == pytest.approx(3 / 4)
    assert distinct_ratio([[7] * 5], n=1) == pytest.approx(1 / 5)
    assert distinct_ratio([[1]], n=2) == 1
    assert distinct_ratio([]) == 1
