"""Words of texts in several scripts, and what is repeated among them."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.evaluation import GenerationScores, distinct_ratio, distinct_ratios, metric_of_each, summarize, words_of
from stepwell.evaluation.scores.repetition import repeated_ngram_ratio


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's 2 tails_end!", ["the", "cat", "s", "2", "tails", "end"]),
        ("我在用GPT-2写诗。", ["我", "在", "用", "gpt", "2", "写", "诗"]),
        ("café naïve ÉTÉ", ["café", "naïve", "été"]),
        ("cafe\u0301", ["caf\u00e9"]),
        ("ランプ、メール", ["ラ", "ン", "プ", "メ", "ー", "ル"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("𠮷野家A", ["𠮷", "野", "家", "a"]),
        ("中·国・〇々", ["中", "国", "〇", "々"]),
        ("", []),
        (" ……!!", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


TEXTS = ["the boat and the boat and the boat", "灯灯灯灯灯灯", "", "one"]


def test_what_texts_repeat_within_themselves() -> None:
    scores = GenerationScores.of(TEXTS)
    assert list(scores.words) == [8, 6, 0, 1]
    assert list(metric_of_each(scores, "distinct_1_within")[[0, 1, 3]]) == [3 / 8, 1 / 6, 1]
    assert np.isnan(metric_of_each(scores, "distinct_1_within")[2])
    assert list(scores.repeated) == [pytest.approx(2 / 5), pytest.approx(2 / 3), 0, 0]
    found = {name: one.value for name, one in summarize(scores).items()}
    assert found["distinct_1_within"] == pytest.approx((3 + 1 + 1) / (8 + 6 + 1))
    assert found["distinct_3_within"] == pytest.approx((3 + 1) / (6 + 4))
    assert found["words"] == pytest.approx(15 / 4)
    assert repeated_ngram_ratio([1, 2, 3, 1, 2, 3, 1, 2]) == scores.repeated[0]


def test_what_texts_repeat_among_each_other() -> None:
    found = distinct_ratios(["The boat sank", "the boat swam", "灯在河边"])
    assert found == pytest.approx({"distinct_1": 8 / 10, "distinct_2": 6 / 7, "distinct_3": 1})
    assert distinct_ratio([[1, 2, 3], [1, 2, 4]], 2) == distinct_ratios(["a b c", "a b d"])["distinct_2"]
    assert distinct_ratios([]) == {"distinct_1": 1, "distinct_2": 1, "distinct_3": 1}


def test_texts_without_words_say_nothing_of_distinct_ones() -> None:
    assert set(summarize(GenerationScores.of(["", "!"]))) == {"repeated_4gram_ratio", "words"}
    with pytest.raises(ValueError, match="no examples"):
        summarize(GenerationScores.of([]))
