"""What a model without a network reaches."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.evaluation import bootstrap, evaluate_kneser_ney, kneser_ney_bits_per_byte


def test_every_byte_and_every_end_is_paid_for(small_text):
    train, held_out = small_text(seed=1).split("\n\n"), small_text(num_bytes=9000, seed=2).split("\n\n")
    scores = evaluate_kneser_ney(train, held_out)
    num_bytes = [len(text.encode()) for text in held_out]
    assert scores.bytes.tolist() == num_bytes
    assert scores.tokens.tolist() == [count + 1 for count in num_bytes]
    interval = kneser_ney_bits_per_byte(train, held_out)
    assert interval == bootstrap(scores, "bits_per_byte")
    assert interval.value == pytest.approx(scores.nats.sum() / np.log(2) / sum(num_bytes))
    assert 0 < interval.low < interval.value < interval.high < 2


def test_pieces_of_a_cut_file_do_not_end():
    train = ["abcabcabcabc"] * 20
    ends = evaluate_kneser_ney(train, ["abcabc", "abcabc"], validation_ends=[True, False])
    assert ends.tokens.tolist() == [7, 6]
    assert ends.bytes.tolist() == [6, 6]
    assert ends.nats[0] > ends.nats[1]
    never = evaluate_kneser_ney(train, ["abcabc"], train_ends=[False] * 20)
    assert never.nats[0] > ends.nats[0]  # an end that was never seen is a surprise
    with pytest.raises(ValueError):
        evaluate_kneser_ney(train, ["abc"], train_ends=[True])


def test_a_longer_history_helps(small_text):
    train, held_out = small_text(seed=1).split("\n\n"), small_text(num_bytes=9000, seed=2).split("\n\n")
    values = [kneser_ney_bits_per_byte(train, held_out, order).value for order in (1, 2, 3, 5)]
    assert values == sorted(values, reverse=True)
