"""Shares, epochs and repeats of groups, beside plain ways to find them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.steps.balance.groups import epochs_of, shares_of, times_of


def test_shares_follow_the_temperature():
    rates = np.array([1.0, 9.0, 0.0])
    assert shares_of(rates, 1).tolist() == pytest.approx([0.1, 0.9, 0])
    assert shares_of(rates, 2).tolist() == pytest.approx([0.25, 0.75, 0])
    assert shares_of(rates, 0.5).tolist() == pytest.approx([1 / 82, 81 / 82, 0])
    assert shares_of(rates, None).tolist() == [0.5, 0.5, 0]
    assert shares_of(np.array([1e300, 1e-300]), 0.01).tolist() == [1, 0]


def test_the_smallest_mixture_that_leaves_nothing_out():
    sizes = np.array([100.0, 400.0])
    assert epochs_of(sizes, np.array([0.5, 0.5]), 9).tolist() == [4, 1]
    assert epochs_of(sizes, np.array([0.5, 0.5]), 3).tolist() == [3, 1]
    assert epochs_of(sizes, np.array([0.2, 0.8]), 9).tolist() == [1, 1]
    assert epochs_of(sizes, np.array([1.0, 0.0]), 9).tolist() == [1, 0]


def plain_epochs(sizes, shares, cap, size_ratio):
    """Fill by small steps until the size is reached; what is at the cap takes no more."""
    epochs = np.zeros(len(sizes))
    left = size_ratio * sizes.sum()
    while left > 1e-9:
        free = (epochs < cap - 1e-12) & (shares > 0)
        if not free.any():
            break
        weights = np.where(free, shares, 0) / shares[free].sum()
        step = min(left, min((cap - epochs[one]) * sizes[one] / weights[one] for one in np.flatnonzero(free)))
        epochs += step * weights / sizes
        left -= step
    return epochs


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 9)), min_size=1, max_size=6).filter(
        lambda groups: any(weight for _, weight in groups)
    ),
    st.floats(1, 5),
    st.floats(0.05, 6),
)
def test_a_fixed_size_is_the_plain_filling(groups, cap, size_ratio):
    sizes = np.array([float(size) for size, _ in groups])
    shares = shares_of(np.array([float(weight) for _, weight in groups]), 1)
    found = epochs_of(sizes, shares, cap, size_ratio)
    np.testing.assert_allclose(found, plain_epochs(sizes, shares, cap, size_ratio), atol=1e-6)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.floats(0, 5), st.integers(0, 2**32))
def test_repeats_fill_the_epochs_to_half_a_document(sizes, epochs, seed):
    several = np.array(sizes)
    draws = np.random.default_rng(seed).integers(0, 2**63, len(sizes)).astype(np.uint64)
    times = times_of(several, draws, epochs)
    assert set(times.tolist()) <= {int(epochs), int(epochs) + 1}
    assert abs((several * times).sum() - epochs * several.sum()) <= several.max() / 2 + 1e-6
    mixed = np.random.default_rng(seed + 1).permutation(len(sizes))
    np.testing.assert_array_equal(times_of(several[mixed], draws[mixed], epochs), times[mixed])


def test_a_larger_fraction_keeps_what_a_smaller_one_chose():
    draws = np.random.default_rng(0).integers(0, 2**63, 100).astype(np.uint64)
    sizes = np.ones(100, np.int64)
    chosen = [set(np.flatnonzero(times_of(sizes, draws, part)).tolist()) for part in (0.1, 0.4, 0.9)]
    assert [len(one) for one in chosen] == [10, 40, 90]
    assert chosen[0] < chosen[1] < chosen[2]
