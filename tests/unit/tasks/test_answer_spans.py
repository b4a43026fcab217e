"""The best passage over windows, beside every passage looked at one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stepwell.tasks import AnswerWindow, QuestionRead, best_answers, best_margin, span_margins


def read_of(count: int, windows: list[tuple[int, int]], begin: int = 2) -> QuestionRead:
    """A context of so many letters, each a token, read in windows of (first, count)."""
    context = "".join(chr(ord("a") + n % 26) for n in range(count))
    places = np.stack([np.arange(count), np.arange(1, count + 1)], axis=1)
    ids = [AnswerWindow(np.zeros(begin + size + 1, np.int64), first, begin) for first, size in windows]
    return QuestionRead(context, places, ids)


def plain_margins(read: QuestionRead, outputs: list[np.ndarray], longest: int) -> dict[tuple[int, int], float]:
    """The oracle: every passage of every window."""
    found: dict[tuple[int, int], float] = {}
    for window, told in zip(read.windows, outputs, strict=True):
        for first in range(window.count):
            for last in range(first, min(window.count, first + longest)):
                score = told[window.begin + first, 0] + told[window.begin + last, 1] - told[-1].sum()
                key = window.first + first, window.first + last
                found[key] = max(found.get(key, -math.inf), score)
    return found


@pytest.mark.parametrize("longest", [1, 3, 20])
@pytest.mark.parametrize("windows", [[(0, 7)], [(0, 4), (2, 4), (3, 4)], [(0, 3), (3, 4)]])
def test_margins_are_those_of_every_passage(windows: list[tuple[int, int]], longest: int) -> None:
    rng = np.random.default_rng(0)
    read = read_of(7, windows)
    outputs = [rng.normal(size=(len(one.token_ids), 2)).astype(np.float32) for one in read.windows]
    margins, plain = span_margins(read, outputs, longest), plain_margins(read, outputs, longest)
    got = {(n, n + more): margins[n, more] for n, more in zip(*np.nonzero(np.isfinite(margins)), strict=True)}
    assert got == pytest.approx(plain)
    for none in (True, False):
        total = math.fsum(map(math.exp, plain.values())) + none
        found = best_answers(read, margins, 100, may_have_none=none)
        best = sorted(plain.values(), reverse=True)
        assert [one.margin for one in found] == pytest.approx(best)
        assert [one.probability for one in found] == pytest.approx([math.exp(margin) / total for margin in best])
        assert [one.text for one in found] == [read.context[one.start : one.end] for one in found]
        assert best_answers(read, margins, 2, may_have_none=none) == found[:2]


def test_a_text_is_given_once_at_its_best_place() -> None:
    read = read_of(3, [(0, 3)])
    again = QuestionRead("aba", read.places, read.windows)
    outputs = np.zeros((6, 2))
    outputs[4] = 5.0  # the second a
    found = best_answers(again, span_margins(again, [outputs], 1), 5, may_have_none=False)
    assert (found[0].text, found[0].start) == ("a", 2)
    assert sorted(one.text for one in found) == ["a", "b"]


def test_a_place_is_given_once_without_blanks_around_it() -> None:
    context = " 渔 "
    places = np.array([[0, 1], [1, 2], [1, 2], [1, 2], [2, 3]])  # a character of three tokens between blanks
    read = QuestionRead(context, places, [AnswerWindow(np.zeros(7, np.int64), 0, 1)])
    margins = span_margins(read, [np.random.default_rng(1).normal(size=(7, 2))], 5)
    (found,) = best_answers(read, margins, 10, may_have_none=True)
    assert (found.text, found.start, found.end) == ("渔", 1, 2)
    assert 0 < found.probability < 1


def test_nothing_read_has_no_answer() -> None:
    read = QuestionRead("", np.zeros((0, 2), np.int64), [])
    assert best_answers(read, span_margins(read, [], 3), 5, may_have_none=True) == []


def test_the_margin_gains_as_much_as_any() -> None:
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 12):
        for _ in range(30):
            margins = rng.integers(-3, 4, size).astype(float)
            answered, silent = rng.integers(0, 3, size) / 2, rng.integers(0, 2, size).astype(float)
            chosen = best_margin(margins, answered, silent)

            def gain(margin: float) -> float:
                return float(np.where(margins > margin, answered, silent).sum())  # noqa: B023

            edges = [*(margins - 0.5), margins.max() + 1]
            assert gain(chosen) == pytest.approx(max(map(gain, edges)))
            if gain(0.0) == pytest.approx(max(map(gain, edges))):
                assert chosen == 0.0


def test_without_questions_any_margin_will_do() -> None:
    assert best_margin([], [], []) == 0.0
    assert best_margin([-math.inf], [0.0], [1.0]) == 0.0
