"""Which rules of quality hold, and their thresholds: those of the papers unless the user says otherwise.

This file leaves out how the rules are computed (`rules.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stepwell.data.steps.step import StepConfig, as_several

RuleName = Literal[
    "too_few_words",
    "too_many_words",
    "short_words",
    "long_words",
    "too_many_hashes",
    "too_many_ellipses",
    "too_many_bullet_lines",
    "too_many_ellipsis_lines",
    "too_few_alphabetic_words",
    "too_few_stop_words",
    "duplicate_lines",
    "duplicate_paragraphs",
    "duplicate_line_characters",
    "duplicate_paragraph_characters",
    "top_ngram",
    "duplicate_ngrams",
    "lorem_ipsum",
    "curly_bracket",
    "too_few_sentences",
    "few_ended_lines",
    "short_lines",
    "repeated_lines",
    "too_many_line_breaks",
]
LineRuleName = Literal[
    "line_word_too_long", "line_citations", "line_not_ended", "line_few_words", "line_javascript", "line_policy"
]
GroupName = Literal["gopher", "c4", "c4_lines", "fineweb"]


Ratio = Annotated[float, Field(ge=0, le=1)]
NGramRatios = Mapping[Annotated[int, Field(ge=1, le=20)], Ratio]
TOP_NGRAM_RATIOS = {2: 0.2, 3: 0.18, 4: 0.16}
DUPLICATE_NGRAM_RATIOS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}
ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
CHINESE_STOP_WORDS = ("的", "是", "在", "了", "不", "有", "和", "也", "就", "之", "而", "其", "以", "为", "為")


class QualityConfig(StepConfig):
    """Rules that a text must keep; Chinese is judged by counterparts of the English ones.

    The rules are those of Gopher (Rae et al., 2021), C4 (Raffel et al., 2020) and FineWeb (Penedo et al., 2024), and so
    are the thresholds. Words are those of English; in Chinese 1.7 characters count as one.

    Attributes:
        rules: groups (gopher, c4, fineweb; c4_lines takes lines out of texts) and single rules.
        without: single rules that do not hold, though their group does.
        rows: what the rows of a table are. `texts` may be short (reviews, titles, turns of a chat): they need no number
            of words and sentences, and one below `min_words` is only looked at for placeholders and letters; `pages`
            are whole web pages, judged as the papers do, by length and layout too.
        passage_bytes: a longer text (a book, a corpus in one file) is judged in passages of about this size, and only
            the bad ones are dropped; length and layout do not count then. null judges it whole.
        min_words: gopher, too_few_words.
        max_words: gopher, too_many_words; matters where passages are longer.
        min_mean_word_characters: gopher, short_words; English.
        max_mean_word_characters: gopher, long_words; English.
        min_mean_clause_characters: short_words in Chinese: mean number of characters between two signs or blanks.
        max_mean_clause_characters: long_words in Chinese.
        max_hashes_per_word: gopher, too_many_hashes.
        max_ellipses_per_word: gopher, too_many_ellipses.
        max_bullet_lines_ratio: gopher, too_many_bullet_lines: lines that begin with a bullet.
        max_ellipsis_lines_ratio: gopher, too_many_ellipsis_lines: lines that end in an ellipsis.
        min_alphabetic_words_ratio: gopher, too_few_alphabetic_words: words with a letter.
        count_signs_as_words: too_few_alphabetic_words as datatrove has it, where each comma is a word without a letter;
            that drops one article of twenty of the BBC.
        min_stop_words: gopher, too_few_stop_words: how many different ones.
        stop_words: of English and Chinese; a text in another language needs its own.
        max_duplicate_lines_ratio: gopher, duplicate_lines.
        max_duplicate_paragraphs_ratio: gopher, duplicate_paragraphs.
        max_duplicate_line_characters_ratio: gopher, duplicate_line_characters.
        max_duplicate_paragraph_characters_ratio: gopher, duplicate_paragraph_characters.
        max_top_ngram_ratios: gopher, top_ngram (reasons top_2_gram ...): n -> share of the most frequent n-gram.
        max_duplicate_ngram_ratios: gopher, duplicate_ngrams (reasons duplicate_5_grams ...): n -> share of those that
            were there before.
        min_sentences: c4, too_few_sentences.
        min_line_words: c4_lines, line_few_words.
        max_word_characters: c4_lines, line_word_too_long; English.
        min_ended_lines_ratio: fineweb, few_ended_lines: lines that end in the mark of a sentence.
        max_short_lines_ratio: fineweb, short_lines.
        short_line_characters: a shorter line is a short one; in Chinese 0.3 of it.
        max_repeated_line_characters_ratio: fineweb, repeated_lines: share in lines that were there before.
        max_line_breaks_per_word: fineweb, too_many_line_breaks.
    """

    kind: Literal["quality"] = "quality"
    rules: Annotated[tuple[Literal[GroupName, RuleName, LineRuleName], ...], BeforeValidator(as_several)] = (
        "gopher",
        "c4",
        "fineweb",
    )
    without: Annotated[tuple[Literal[RuleName, LineRuleName], ...], BeforeValidator(as_several)] = ()
    rows: Literal["texts", "pages"] = "texts"
    passage_bytes: int | None = Field(default=1 << 16, ge=4096)
    min_words: int = Field(default=50, ge=0)
    max_words: int = Field(default=100_000, ge=1)
    min_mean_word_characters: float = Field(default=3, ge=0)
    max_mean_word_characters: float = Field(default=10, gt=0)
    min_mean_clause_characters: float = Field(default=2, ge=0)
    max_mean_clause_characters: float = Field(default=60, gt=0)
    max_hashes_per_word: float = Field(default=0.1, ge=0)
    max_ellipses_per_word: float = Field(default=0.1, ge=0)
    max_bullet_lines_ratio: Ratio = 0.9
    max_ellipsis_lines_ratio: Ratio = 0.3
    min_alphabetic_words_ratio: Ratio = 0.8
    count_signs_as_words: bool = False
    min_stop_words: int = Field(default=2, ge=0)
    stop_words: tuple[str, ...] = ENGLISH_STOP_WORDS + CHINESE_STOP_WORDS
    max_duplicate_lines_ratio: Ratio = 0.3
    max_duplicate_paragraphs_ratio: Ratio = 0.3
    max_duplicate_line_characters_ratio: Ratio = 0.2
    max_duplicate_paragraph_characters_ratio: Ratio = 0.2
    max_top_ngram_ratios: NGramRatios = TOP_NGRAM_RATIOS
    max_duplicate_ngram_ratios: NGramRatios = DUPLICATE_NGRAM_RATIOS
    min_sentences: int = Field(default=5, ge=0)
    min_line_words: int = Field(default=3, ge=0)
    max_word_characters: int = Field(default=1000, ge=1)
    min_ended_lines_ratio: Ratio = 0.12
    max_short_lines_ratio: Ratio = 0.67
    short_line_characters: int = Field(default=30, ge=0)
    max_repeated_line_characters_ratio: Ratio = 0.01
    max_line_breaks_per_word: float = Field(default=0.3, ge=0)
