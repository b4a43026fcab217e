"""The best sequence of tags, and how probable spans are, beside all sequences counted one by one."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest

from stepwell.tasks import Chain, best_tags, log_partitions
from stepwell.tasks.tag_decoding import FORBIDDEN, Floats
from stepwell.tasks.tag_schemes import all_tags, allowed_transitions


def score_of(path: tuple[int, ...], scores: Floats, transitions: Floats) -> float:
    """The plain sum that a sequence is judged by."""
    whole = [len(transitions) - 1, *path, len(transitions) - 1]
    return float(scores[range(len(path)), path].sum() + sum(transitions[pair] for pair in pairwise(whole)))


def every_path(scores: Floats, transitions: Floats) -> dict[tuple[int, ...], float]:
    length, size = scores.shape
    return {path: score_of(path, scores, transitions) for path in product(range(size), repeat=length)}


@pytest.fixture(params=["free", "BIO", "BIOES"])
def chains(request: pytest.FixtureRequest) -> tuple[list[Floats], Floats]:
    """Sentences of 1 to 5 words, and transitions, some of them forbidden."""
    rng = np.random.default_rng(5)
    tags = all_tags("x", request.param) if request.param != "free" else ("a", "b", "c")
    size = len(tags)
    transitions = rng.normal(size=(size + 1, size + 1))
    if request.param != "free":
        transitions = np.where(allowed_transitions(tags, request.param), transitions, FORBIDDEN)
    return [rng.normal(scale=2, size=(length, size)) for length in (3, 1, 5, 2, 4, 4, 1)], transitions


def test_best_is_the_best_of_all(chains: tuple[list[Floats], Floats]) -> None:
    several, transitions = chains
    for scores, found in zip(several, best_tags(several, transitions), strict=True):
        paths = every_path(scores, transitions)
        assert tuple(found.tolist()) == max(paths, key=lambda path: paths[path])


def test_all_sequences_are_summed(chains: tuple[list[Floats], Floats]) -> None:
    several, transitions = chains
    for scores, found in zip(several, log_partitions(several, transitions), strict=True):
        assert found == pytest.approx(math.log(sum(map(math.exp, every_path(scores, transitions).values()))))
        assert found == pytest.approx(Chain(scores, transitions).log_partition)


def test_a_span_is_as_probable_as_the_sequences_that_have_it(chains: tuple[list[Floats], Floats]) -> None:
    several, transitions = chains
    for scores in several:
        chain = Chain(scores, transitions)
        chances = {
            path: math.exp(score - chain.log_partition) for path, score in every_path(scores, transitions).items()
        }
        for first, last in ((0, 1), (0, len(scores)), (len(scores) - 1, len(scores))):
            for part in product(range(scores.shape[1]), repeat=last - first):
                right = sum(chance for path, chance in chances.items() if path[first:last] == part)
                assert math.exp(chain.log_probability(part, first)) == pytest.approx(right, abs=1e-12)


def test_sentences_without_words_have_no_tags() -> None:
    nothing = np.zeros((0, 3))
    assert [len(one) for one in best_tags([nothing, np.ones((2, 3)), nothing], np.zeros((4, 4)))] == [0, 2, 0]
    assert log_partitions([nothing], np.zeros((4, 4))).tolist() == [0.0]


def test_many_sentences_are_decoded_like_each_alone() -> None:
    rng = np.random.default_rng(1)
    transitions = rng.normal(size=(5, 5))
    several = [rng.normal(size=(int(length), 4)) for length in rng.integers(0, 30, 600)]
    together = best_tags(several, transitions)
    for number in range(0, 600, 37):
        assert np.array_equal(together[number], best_tags([several[number]], transitions)[0])
