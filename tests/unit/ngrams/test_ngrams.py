"""The Kneser-Ney baseline against a plain dictionary of counts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.ngrams import FALLBACK_DISCOUNTS, KneserNey, _Lookup

BEGIN = "begin"


class PlainKneserNey:
    """Chen and Goodman (1999), written as in the paper: dictionaries, recursion and no thought of speed."""

    def __init__(self, vocab_size: int, order: int, sequences: list[list[int]]) -> None:
        self.vocab_size = vocab_size
        raw = Counter(
            (BEGIN, *sequence)[at : at + length]
            for sequence in sequences
            for length in range(1, order + 1)
            for at in range(len(sequence) + 2 - length)
        )
        preceded = defaultdict(set)
        for ngram in raw:
            if len(ngram) > 1:
                preceded[ngram[1:]].add(ngram[0])
        self.counts: dict[tuple, int] = {}
        for ngram, count in raw.items():
            if ngram != (BEGIN,):
                plain = len(ngram) == order or ngram[0] == BEGIN
                self.counts[ngram] = count if plain else len(preceded[ngram])
        self.order = order
        self.followers = defaultdict(list)
        for ngram, count in self.counts.items():
            self.followers[ngram[:-1]].append(count)
        self.discounts = {length: self.estimate(length) for length in range(1, order + 1)}

    def estimate(self, length: int) -> tuple[float, float, float]:
        n = Counter(count for ngram, count in self.counts.items() if len(ngram) == length)
        if not (n[1] and n[2] and n[3]):
            return FALLBACK_DISCOUNTS
        y = n[1] / (n[1] + 2 * n[2])
        found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        return found if min(found) > 0 else FALLBACK_DISCOUNTS

    def probability(self, history: tuple, symbol: int) -> float:
        if len(history) >= self.order:
            history = history[len(history) - self.order + 1 :]
        shorter = self.probability(history[1:], symbol) if history else 1 / self.vocab_size
        followers = self.followers.get(history)
        if not followers:
            return shorter
        discounts = self.discounts[len(history) + 1]
        count = self.counts.get((*history, symbol), 0)
        kept = count - discounts[min(count, 3) - 1] if count else 0.0
        left = sum(discounts[min(c, 3) - 1] for c in followers)
        return (kept + left * shorter) / sum(followers)

    def logprobs(self, sequence: list[int]) -> list[float]:
        symbols = (BEGIN, *sequence)
        return [math.log(self.probability(symbols[:at], symbols[at])) for at in range(1, len(symbols))]


SEQUENCES = st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=6)


@given(train=SEQUENCES, held_out=st.lists(st.integers(0, 4), max_size=12), order=st.integers(1, 5))
def test_it_is_the_plain_model(train, held_out, order):
    fast = KneserNey(5, order).fit(train).logprobs(held_out)
    np.testing.assert_allclose(fast, PlainKneserNey(5, order, train).logprobs(held_out), atol=1e-9)


def text(small_text, seed: int, num_bytes: int = 5_000) -> list[int]:
    return list(small_text(num_bytes=num_bytes, seed=seed).encode())


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_is_the_plain_model_on_text(small_text, order):
    """Real counts, so that discounts are estimated and not the fallback."""
    train = [text(small_text, 1), text(small_text, 2)]
    held_out = text(small_text, 3, num_bytes=300)
    plain = PlainKneserNey(257, order, train)
    assert order < 3 or any(d != FALLBACK_DISCOUNTS for d in plain.discounts.values())
    fast = KneserNey(257, order).fit(train).logprobs(held_out)
    np.testing.assert_allclose(fast, plain.logprobs(held_out), atol=1e-9)


@given(train=SEQUENCES, history=st.lists(st.integers(0, 4), max_size=7), order=st.integers(1, 5))
def test_probabilities_sum_to_one(train, history, order):
    model = KneserNey(5, order).fit(train)
    assert sum(math.exp(model.logprobs([*history, symbol])[-1]) for symbol in range(5)) == pytest.approx(1)


def context(history: list[int], order: int, vocab_size: int) -> list[int]:
    """The last symbols of a history as `predict` wants them."""
    return [*[-1] * order, vocab_size, *history][len(history) + 2 :]


@given(
    train=SEQUENCES, histories=st.lists(st.lists(st.integers(0, 4), max_size=7), min_size=1), order=st.integers(1, 5)
)
def test_predictions_are_the_logprobs_of_every_symbol(train, histories, order):
    model = KneserNey(5, order).fit(train)
    contexts = np.array([context(history, order, 5) for history in histories]).reshape(len(histories), order - 1)
    expected = [[model.logprobs([*history, symbol])[-1] for symbol in range(5)] for history in histories]
    np.testing.assert_allclose(model.predict(contexts), expected, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_predictions_are_the_logprobs_on_text(small_text, order):
    model = KneserNey(257, order).fit([text(small_text, 1), text(small_text, 2)])
    held_out = text(small_text, 3, num_bytes=300)
    contexts = np.array([context(held_out[:at], order, 257) for at in range(len(held_out))]).reshape(len(held_out), -1)
    predicted = model.predict(contexts)
    np.testing.assert_allclose(np.exp(predicted).sum(1), 1, rtol=1e-5)
    chosen = predicted[np.arange(len(held_out)), held_out]
    np.testing.assert_allclose(chosen, model.logprobs(held_out), rtol=1e-5)


def test_what_was_learned_can_be_handed_on():
    model = KneserNey(5, 3).fit([[0, 1, 2, 0, 1, 3], [4, 4]])
    other = KneserNey(5, 3)
    other.restore(model.arrays())
    np.testing.assert_array_equal(other.logprobs([0, 1, 2, 3, 4]), model.logprobs([0, 1, 2, 3, 4]))


@pytest.mark.parametrize("wrong", ["missing", "extra", "order", "vocabulary", "cut"])
def test_arrays_of_another_model_are_refused(wrong):
    model = KneserNey(4 if wrong != "vocabulary" else 9, 3 if wrong != "order" else 2)
    arrays = model.fit([[0, 1, 2, 0, 1, 3, model.vocab_size - 1]]).arrays()
    if wrong == "missing":
        del arrays["2.keys"]
    elif wrong == "extra":
        arrays["2.more"] = np.zeros(1)
    elif wrong == "cut":
        arrays["2.backoff"] = arrays["2.backoff"][:-1]
    with pytest.raises(ValueError, match=r"2\.keys|2\.more|3\.keys|do not fit a vocabulary of 4"):
        KneserNey(4, 3).restore(arrays)


def test_large_vocabularies_do_not_overflow():
    rng = np.random.default_rng(0)
    train = [rng.integers(0, 200_000, 500) for _ in range(3)]
    fast = KneserNey(200_000, 5).fit(train).logprobs(train[0])
    plain = PlainKneserNey(200_000, 5, [sequence.tolist() for sequence in train])
    np.testing.assert_allclose(fast, plain.logprobs(train[0].tolist()), atol=1e-9)


def test_fitting_again_forgets():
    model = KneserNey(4).fit([[0, 1, 2]])
    again = KneserNey(4).fit([[3, 3]]).fit([[0, 1, 2]])
    np.testing.assert_array_equal(model.logprobs([0, 1, 2, 3]), again.logprobs([0, 1, 2, 3]))


def test_nothing_learned_is_uniform():
    np.testing.assert_allclose(KneserNey(4).fit([]).logprobs([0, 3]), [math.log(0.25)] * 2)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="in \\[0, 4\\)"):
        KneserNey(4).fit([[4]])
    with pytest.raises(ValueError, match="in \\[0, 4\\)"):
        KneserNey(4).fit([[1]]).logprobs([-1])
    with pytest.raises(ValueError, match="fit the model"):
        KneserNey(4).logprobs([1])
    with pytest.raises(ValueError, match="fit the model"):
        KneserNey(4).predict(np.zeros((1, 4), np.int64))
    with pytest.raises(ValueError, match="at least 1"):
        KneserNey(4, 0)


@given(
    train=SEQUENCES, held_out=st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=6), order=st.integers(1, 5)
)
def test_totals_are_sums_of_logprobs(train, held_out, order):
    """Sequences that are scored together do not see each other."""
    model = KneserNey(5, order).fit(train)
    plain = [model.logprobs(sequence).sum() for sequence in held_out]
    np.testing.assert_allclose(model.totals(held_out), plain, atol=1e-9)


def test_totals_of_many_sequences(small_text, monkeypatch):
    monkeypatch.setattr("stepwell.ngrams.TOGETHER_SYMBOLS", 700)
    model = KneserNey(257, 4).fit([text(small_text, 1)])
    several = [text(small_text, seed, num_bytes=200) for seed in range(12)]
    np.testing.assert_allclose(model.totals(iter(several)), [model.logprobs(one).sum() for one in several], atol=1e-8)
    assert model.totals([]).shape == (0,)


@given(
    keys=st.sets(st.one_of(st.integers(0, 40), st.integers(0, 2**62)), max_size=60),
    others=st.lists(st.integers(-5, 2**62), max_size=20),
)
def test_the_table_of_hashes_finds_what_binary_search_finds(keys, others):
    held = np.array(sorted(keys), np.int64)
    wanted = np.array([*keys, *others], np.int64)
    numbers = {key: number for number, key in enumerate(held.tolist())}
    assert _Lookup(held).find(wanted).tolist() == [numbers.get(one, -1) for one in wanted.tolist()]
