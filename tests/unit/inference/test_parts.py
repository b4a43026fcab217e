"""How a document is cut for a model that looks back, and for one that looks both ways."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.inference.parts import causal_parts, masked_parts, split_stretches

MASK = 999

LENGTHS = st.integers(0, 200)
WINDOWS = st.integers(2, 40)


@given(length=LENGTHS, window=WINDOWS)
def test_causal_parts_tell_every_token_but_the_first_once(length, window):
    document = np.arange(length)
    told = []
    for part in causal_parts(document, window):
        assert len(part.read) <= window
        assert (part.read[part.places] == part.told - 1).all()  # the hidden state before a token tells it
        told += part.told.tolist()
    assert told == list(range(1, length))


@given(length=LENGTHS, window=WINDOWS, num_passes=st.sampled_from([1, 3, 7, None]))
def test_masked_parts_tell_every_hidden_token_but_the_first_once(length, window, num_passes):
    document = np.arange(length)
    told = []
    for part in masked_parts(document, window, MASK, num_passes):
        assert len(part.read) == min(window, length)
        assert (part.read[part.places] == MASK).all()
        start = part.told[0] - part.places[0]
        original = document[start : start + len(part.read)]
        assert ((part.read == original) | (part.read == MASK)).all()
        assert (original[part.places] == part.told).all()
        told += part.told.tolist()
    assert sorted(told) == list(range(1, length))


@given(length=st.integers(2, 200), window=WINDOWS)
def test_stretches_give_every_token_context_on_both_sides(length, window):
    stretches = list(split_stretches(length, window))
    assert stretches[0].first == 1
    assert stretches[-1].last == length
    assert all(one.last == other.first for one, other in pairwise(stretches))
    for stretch in stretches:
        assert 0 <= stretch.start <= stretch.first < stretch.last <= stretch.stop <= length
        assert stretch.stop - stretch.start == min(window, length)
        if stretch.start > 0:
            assert stretch.first - stretch.start >= window // 4
        if stretch.stop < length:
            assert stretch.stop - stretch.last >= window // 4


@pytest.mark.parametrize(("length", "window"), [(30, 64), (300, 64)])
def test_each_time_about_as_much_is_hidden(length, window):
    parts = list(masked_parts(np.arange(length), window, MASK, 7))
    shares = [float((part.read == MASK).mean()) for part in parts]
    assert np.mean(shares) == pytest.approx(1 / 7, abs=0.02)
    assert max(shares) < 0.4


def test_the_same_tokens_are_hidden_together_in_every_stretch():
    """So what a token is told from does not depend on where the stretches are cut."""
    hidden = []
    for part in masked_parts(np.arange(300), 64, MASK, 7):
        start = part.told[0] - part.places[0]
        hidden.append((range(start, start + 64), set((start + np.flatnonzero(part.read == MASK)).tolist())))
    compared = 0
    for (reach, one), (other_reach, other) in combinations(hidden, 2):
        both = set(reach) & set(other_reach)
        compared += bool(both) and reach != other_reach
        assert one & both == other & both or not one & other
    assert compared > 100


def test_one_at_a_time():
    parts = list(masked_parts(np.arange(20), 64, MASK, None))
    assert len(parts) == 19
    assert all((part.read == MASK).sum() == 1 for part in parts)


def test_a_short_document_is_read_as_often_as_it_has_tokens_to_tell():
    assert [len(list(masked_parts(np.arange(n), 64, MASK, 7))) for n in range(5)] == [0, 0, 1, 2, 3]


def test_a_pure_function_of_the_document():
    one, other = ([part.told.tolist() for part in masked_parts(np.arange(50), 16, MASK, 7)] for _ in range(2))
    assert one == other
