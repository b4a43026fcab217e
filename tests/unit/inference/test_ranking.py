"""The best of all documents, and joined rankings, against everything sorted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.inference import highest, joined


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_the_highest_of_all(k: int) -> None:
    values = np.random.default_rng(0).normal(size=(5, 50)).astype(np.float32)
    numbers, found = highest(values, k)
    assert numbers.shape == found.shape == (5, min(k, 50))
    for row, chosen, best in zip(values, numbers, found, strict=True):
        assert best.tolist() == sorted(row.tolist(), reverse=True)[:k]
        assert row[chosen].tolist() == best.tolist()


def test_of_equal_ones_the_first() -> None:
    assert highest(np.ones((1, 4)), 2)[0].tolist() == [[0, 1]]
    assert highest(np.zeros((0, 4)), 2)[0].shape == (0, 2)


def test_rankings_are_joined_by_reciprocal_ranks() -> None:
    """Cormack et al. (2009): the sum of 1 / (60 + rank)."""
    near, words = np.array([[0.9, 0.1, 0.5, -0.2]]), np.array([[0.0, 3.0, 7.0, 0.0]])
    expected = [1 / 61, 1 / 63 + 1 / 62, 1 / 62 + 1 / 61, 1 / 64]
    np.testing.assert_allclose(joined(near, words)[0], expected, rtol=1e-6)
    assert highest(joined(near, words), 2)[0].tolist() == [[2, 1]]
