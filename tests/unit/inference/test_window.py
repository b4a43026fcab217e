"""What a model sees when there are more tokens than fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.inference import split_windows, window_start


@given(num_tokens=st.integers(0, 300), max_seq_len=st.integers(2, 40))
def test_the_context_is_never_too_long_nor_too_short(num_tokens, max_seq_len):
    length = num_tokens - window_start(num_tokens, max_seq_len)
    assert length <= max_seq_len
    assert length >= min(num_tokens, max_seq_len // 2)


@given(num_tokens=st.integers(0, 300), max_seq_len=st.integers(2, 40))
def test_the_window_moves_only_when_it_is_full(num_tokens, max_seq_len):
    before, after = window_start(num_tokens, max_seq_len), window_start(num_tokens + 1, max_seq_len)
    assert (after != before) == (num_tokens - before == max_seq_len)


@given(num_tokens=st.integers(0, 300), max_seq_len=st.integers(2, 40))
def test_windows_predict_every_token_once_from_the_context_of_decoding(num_tokens, max_seq_len):
    predicted = []
    for window in split_windows(num_tokens, max_seq_len):
        assert window.stop - window.start <= max_seq_len
        for token in range(window.first, window.stop + 1):
            assert window.start == window_start(token, max_seq_len)
            predicted.append(token)
    assert predicted == list(range(1, num_tokens))


@pytest.mark.parametrize(
    ("num_tokens", "start"), [(0, 0), (8, 0), (9, 5), (10, 5), (13, 5), (14, 10), (18, 10), (19, 15)]
)
def test_a_window_of_eight_by_hand(num_tokens, start):
    assert window_start(num_tokens, 8) == start
