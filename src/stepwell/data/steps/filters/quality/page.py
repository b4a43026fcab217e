"""A text as the rules of quality see it: words, lines, paragraphs, and whether it is Chinese.

What the papers say of words is said of Chinese by the character: it has no blanks between words, and a word has about
1.7 characters (measured with rjieba on news, reviews, abstracts and novels: 1.6 to 1.85). So 50 words are 85
characters, and an n-gram of five words is one of ten characters. This file leaves out the rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHARACTERS_PER_WORD = 1.7
NGRAM_CHARACTERS_PER_WORD = 2
"""Of the words that make up terms; with fewer, abstracts that name their subject five times are taken for spam."""
LETTERS_PER_ENGLISH_WORD = 5.7
"""With the blank or mark after it; measured on news. A Chinese line says as much with fewer characters."""

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007"

_HAN_RUNS = re.compile(f"[{HAN}]+")
_LATIN_RUNS = re.compile(rf"[^\W\d_{HAN}]+")
# Much as spaCy parts English: clitics and signs are words of their own, hyphens part words, points in numbers do not.
_TOKENS = re.compile(r"\w+(?:[.,:]\d+)*|['’](?:s|re|ve|ll|d|m|t)\b|\.{2,}|-{2,}|[^\w\s]")
_HAN_TOKENS = re.compile(rf"[{HAN}]|[^\W{HAN}]+|\S")
_PARAGRAPHS = re.compile(r"\n{2,}")
_CLAUSES = re.compile(r"\w+")
_LETTER = re.compile(r"[^\W\d_]")
_ENGLISH_SENTENCES = re.compile(
    r"[.!?](?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\b[A-Z]\.)[.!?]*[\"'”’)\]]*(?=\s)"
)
_CHINESE_MARKS = re.compile(rf"[。！？!?…．｡；;]+|(?<=[{HAN}）)”])\.+")

# The signs that datatrove does not count as words.
PUNCTUATION = frozenset("!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»")
ENGLISH_ENDS = tuple(".?!？！。．｡⁇⁈⁉؟۔।॥")
CHINESE_ENDS = re.compile(r"[。！？!?.．｡…][”’」』）)】》〉\"']*\Z")
"""How a line of Chinese ends: a mark, and what closes after it."""


class Words(NamedTuple):
    """Words of a text, signs left out.

    Attributes:
        number: how many.
        characters: in them.
        lettered: how many hold a letter.
    """

    number: int
    characters: int
    lettered: int


class Page:
    """A text and what the rules ask of it, each found when it is first asked for.

    Args:
        text: not blank.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        han = 0 if text.isascii() else num_han(text)
        self.is_chinese = _is_chinese(text, han)
        self.num_han = han if self.is_chinese else 0

    @cached_property
    def tokens(self) -> list[str]:
        """Words and signs in order; in Chinese each character is one."""
        if self.is_chinese:
            return _HAN_TOKENS.findall(self.text)
        return _TOKENS.findall(self.text)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each word and sign comes."""
        return Counter(self.tokens)

    @cached_property
    def token_hashes(self) -> NDArray[np.uint64]:
        """(N,) a hash of each token; another one in each process."""
        tokens = self.tokens
        return np.fromiter(map(hash, tokens), np.int64, len(tokens)).view(np.uint64)

    @cached_property
    def token_ends(self) -> NDArray[np.int64]:
        """(N + 1,) characters in the first 0, 1, ..., N tokens."""
        tokens = self.tokens
        return np.concatenate([[0], np.cumsum(np.fromiter(map(len, tokens), np.int64, len(tokens)))])

    @cached_property
    def num_tokens(self) -> float:
        """Words and signs, in words."""
        return self._in_words(len(self.tokens), self.num_han)

    @cached_property
    def words(self) -> Words:
        """The words that are no signs, in numbers."""
        number = characters = lettered = 0
        for word, count in self.counts.items():
            if word.isalpha():
                lettered += count
            elif len(word) == 1 and not word.isdigit():
                if word in PUNCTUATION:
                    continue
            elif PUNCTUATION.issuperset(word):
                continue
            elif any(map(str.isalpha, word)):
                lettered += count
            number += count
            characters += count * len(word)
        return Words(number, characters, lettered)

    @cached_property
    def num_words(self) -> float:
        """Words without signs."""
        return self._in_words(self.words.number, self.num_han)

    def has_fewer_words(self, number: float) -> bool:
        """Whether it has fewer words than a number; of a very short text this is known without counting."""
        return self._in_words(len(self.text), self.num_han) < number or self.num_words < number

    def _in_words(self, tokens: int, han: int) -> float:
        return tokens - han + han / CHARACTERS_PER_WORD

    @property
    def mean_word_characters(self) -> float:
        """Mean length of a word that is no sign."""
        return self.words.characters / max(1, self.words.number)

    @cached_property
    def mean_clause_characters(self) -> float:
        """Mean number of characters between two signs or blanks."""
        clauses = _CLAUSES.findall(self.text)
        return sum(map(len, clauses)) / max(1, len(clauses))

    def alphabetic_words_ratio(self, with_signs: bool) -> float:
        """Share of the words that hold a letter; 0 without words.

        Args:
            with_signs: whether signs count as words without a letter; never in Chinese, which has more of them.
        """
        number = len(self.tokens) if with_signs and not self.is_chinese else self.words.number
        return self.words.lettered / max(1, number)

    @cached_property
    def has_letters(self) -> bool:
        """Whether there is any letter."""
        return _LETTER.search(self.text) is not None

    @cached_property
    def num_ellipses(self) -> int:
        """Dots that leave something out; the double one of Chinese is one."""
        text = self.text
        marks = text.count("…")
        if marks and self.is_chinese:
            marks = len(re.findall("…+", text))
        return marks + text.count("...")

    @cached_property
    def lines(self) -> list[str]:
        """All lines, those without text too."""
        return self.text.splitlines()

    @cached_property
    def text_lines(self) -> list[str]:
        """Lines with text."""
        return [line for line in self.text.split("\n") if line and not line.isspace()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """The text parted at empty lines."""
        return _PARAGRAPHS.split(self.text.strip())

    @cached_property
    def ended_lines_ratio(self) -> float:
        """Share of the lines with text that end in a mark of a sentence.

        In Chinese a line with a full stop inside counts too: the last one of a paragraph is often left out.
        """
        lines = self.text_lines
        if self.is_chinese:
            return sum(1 for line in lines if "。" in line or CHINESE_ENDS.search(line.rstrip()[-6:])) / len(lines)
        return sum(1 for line in lines if line.endswith(ENGLISH_ENDS)) / len(lines)

    @cached_property
    def num_sentences(self) -> int:
        """Sentences of all lines."""
        return sum(num_sentences(line, self.is_chinese) for line in self.text_lines)

    @property
    def ngram_scale(self) -> int:
        """Tokens of an n-gram for each word of an English one."""
        return NGRAM_CHARACTERS_PER_WORD if self.is_chinese else 1


def num_han(text: str) -> int:
    """Chinese characters in a text."""
    return len(text) - len(_HAN_RUNS.sub("", text))


def is_chinese(text: str) -> bool:
    """Whether more of a text's words are Chinese than in letters."""
    return not text.isascii() and _is_chinese(text, num_han(text))


def _is_chinese(text: str, han: int) -> bool:
    words = han / CHARACTERS_PER_WORD
    return han > 0 and (words >= len(text) - han or words >= len(_LATIN_RUNS.findall(text)))


def num_sentences(line: str, chinese: bool) -> int:
    """Sentences in a line; what stands after the last mark is one."""
    if chinese:
        return sum(1 for part in _CHINESE_MARKS.split(line) if len(part) > 1)  # a bracket may close after the mark
    return len(_ENGLISH_SENTENCES.findall(line.strip())) + 1 if line and not line.isspace() else 0


def words_of_line(line: str, chinese: bool) -> float:
    """Words in a line, as blanks part them; in Chinese by its characters."""
    if not chinese:
        return len(line.split())
    han = num_han(line)
    return len(_LATIN_RUNS.findall(line)) + han / CHARACTERS_PER_WORD


def longest_word(words: Iterable[str]) -> int:
    """Characters of the longest of some words; 0 without any."""
    return max(map(len, words), default=0)
