"""Metrics of conversations, and judges: fair ones, biased ones, broken ones."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.errors import UsageError
from stepwell.evaluation import ChatScores, bootstrap, judged, paired_bootstrap, summarize


def test_by_hand() -> None:
    scores = ChatScores.of([4.0, 6.0, 0.0], [4, 1, 0], stopped=[True, None, False], well_formed=[None, None, True])
    found = {name: one.value for name, one in summarize(scores).items()}
    assert found == pytest.approx({"loss": 2, "perplexity": np.exp(2), "stop_rate": 0.5, "format_rate": 1})


def test_flags_may_be_arrays() -> None:
    scores = ChatScores.of([1.0, 1.0], [1, 2], stopped=np.array([True, False]))
    assert (list(scores.answered), list(scores.stopped)) == ([True, True], [True, False])


def test_what_was_not_looked_at_is_not_told() -> None:
    assert set(summarize(ChatScores.of([1.0, 1.0], [1, 2]))) == {"loss", "perplexity"}
    nobody = ChatScores.of([1.0, 1.0], [1, 2], stopped=[None, None])
    assert set(summarize(nobody)) == {"loss", "perplexity"}


def test_losses_compare_for_one_tokenizer_only() -> None:
    first = ChatScores.of([1.0, 2.0], [1, 2], stopped=[True, True])
    second = ChatScores.of([1.0, 2.0], [2, 2], stopped=[False, False])
    assert paired_bootstrap(first, second, "stop_rate").value == 1
    with pytest.raises(ValueError, match="one tokenizer"):
        paired_bootstrap(first, second, "loss")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ChatScores.of([1.0], [1, 2]), "equal length"),
        (lambda: ChatScores.of([1.0], [1], stopped=[True, False]), "equal length"),
        (lambda: ChatScores.of([1.0], [1], stopped=[]), "equal length"),
        (lambda: ChatScores.of([1.0], [0]), "no token of an answer counts"),
    ],
)
def test_what_does_not_fit_is_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def longer(prompt: str, first: str, second: str) -> str:
    return "tie" if len(first) == len(second) else "a" if len(first) > len(second) else "b"


def test_a_fair_judge_is_heard_in_both_orders() -> None:
    scores = judged(["?"] * 3, ["long one", "same", "x"], ["short", "like", "yes"], longer)
    assert list(scores.worth) == [1, 0.5, 0]
    assert bootstrap(scores, "win_rate").value == 0.5
    assert bootstrap(scores, "judge_agreement").value == 1


@pytest.mark.parametrize("place", ["a", "b"])
def test_a_judge_that_looks_at_the_place_alone_decides_nothing(place: str) -> None:
    scores = judged(["?"] * 4, ["good"] * 4, ["bad"] * 4, lambda prompt, first, second: place)
    assert bootstrap(scores, "win_rate").value == 0.5
    assert bootstrap(scores, "judge_agreement").value == 0


def test_a_win_and_a_tie_are_three_quarters() -> None:
    scores = judged(["?"], ["good"], ["bad"], lambda prompt, first, second: "a" if first == "good" else "tie")
    assert list(scores.worth) == [0.75]


def test_a_judge_that_fails_is_named_with_its_example() -> None:
    def broken(prompt: str, first: str, second: str) -> str:
        if prompt == "bad":
            raise KeyError("no such key")
        return "a"

    with pytest.raises(UsageError, match="judge: failed on example 1") as caught:
        judged(["good", "bad"], ["x", "x"], ["y", "y"], broken)
    assert "KeyError" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("said", ["A", "", None, 1, ["a"], True])
def test_a_judge_that_says_something_else_is_refused(said: object) -> None:
    with pytest.raises(UsageError, match="what it said of example 0"):
        judged(["?"], ["x"], ["y"], lambda prompt, first, second: said)


def test_other_examples_are_refused() -> None:
    with pytest.raises(UsageError, match="2 prompts, 1 answers"):
        judged(["?", "?"], ["x"], ["y"], longer)
