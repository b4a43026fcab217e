"""The rules, each a name, the paper it is from, and a function that says whether a page breaks it.

They stand in the order in which they are asked: phrases, then Gopher's, then FineWeb's. Their thresholds were found on
pages of 50 words or more, so most say nothing of a shorter text. This file leaves out what is taken out of a text line
by line (`lines.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stepwell.data.steps.filters.quality.config import GroupName, QualityConfig, RuleName
from stepwell.data.steps.filters.quality.page import CHARACTERS_PER_WORD, LETTERS_PER_ENGLISH_WORD, Page
from stepwell.data.steps.filters.quality.repetition import broken_duplicate_ngram, broken_top_ngram, repeated

PLACEHOLDERS = (
    "lorem ipsum",
    "占位文字",
    "占位文本",
    "此处添加",
    "此处输入",
    "在此输入",
    "在此添加",
    "单击此处编辑",
    "这里是文字内容",
    "示例文字示例文字",
    "內容文字內容文字",
)
"""What fills a layout that has no text yet."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        group: the paper it is from.
        breaks: whether a page breaks it, or the n that says how, for a reason of its own.
        of_pages: whether it is about length, layout or code, and holds not for rows and passages of a long text.
        of_short: whether it holds for texts below `min_words` too.
    """

    group: GroupName
    breaks: Callable[[Page, QualityConfig], bool | int | None]
    of_pages: bool = False
    of_short: bool = False


def _lorem_ipsum(page: Page, config: QualityConfig) -> bool:
    text = page.text.lower()
    return any(phrase in text for phrase in (PLACEHOLDERS if page.is_chinese else PLACEHOLDERS[:1]))


def _short_words(page: Page, config: QualityConfig) -> bool:
    if page.is_chinese:
        return page.mean_clause_characters < config.min_mean_clause_characters
    return page.mean_word_characters < config.min_mean_word_characters


def _long_words(page: Page, config: QualityConfig) -> bool:
    if page.is_chinese:
        return page.mean_clause_characters > config.max_mean_clause_characters
    return page.mean_word_characters > config.max_mean_word_characters


def _bullets(page: Page, config: QualityConfig) -> bool:
    lines = page.lines
    marks = ("•", "-", "·", "●", "○", "■", "◆", "▪", "－", "—") if page.is_chinese else ("•", "-")
    return sum(line.lstrip().startswith(marks) for line in lines) > config.max_bullet_lines_ratio * len(lines)


def _ellipsis_lines(page: Page, config: QualityConfig) -> bool:
    marks = ("...", "…", "。。。") if page.is_chinese else ("...", "…")
    return sum(line.rstrip().endswith(marks) for line in page.lines) > config.max_ellipsis_lines_ratio * len(page.lines)


def _alphabetic(page: Page, config: QualityConfig) -> bool:
    if page.has_fewer_words(config.min_words):
        return not page.has_letters
    return page.alphabetic_words_ratio(config.count_signs_as_words) < config.min_alphabetic_words_ratio


def _curly_bracket(page: Page, config: QualityConfig) -> bool:
    text = page.text
    return text.count("{") > (text.count("-{") if page.is_chinese else 0)  # -{...}- spells names in Chinese wikis


def _stop_words(page: Page, config: QualityConfig) -> bool:
    return sum(word in page.counts for word in config.stop_words) < config.min_stop_words


def _ended_lines(page: Page, config: QualityConfig) -> bool:
    return page.ended_lines_ratio < config.min_ended_lines_ratio


def _short_lines(page: Page, config: QualityConfig) -> bool:
    size: float = config.short_line_characters
    if page.is_chinese:
        size *= CHARACTERS_PER_WORD / LETTERS_PER_ENGLISH_WORD
    lines = page.text_lines
    return sum(len(line) <= size for line in lines) > config.max_short_lines_ratio * len(lines)


def _repeated_lines(page: Page, config: QualityConfig) -> bool:
    characters = len(page.text) - page.text.count("\n")
    return repeated(page.text_lines).characters > config.max_repeated_line_characters_ratio * characters


RULES: dict[RuleName, Rule] = {
    "lorem_ipsum": Rule("c4", _lorem_ipsum, of_short=True),
    "curly_bracket": Rule("c4", _curly_bracket, of_pages=True),
    "too_few_words": Rule("gopher", lambda page, config: page.has_fewer_words(config.min_words), of_pages=True),
    "too_many_words": Rule("gopher", lambda page, config: page.num_words > config.max_words),
    "short_words": Rule("gopher", _short_words),
    "long_words": Rule("gopher", _long_words),
    "too_many_hashes": Rule(
        "gopher", lambda page, config: page.text.count("#") > config.max_hashes_per_word * page.num_tokens
    ),
    "too_many_ellipses": Rule(
        "gopher", lambda page, config: page.num_ellipses > config.max_ellipses_per_word * page.num_tokens
    ),
    "too_many_bullet_lines": Rule("gopher", _bullets, of_pages=True),
    "too_many_ellipsis_lines": Rule("gopher", _ellipsis_lines, of_pages=True),
    "too_few_alphabetic_words": Rule("gopher", _alphabetic, of_short=True),
    "too_few_stop_words": Rule("gopher", _stop_words),
    "duplicate_lines": Rule(
        "gopher",
        lambda page, config: repeated(page.text_lines).parts > config.max_duplicate_lines_ratio * len(page.text_lines),
    ),
    "duplicate_paragraphs": Rule(
        "gopher",
        lambda page, config: (
            repeated(page.paragraphs).parts > config.max_duplicate_paragraphs_ratio * len(page.paragraphs)
        ),
    ),
    "duplicate_line_characters": Rule(
        "gopher",
        lambda page, config: (
            repeated(page.text_lines).characters > config.max_duplicate_line_characters_ratio * len(page.text)
        ),
    ),
    "duplicate_paragraph_characters": Rule(
        "gopher",
        lambda page, config: (
            repeated(page.paragraphs).characters > config.max_duplicate_paragraph_characters_ratio * len(page.text)
        ),
    ),
    "top_ngram": Rule("gopher", lambda page, config: broken_top_ngram(page, config.max_top_ngram_ratios)),
    "duplicate_ngrams": Rule(
        "gopher", lambda page, config: broken_duplicate_ngram(page, config.max_duplicate_ngram_ratios)
    ),
    "too_few_sentences": Rule("c4", lambda page, config: page.num_sentences < config.min_sentences, of_pages=True),
    "few_ended_lines": Rule("fineweb", _ended_lines, of_pages=True),
    "short_lines": Rule("fineweb", _short_lines, of_pages=True),
    "repeated_lines": Rule("fineweb", _repeated_lines, of_pages=True),
    "too_many_line_breaks": Rule(
        "fineweb",
        lambda page, config: page.text.count("\n") > config.max_line_breaks_per_word * page.num_tokens,
        of_pages=True,
    ),
}
"""Name -> rule, in the order in which they are asked."""
