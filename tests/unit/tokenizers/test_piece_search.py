"""The learning of a unigram model beside a plain one: all ways to cut a word, one by one."""

from __future__ import annotations

import math
import random
from itertools import product

import numpy as np
import pytest

from stepwell.tokenizers import piece_search
from stepwell.tokenizers.piece_search import learn_pieces


def ways(word: str, pieces: dict[str, float]) -> list[list[str]]:
    """Every way to cut a word into pieces."""
    if not word:
        return [[]]
    return [
        [word[:end], *rest]
        for end in range(1, len(word) + 1)
        if word[:end] in pieces
        for rest in ways(word[end:], pieces)
    ]


def probability(cut: list[str], pieces: dict[str, float]) -> float:
    return math.prod(pieces[piece] for piece in cut)


def plain_expected(words: dict[str, int], pieces: dict[str, float]) -> dict[str, float]:
    """How often each piece is expected."""
    expected = dict.fromkeys(pieces, 0.0)
    for word, count in words.items():
        cuts = ways(word, pieces)
        total = sum(probability(cut, pieces) for cut in cuts)
        for cut in cuts:
            for piece in cut:
                expected[piece] += count * probability(cut, pieces) / total
    return expected


def plain_loss(piece: str, pieces: dict[str, float], expected: float) -> float:
    """What it costs to write a piece by others."""
    others = [probability(cut, pieces) for cut in ways(piece, pieces) if cut != [piece]]
    return expected * (math.log(pieces[piece]) - math.log(max(others)))


@pytest.fixture(params=range(4))
def learned(request):
    """Words, the corpus and pieces of it, with drawn probabilities."""
    draw = random.Random(request.param)
    words = {"".join(draw.choices("abc井", k=draw.randint(1, 9))): draw.randint(1, 20) for _ in range(25)}
    corpus = piece_search._Corpus(words, "abc井z")
    seeds = corpus.choose(30)
    values = np.array([draw.uniform(0.01, 0.2) for _ in range(len(seeds))])
    return words, corpus, seeds, values, dict(zip(seeds.texts(corpus), values.tolist(), strict=True))


def test_seeds_are_the_substrings_that_save_most(learned):
    words, _, seeds, _, pieces = learned
    assert len(pieces) == len(seeds) == 30 + 5
    counts: dict[str, int] = {}
    for word, count in words.items():
        for start, end in product(range(len(word)), range(len(word) + 1)):
            if end - start > 1:
                counts[word[start:end]] = counts.get(word[start:end], 0) + count
    savings = sorted((count * (len(text) - 1) for text, count in counts.items() if count > 1), reverse=True)
    assert sorted((counts[text] * (len(text) - 1) for text in pieces if len(text) > 1), reverse=True) == savings[:30]


def test_expectations_are_those_over_all_ways(learned):
    words, corpus, seeds, values, pieces = learned
    found = piece_search._Edges(corpus, seeds).expected(values)
    wanted = plain_expected(words, pieces)
    assert dict(zip(pieces, found.tolist(), strict=True)) == pytest.approx(wanted, rel=1e-9)


def test_losses_are_those_of_the_best_other_way(learned):
    words, _, seeds, values, pieces = learned
    expected = np.array(list(plain_expected(words, pieces).values()))
    losses = piece_search._loss(seeds, values, expected)
    for (piece, loss), count in zip(zip(pieces, losses.tolist(), strict=True), expected.tolist(), strict=True):
        assert loss == (math.inf if len(piece) == 1 else pytest.approx(plain_loss(piece, pieces, count), rel=1e-9))


def test_fewer_seeds_give_the_same_expectations(learned):
    words, corpus, seeds, values, pieces = learned
    kept = seeds.is_single | (np.arange(len(seeds)) % 2 == 0)
    found = piece_search._Edges(corpus, seeds.only(kept)).expected(values[kept])
    fewer = {piece: value for (piece, value), stays in zip(pieces.items(), kept, strict=True) if stays}
    assert list(seeds.only(kept).texts(corpus)) == list(fewer)
    assert found.tolist() == pytest.approx(list(plain_expected(words, fewer).values()), rel=1e-9)


def test_each_round_makes_the_words_more_probable():
    words = {"lantern": 9, "lanterns": 4, "stern": 3, "tern": 2, "antlers": 1}
    corpus = piece_search._Corpus(words, set("".join(words)))
    seeds = corpus.choose(40)
    edges, values = piece_search._Edges(corpus, seeds), np.full(len(seeds), 1 / len(seeds))

    def likelihood(values: np.ndarray) -> float:
        pieces = dict(zip(seeds.texts(corpus), values.tolist(), strict=True))
        return sum(
            count * math.log(sum(probability(cut, pieces) for cut in ways(word, pieces)))
            for word, count in words.items()
        )

    before = likelihood(values)
    for _ in range(5):  # without the prior, the expectation-maximisation can only go up
        expected = edges.expected(values)
        values = np.maximum(expected / expected.sum(), 1e-12)
        after = likelihood(values)
        assert after >= before - 1e-9
        before = after


def test_digamma():
    special = pytest.importorskip("scipy.special")
    values = np.array([0.5, 1.0, 1.5, 2.0, 5.99, 6.0, 30.0, 1e6])
    assert piece_search._digamma(values) == pytest.approx(special.digamma(values), abs=1e-6)


def test_a_frequent_word_is_a_piece_though_no_other_word_has_it():
    pieces = learn_pieces({"lantern": 100, "gate": 80, "xy": 1}, set("lanterngatexy"), 11)
    assert {piece for piece in pieces if len(piece) > 1} == {"lantern", "gate"}
    assert sum(math.exp(score) for score in pieces.values()) == pytest.approx(1, abs=0.05)


def test_long_words_are_looked_at_in_parts():
    pieces = learn_pieces({"ab" * 5_000: 1}, "ab", 10)
    assert all(math.isfinite(score) for score in pieces.values())
    assert max(map(len, pieces)) == piece_search.LONGEST_PIECE


def test_no_words():
    assert learn_pieces({}, "", 10) == {}
    assert learn_pieces({}, "ab", 10).keys() == {"a", "b"}
