"""ROUGE beside rouge-score's own, and beside a plain count where that library has no words."""

from __future__ import annotations

from collections import Counter

import pytest
from rouge_score.rouge_scorer import RougeScorer

from stepwell.evaluation import SummaryScores, bootstrap, metric_of_each, paired_bootstrap, summarize, words_of

KINDS = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
RIGHT = [
    "Rivers carried the lantern under the bridge before the storm.",
    "The 2 merchants' unfinished song was sold -- for two silver coins!",
    "Nobody remembered the map.",
    "short",
]
MADE = [
    "The lantern was carried under a bridge by rivers, before storms.",
    "An unfinished song: sold for 2 silver coins",
    "",
    "short",
]


def test_english_is_as_rouge_score_counts_it_by_itself() -> None:
    scorer = RougeScorer(list(KINDS.values()))
    scores = SummaryScores.of(MADE, RIGHT)
    for mine, theirs in KINDS.items():
        expected = [scorer.score(right, made)[theirs].fmeasure for right, made in zip(RIGHT, MADE, strict=True)]
        assert metric_of_each(scores, mine) == pytest.approx(expected)
        assert bootstrap(scores, mine, resamples=1).value == pytest.approx(sum(expected) / len(expected))


def test_of_several_references_the_nearest_counts_as_with_rouge_score() -> None:
    right = [[RIGHT[0], RIGHT[2]], [RIGHT[3], RIGHT[1]]]
    scorer, scores = RougeScorer(list(KINDS.values())), SummaryScores.of(MADE[:2], right)
    for mine, theirs in KINDS.items():
        expected = [scorer.score_multi(*pair)[theirs].fmeasure for pair in zip(right, MADE[:2], strict=True)]
        assert metric_of_each(scores, mine) == pytest.approx(expected)
    assert list(scores.wanted_words) == [(10 + 4) / 2, (1 + 11) / 2]


def plain_rouge(made: list[str], right: list[str], n: int) -> float:
    """F1 of n-grams, as the paper counts them."""
    grams = [Counter(zip(*(words[at:] for at in range(n)), strict=False)) for words in (made, right)]
    both = sum((grams[0] & grams[1]).values())
    return 2 * both / max(1, sum(grams[0].values()) + sum(grams[1].values()))


def plain_common(made: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence, by trying."""
    if not made or not right:
        return 0
    if made[0] == right[0]:
        return 1 + plain_common(made[1:], right[1:])
    return max(plain_common(made[1:], right), plain_common(made, right[1:]))


@pytest.mark.parametrize(
    ("made", "right"),
    [("河边的灯", "桥下河边一盏灯"), ("用GPT-2写诗", "GPT-2写的诗歌"), ("ランタンを忘れた", "彼はランタンを忘れる")],
)
def test_chinese_and_japanese_are_counted_by_character(made: str, right: str) -> None:
    assert RougeScorer(["rouge1"]).score("桥下河边", "河边")["rouge1"].fmeasure == 0  # with its own tokenizer
    found = {name: one.value for name, one in summarize(SummaryScores.of([made], [right])).items()}
    one, other = words_of(made), words_of(right)
    assert found["rouge_1"] == pytest.approx(plain_rouge(one, other, 1))
    assert found["rouge_2"] == pytest.approx(plain_rouge(one, other, 2))
    assert found["rouge_l"] == pytest.approx(2 * plain_common(one, other) / (len(one) + len(other)))
    assert found["length_ratio"] == pytest.approx(len(one) / len(other))
    assert 0 < found["rouge_1"] < 1


def test_empty_texts_match_nothing() -> None:
    found = summarize(SummaryScores.of(["", "灯"], ["", ""]))
    assert {name: one.value for name, one in found.items()} == {"rouge_1": 0, "rouge_2": 0, "rouge_l": 0}


def test_the_length_ratio_says_no_model_is_better() -> None:
    scores = SummaryScores.of(MADE, RIGHT)
    assert scores.metrics["length_ratio"].higher_is_better is None
    with pytest.raises(ValueError, match="same texts"):
        paired_bootstrap(scores, SummaryScores.of(MADE, RIGHT[::-1]), "rouge_1")
