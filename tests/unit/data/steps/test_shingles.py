"""Hashed n-grams beside plain ones: two texts share a hash just where they share an n-gram."""

from __future__ import annotations

import gzip
import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.steps.duplicates.shingles import WINDOW_CHARACTERS, batches, ngrams, shingles_of, units_of

TEXT = st.text(st.sampled_from("abcABZ019_ \n.,-é중국文字。，ァア々กา́😀𠀀Ａ１"), max_size=40)


def is_character(letter: str) -> bool:
    """A character that is a unit by itself, of those in the tests."""
    return letter in "々〇" or unicodedata.name(letter, "").startswith(
        ("CJK UNIFIED", "KATAKANA", "HALFWIDTH KATAKANA", "HIRAGANA", "THAI")
    )


def plain_units(text: str) -> list[tuple[str, bool]]:
    """Units of a text as (text, whether it is a character), letter by letter."""
    units: list[tuple[str, bool]] = []
    goes_on = False
    for letter in text:
        is_letter = letter.isalnum() or unicodedata.category(letter).startswith("M")
        folded = unicodedata.normalize("NFKC", letter)[0].lower()[0]
        if not is_letter:
            goes_on = False
        elif is_character(letter):
            units.append((folded, True))
            goes_on = False
        elif goes_on:
            units[-1] = (units[-1][0] + folded, False)
        else:
            units.append((folded, False))
            goes_on = True
    return units


def plain_ngrams(text: str, words: int, characters: int) -> list[tuple[str, ...]]:
    units = plain_units(text)
    lengths = [characters if alone else words for _, alone in units]
    return [
        tuple(unit for unit, _ in units[start : start + length])
        for start, length in enumerate(lengths)
        if start + length <= len(units)
    ]


def check(texts: Sequence[str], words: int, characters: int) -> None:
    """The same n-grams, in the same places, with a hash of its own for each."""
    shingles = shingles_of(texts, words, characters)
    assert len(shingles) == len(texts)
    numbers: dict[tuple[str, ...], int] = {}
    for place, text in enumerate(texts):
        expected, hashes = plain_ngrams(text, words, characters), shingles.of(place).tolist()
        assert len(hashes) == len(expected)
        for ngram, number in zip(expected, hashes, strict=True):
            assert numbers.setdefault(ngram, number) == number
    assert len(set(numbers.values())) == len(numbers)


@given(st.lists(TEXT, max_size=5), st.integers(1, 4), st.integers(1, 4))
def test_hashes_are_those_of_plain_ngrams(texts: list[str], words: int, characters: int) -> None:
    check(texts, words, characters)


def test_on_real_english(real_data) -> None:
    text = real_data("lm/wikitext2-valid.txt").read_text(encoding="utf-8")[:60_000]
    check([text[:1_000], text, text[500:2_500]], 5, 5)


def test_on_real_chinese(real_data) -> None:
    text = gzip.decompress(real_data("lm/hongloumeng.zh.txt.gz").read_bytes()).decode()[:20_000]
    check([text[:1_000], text, text[500:2_500]], 5, 8)


def test_case_width_blanks_and_punctuation_do_not_count() -> None:
    one, other, chinese, spaced, different = (
        shingles_of([text], 3, 3).hashes.tolist()
        for text in (
            "The quick (brown) fox",
            "ＴＨＥ  quick\nbrown fox!",
            "他说：“这本书，很好”",
            "他说 这 本 书 很\n好。",
            "The quick brown dog",
        )
    )
    assert one == other
    assert chinese == spaced
    assert one[0] == different[0]
    assert one[1] != different[1]


@pytest.mark.parametrize("texts", [[], [""], ["", "..."], ["a b", "", "中文"]])
def test_texts_that_are_too_short_have_none(texts: list[str]) -> None:
    shingles = shingles_of(texts, 3, 3)
    assert len(shingles) == len(texts)
    assert not len(shingles.hashes)


def test_a_text_longer_than_a_window_is_the_same_as_in_parts() -> None:
    words = [f"w{number}" for number in range(WINDOW_CHARACTERS // 3)]
    whole = shingles_of(["! " * 50_000 + " ".join(words)], 1, 1).hashes
    parts = shingles_of([" ".join(words[start : start + 100]) for start in range(0, len(words), 100)], 1, 1).hashes
    np.testing.assert_array_equal(whole, parts)
    assert len(np.unique(whole)) == len(words)


def test_a_word_longer_than_a_window_ends() -> None:
    units = units_of(["x" * (2 * WINDOW_CHARACTERS + 5)])
    assert units.starts.tolist() == [0, WINDOW_CHARACTERS, 2 * WINDOW_CHARACTERS]


def test_the_texts_beside_it_change_nothing() -> None:
    texts = ["one two three four", "一二三四五", "", "five six " * 9_000, "seven eight nine"]
    together = shingles_of(texts, 2, 3)
    for number, text in enumerate(texts):
        np.testing.assert_array_equal(together.of(number), shingles_of([text], 2, 3).hashes)


def test_short_texts_are_hashed_as_a_whole() -> None:
    texts = ["a b c d e f", "a b c", "A, b: c!", "a b", "a b d", "一二三四", "一二三", "a b c d e f g"]
    shingles = shingles_of(texts, 6, 7, short=True)
    assert np.diff(shingles.offsets).tolist() == [1, 1, 1, 0, 1, 1, 0, 2]
    assert shingles.of(1) == shingles.of(2)
    assert shingles.of(1) != shingles.of(4)
    assert shingles.of(0) == shingles.of(7)[:1]


def test_where_ngrams_begin() -> None:
    text = "Ab, 一二 cd"
    units = units_of([text])
    starts, _ = ngrams(units, 2, 3)
    assert [text[place] for place in units.starts] == ["A", "一", "二", "c"]
    assert starts.tolist() == [0, 1]


def test_batches_hold_so_many_characters() -> None:
    assert list(batches(["ab", "c", "defgh", "i", "jk"], 6)) == [["ab", "c"], ["defgh"], ["i", "jk"]]
