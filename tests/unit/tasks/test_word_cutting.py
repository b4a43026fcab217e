"""Words of a text, cut as those of the training data."""

from __future__ import annotations

import pytest

from stepwell.tasks.word_cutting import cut_words, found_cut, joined, words_in


@pytest.mark.parametrize(
    ("sentence", "cut"),
    [
        (["浙", "商", "银", "行", "C", "S"], "characters"),
        (["浙商", "银行", "很", "大", "。"], "chinese_words"),
        (["It", "'s", "fine", ",", "Paul", "."], "signs"),
        (["It's", "fine,", "Paul."], "blanks"),
        ([], "blanks"),
    ],
)
def test_how_words_were_cut_is_found(sentence: list[str], cut: str) -> None:
    assert found_cut([sentence] * 3) == cut


@pytest.mark.parametrize(
    ("cut", "text", "words"),
    [
        ("characters", "浙商 CS。", ["浙", "商", "C", "S", "。"]),
        ("blanks", " Hello,  world. ", ["Hello,", "world."]),
        ("signs", "(Hello), it's Paul!!", ["(", "Hello", ")", ",", "it", "'s", "Paul", "!", "!"]),
        ("signs", "I don't, @paul #tag", ["I", "do", "n't", ",", "@paul", "#tag"]),
        ("signs", "see http://a.b/c, ok?", ["see", "http://a.b/c,", "ok", "?"]),
        ("signs", "... @ U.S.", [".", ".", ".", "@", "U.S", "."]),
        ("signs", "", []),
    ],
)
def test_a_text_is_cut(cut, text: str, words: list[str]) -> None:
    found = cut_words(text, cut)
    assert [word.text for word in found] == words
    assert all(text[word.start : word.end] == word.text for word in found)


def test_chinese_words_are_those_of_a_dictionary() -> None:
    rjieba = pytest.importorskip("rjieba")
    text = "我在北京大学读书, I read!"
    found = cut_words(text, "chinese_words")
    assert [word.text for word in found] == [*rjieba.cut("我在北京大学读书"), ",", "I", "read", "!"]
    assert all(text[word.start : word.end] == word.text for word in found)


@pytest.mark.parametrize(
    ("cut", "words", "text"),
    [
        ("characters", ["浙", "C", "S"], "浙CS"),
        ("signs", ["It", "is", "."], "It is ."),
        ("chinese_words", ["我们", "read", "it", "书"], "我们read it书"),
        ("signs", ["", "a"], "a"),
    ],
)
def test_words_are_joined_and_keep_their_places(cut, words: list[str], text: str) -> None:
    made, placed = joined(words, cut)
    assert made == text
    assert [made[word.start : word.end] for word in placed] == words


def test_cells_of_a_table() -> None:
    assert words_in("a  b\tc") == ["a", "b", "c"]
    assert words_in(["a b", 3]) == ["a b", "3"]
    assert words_in(None) is None
    assert words_in({"a": 1}) is None
