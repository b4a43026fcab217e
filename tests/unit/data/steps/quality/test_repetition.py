"""Ratios of repetition by the plain definition, beside the bounds that decide most texts."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.steps.filters.quality import repetition
from stepwell.data.steps.filters.quality.config import DUPLICATE_NGRAM_RATIOS, TOP_NGRAM_RATIOS
from stepwell.data.steps.filters.quality.page import Page
from stepwell.data.steps.filters.quality.repetition import (
    broken_duplicate_ngram,
    broken_top_ngram,
    duplicate_characters,
    repeated,
)


def plain_top(page: Page, limits: dict[int, float]) -> int | None:
    """As datatrove: the most frequent n-gram, joined by blanks, times how often it comes."""
    joint = "" if page.is_chinese else " "
    for n, limit in sorted(limits.items()):
        length = n * page.ngram_scale
        ngrams = [joint.join(page.tokens[i : i + length]) for i in range(len(page.tokens) - length + 1)]
        if ngrams:
            ngram, count = Counter(ngrams).most_common(1)[0]
            if len(ngram) * count / len(page.text) > limit:
                return n
    return None


def plain_duplicates(page: Page, limits: dict[int, float]) -> int | None:
    """As datatrove: n-grams seen before, jumped over when found."""
    for n, limit in sorted(limits.items()):
        length, words = n * page.ngram_scale, page.tokens
        unique, characters, at = set(), 0, 0
        while at < len(words) - length + 1:
            ngram = tuple(words[at : at + length])
            if ngram in unique:
                characters += len("".join(ngram))
                at += length
            else:
                unique.add(ngram)
                at += 1
        if characters / len(page.text) > limit:
            return n
    return None


WORDS = {"en": ["a", "the", "miller", "river", "sang", "by", ".", "counted"], "zh": list("的一是人山水月夜。了")}


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Texts of few words, so that much repeats; long ones too, for which arrays are used."""
    language = draw(st.sampled_from(["en", "zh"]))
    rng = random.Random(draw(st.integers(0, 10_000)))
    words = WORDS[language] + [
        f"w{n}" if language == "en" else chr(0x4E00 + n) for n in range(rng.choice([0, 30, 400]))
    ]
    chosen = [rng.choice(words) for _ in range(rng.choice([1, 12, 60, 300, 700]))]
    again = chosen[: rng.randrange(len(chosen))] if rng.random() < 0.5 else []
    return (" " if language == "en" else "").join(chosen + again)


@given(text=texts())
def test_bounds_decide_as_the_plain_definition(text):
    page = Page(text)
    assert broken_top_ngram(page, TOP_NGRAM_RATIOS) == plain_top(page, TOP_NGRAM_RATIOS)
    assert broken_duplicate_ngram(page, DUPLICATE_NGRAM_RATIOS) == plain_duplicates(page, DUPLICATE_NGRAM_RATIOS)


@pytest.mark.parametrize("worth", [0, 10**9], ids=["arrays", "dictionaries"])
def test_with_arrays_and_with_dictionaries(monkeypatch, worth):
    """Both ways on text of all degrees of repetition."""
    monkeypatch.setattr(repetition, "WORTH_ARRAYS_TOKENS", worth)
    rng = random.Random(0)
    broken = 0
    for language in ("en", "zh"):
        words = [f"w{n}" if language == "en" else chr(0x4E00 + n) for n in range(500)]
        joint = " " if language == "en" else ""
        for share in range(0, 40):
            lines = [joint.join(rng.choices(words, k=30)) for _ in range(12)]
            page = Page("\n".join(lines + [line[: 2 * share] for line in lines[:6]]))
            top, duplicates = plain_top(page, TOP_NGRAM_RATIOS), plain_duplicates(page, DUPLICATE_NGRAM_RATIOS)
            assert broken_top_ngram(page, TOP_NGRAM_RATIOS) == top
            assert broken_duplicate_ngram(page, DUPLICATE_NGRAM_RATIOS) == duplicates
            broken += duplicates is not None
    assert 5 < broken < 75, broken


def test_a_hash_that_two_ngrams_share_changes_nothing(monkeypatch):
    """All n-grams have one number: the bound then clears nothing, and the exact count decides."""
    monkeypatch.setattr(repetition, "WORTH_ARRAYS_TOKENS", 0)
    monkeypatch.setattr(Page, "token_hashes", property(lambda page: Page.token_ends.func(page)[1:].view("uint64") * 0))
    page = Page(" ".join(f"w{n}" for n in range(400)))
    assert broken_top_ngram(page, TOP_NGRAM_RATIOS) is None
    assert broken_duplicate_ngram(page, DUPLICATE_NGRAM_RATIOS) is None


def test_repeated_parts_by_hand():
    assert repeated(["ab", "c", "ab", "ab", "c"]) == (3, 5)
    assert repeated(["a", "b"]) == (0, 0)
    assert repeated([]) == (0, 0)


def test_duplicate_characters_by_hand():
    assert duplicate_characters(list("abcabcabc"), 3) == 6  # abc again, jumped over, and again
    assert duplicate_characters(list("aaaa"), 3) == 3
    assert duplicate_characters(list("abcd"), 3) == 0
    assert duplicate_characters(list("ab"), 3) == 0
