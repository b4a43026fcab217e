"""Exact match and F1 of answers beside SQuAD's and CMRC 2018's definitions, written out plainly."""

from __future__ import annotations

import collections
import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.evaluation import AnswerScores, bootstrap, metric_of_each, paired_bootstrap, summarize
from stepwell.evaluation.scores.answers import chinese_parts, longest_common_run


def squad_plain(text: str) -> str:
    """Small letters, then no punctuation, then no articles, then single blanks."""
    text = "".join(one for one in text.lower() if one not in set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad(answer: str, right: list[str]) -> tuple[float, float]:
    """Exact match and F1 of one question, SQuAD 2.0."""
    right = [one for one in right if squad_plain(one)] or [""]
    exact, f1 = 0.0, 0.0
    for one in right:
        said, wanted = squad_plain(answer).split(), squad_plain(one).split()
        exact = max(exact, float(said == wanted))
        same = sum((collections.Counter(said) & collections.Counter(wanted)).values())
        if not said or not wanted:
            f1 = max(f1, float(said == wanted))
        elif same:
            precision, recall = same / len(said), same / len(wanted)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


SIGNS = [*"-:_*^/\\~`+=，。：？！“”；’《》", "……", *"·、「」（）－～『』"]


def cmrc_parts(text: str) -> list[str]:
    """Chinese characters alone, what stands between them cut as English words; signs left out."""
    from nltk.tokenize import word_tokenize

    parts: list[str] = []
    between = ""
    for one in text.lower().strip():
        if one in SIGNS:
            continue
        if "\u4e00" <= one <= "\u9fa5":
            parts += word_tokenize(between, preserve_line=True) if between else []
            parts.append(one)
            between = ""
        else:
            between += one
    return parts + (word_tokenize(between, preserve_line=True) if between else [])


def cmrc_common(first: list[str], second: list[str]) -> int:
    """Length of the longest run in both, by trying all."""
    runs = {tuple(first[at : at + n]) for n in range(1, len(first) + 1) for at in range(len(first) - n + 1)}
    found = [
        n for n in range(1, len(second) + 1) for at in range(len(second) - n + 1) if tuple(second[at : at + n]) in runs
    ]
    return max(found, default=0)


def cmrc(answer: str, right: list[str]) -> tuple[float, float]:
    """Exact match and F1 of one question, CMRC 2018."""
    plain = lambda text: "".join(one for one in text.lower().strip() if one not in SIGNS)  # noqa: E731
    exact, f1 = 0.0, 0.0
    for one in right:
        exact = max(exact, float(plain(answer) == plain(one)))
        said, wanted = cmrc_parts(answer), cmrc_parts(one)
        common = cmrc_common(said, wanted)
        if common:
            precision, recall = common / len(said), common / len(wanted)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


ENGLISH = [
    ("The lantern", ["a lantern", "the old lantern"]),
    ("an old-fashioned lantern!", ["old fashioned lantern"]),
    ("seven letters, two coins", ["two letters", "coins"]),
    ("", ["a lantern"]),
    ("a lantern", []),
    ("", []),
    ("", [""]),
    ("the", []),
    ("the", ["the", "lantern"]),
    ("lantern lantern", ["lantern"]),
]


@pytest.mark.parametrize(("answer", "right"), ENGLISH)
def test_english_answers_are_compared_as_squad_does(answer: str, right: list[str]) -> None:
    scores = AnswerScores.of([answer], [right], "en")
    assert (scores.exact[0], scores.f1[0]) == pytest.approx(squad(answer, right))


CHINESE = [
    ("光荣和ω-force", ["光荣和ω-force"]),
    ("光荣、ω-force。", ["光荣和ω-force", "光荣"]),
    ("1998年在北京", ["在北京，1998年", "北京"]),
    ("《战国无双3》", ["战国无双 3"]),
    ("It's GPT-2, not 灯", ["GPT-2 灯"]),
    ("没有", ["一盏灯"]),
    ("", ["一盏灯"]),
]


@pytest.mark.parametrize(("answer", "right"), CHINESE)
def test_chinese_answers_are_compared_as_cmrc_does(answer: str, right: list[str]) -> None:
    for language in ("zh", None):
        scores = AnswerScores.of([answer], [right], language)
        assert (scores.exact[0], scores.f1[0]) == pytest.approx(cmrc(answer, right))


def test_real_chinese_answers_are_compared_as_cmrc_does(real_data: Callable[[str], Path]) -> None:
    with gzip.open(real_data("qa/reading.zh.jsonl.gz"), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(150), lines, strict=False)]
    rng = random.Random(0)
    answers = []
    for row in rows:
        begin = row["context"].find(row["answers"][0]) + rng.choice([0, 0, 2, -3])
        answers.append(row["context"][max(0, begin) : begin + len(row["answers"][0]) + rng.choice([0, 0, 3])])
    scores = AnswerScores.of(answers, [row["answers"] for row in rows], "zh")
    expected = [cmrc(answer, row["answers"]) for answer, row in zip(answers, rows, strict=True)]
    assert list(scores.exact) == [bool(exact) for exact, _ in expected]
    assert list(scores.f1) == pytest.approx([f1 for _, f1 in expected])
    assert 0.1 < bootstrap(scores, "exact_match", resamples=1).value < bootstrap(scores, "f1", resamples=1).value < 1


def test_the_language_of_each_example_is_found_by_its_answers() -> None:
    mixed = AnswerScores.of(["the lantern", "灯。"], ["lantern", "灯"])
    assert list(mixed.f1) == [1, 1]
    assert list(AnswerScores.of(["the lantern"], ["lantern"], "zh").exact) == [False]  # no articles in Chinese


def test_saying_nothing_is_right_where_there_is_no_answer() -> None:
    scores = AnswerScores.of(["", "a lantern", "", ""], [[], [], ["a lantern"], [""]])
    found = {name: one.value for name, one in summarize(scores).items()}
    assert found == {"exact_match": 0.5, "f1": 0.5, "no_answer_accuracy": pytest.approx(2 / 3)}
    assert list(metric_of_each(scores, "no_answer_accuracy")[[0, 1, 3]]) == [1, 0, 1]
    low = bootstrap(scores, "no_answer_accuracy").low
    assert low is not None  # though some drawn sets have no such question
    assert 0 <= low <= 2 / 3


def test_where_each_question_has_an_answer_nothing_is_said_of_those_without() -> None:
    scores = AnswerScores.of(["灯", "a"], ["灯", "b"])
    assert set(summarize(scores)) == {"exact_match", "f1"}


def test_two_models_are_compared_on_the_same_questions() -> None:
    right = [["灯"], []] * 5
    good, bad = AnswerScores.of(["灯", ""] * 5, right), AnswerScores.of(["桥", "灯"] * 5, right)
    assert paired_bootstrap(good, bad, "exact_match").low == 1
    with pytest.raises(ValueError, match="same questions"):
        paired_bootstrap(good, AnswerScores.of(["灯"] * 10, ["灯"] * 10), "f1")


def test_the_longest_run_is_found() -> None:
    rng = random.Random(0)
    for _ in range(200):
        first, second = ([rng.choice("ab") for _ in range(rng.randint(0, 7))] for _ in range(2))
        assert longest_common_run(first, second) == cmrc_common(first, second)
    assert chinese_parts("A B，灯") == ("a b灯", ["a", "b", "灯"])
