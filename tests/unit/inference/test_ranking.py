"""The nearest vectors and joined rankings, against everything sorted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.inference import fused, nearest
from stepwell.inference.ranking import COMPARED_AT_ONCE


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_the_nearest_of_all(k: int) -> None:
    random = np.random.default_rng(0)
    queries = random.normal(size=(COMPARED_AT_ONCE + 3, 8)).astype(np.float32)
    vectors = random.normal(size=(50, 8)).astype(np.float32)
    numbers, cosines = nearest(queries, vectors, k)
    assert numbers.shape == cosines.shape == (len(queries), min(k, 50))
    for query, row, values in zip(queries, numbers, cosines, strict=True):
        near = vectors @ query
        np.testing.assert_allclose(values, np.sort(near)[::-1][:k], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(near[row], values, rtol=1e-5, atol=1e-6)


def test_of_equally_near_ones_the_first() -> None:
    numbers, _ = nearest(np.ones((1, 2), np.float32), np.ones((4, 2), np.float32), 2)
    assert numbers.tolist() == [[0, 1]]
    assert nearest(np.zeros((0, 2), np.float32), np.ones((4, 2), np.float32), 2)[0].shape == (0, 2)


def test_rankings_are_joined_by_reciprocal_ranks() -> None:
    """Cormack et al. (2009): the sum of 1 / (60 + rank)."""
    found = fused([[3, 1, 2], [2, 3]], 2)
    assert [number for number, _ in found] == [3, 2]
    assert [worth for _, worth in found] == pytest.approx([1 / 61 + 1 / 62, 1 / 63 + 1 / 61])
    assert fused([[], []], 3) == []
