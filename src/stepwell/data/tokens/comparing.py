"""Tokenizers beside each other on text that they did not learn from, so that a vocabulary can be chosen by numbers.

Each is trained on the same text and writes the same held-out text; what counts is how much text a token stands for, in
each language, and how much of the vocabulary the text really teaches. Numbers of the same text only are comparable.
This file leaves out what a model makes of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from stepwell.config import Config
from stepwell.data.steps.filters.language import languages_of
from stepwell.data.text_package import PreparedText
from stepwell.errors import DataError
from stepwell.tokenizers import Tokenizer, TrainedConfig, train_tokenizer

HELD_OUT_EVERY = 10
"""Of texts that are not split yet, one in so many is held out."""

LEARNED_BYTES = 20_000_000
"""Text that tokenizers learn from, at most; of more, every k-th document is taken."""

HELD_OUT_BYTES = 4_000_000
"""Text that they are compared on, likewise."""

RARE = 10
"""A token that the training text holds fewer times than this can hardly be learned."""

WORD = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]|[^\\W\u3400-\u9fff\uf900-\ufaff]+")
"""A word, as far as counting goes: letters and digits between other signs, or one Chinese character."""


@dataclass(frozen=True)
class Compression:
    """How a tokenizer writes some held-out text.

    Attributes:
        bytes: size of the text as UTF-8.
        tokens: that it takes, special tokens aside.
        words: runs of letters and digits, and single Chinese characters.
        unknown: tokens that stand for what the vocabulary does not have.
    """

    bytes: int = 0
    tokens: int = 0
    words: int = 0
    unknown: int = 0

    @property
    def bytes_per_token(self) -> float:
        """How much text a token stands for; larger is better. 0 without text."""
        return self.bytes / self.tokens if self.tokens else 0.0

    @property
    def fertility(self) -> float:
        """Tokens for each word, or for each Chinese character; smaller is better. 0 without words."""
        return self.tokens / self.words if self.words else 0.0

    @property
    def unknown_ratio(self) -> float:
        """Share of the tokens that stand for something unknown."""
        return self.unknown / self.tokens if self.tokens else 0.0

    def plus(self, other: Compression) -> Compression:
        """Both texts together."""
        return Compression(*(getattr(self, name) + getattr(other, name) for name in asdict(self)))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, the ratios among them."""
        ratios = ("bytes_per_token", "fertility", "unknown_ratio")
        return asdict(self) | {name: round(getattr(self, name), 4) for name in ratios}


@dataclass(frozen=True)
class TokenizerFigures:
    """One of the compared tokenizers in numbers.

    Attributes:
        name: tells it apart from the others.
        config: what it was asked to be; empty for one that was there already.
        vocab_size: of the trained one.
        whole: the held-out text.
        by_language: language code -> the documents in it, the largest part first.
        used_ratio: share of the vocabulary, special tokens and single bytes aside, that the held-out text uses.
        rare_ratio: share of it that the text to learn from holds fewer than ten times.
        round_trip_ratio: share of the held-out documents that come back from their tokens to the letter.
    """

    name: str
    config: Mapping[str, Any]
    vocab_size: int
    whole: Compression
    by_language: Mapping[str, Compression]
    used_ratio: float
    rare_ratio: float
    round_trip_ratio: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "config": dict(self.config),
            "vocab_size": self.vocab_size,
            **self.whole.as_dict(),
            "by_language": {language: one.as_dict() for language, one in self.by_language.items()},
            **{name: round(getattr(self, name), 4) for name in ("used_ratio", "rare_ratio", "round_trip_ratio")},
        }


def compare_tokenizers(
    texts: PreparedText | Sequence[str], choices: Sequence[TrainedConfig | Tokenizer]
) -> list[TokenizerFigures]:
    """Train tokenizers on one part of a text and measure them on another.

    Args:
        texts: prepared text, whose train and validation splits are the two parts; or documents, of which every tenth
            is held out.
        choices: settings of tokenizers to train, or tokenizers that are there already.

    Returns:
        The figures, in the order of the choices.

    Raises:
        DataError: when nothing is held out.
        TokenizerError: when one of them cannot be trained.
    """
    if isinstance(texts, PreparedText):
        train, held_out = (
            _thinned(texts.texts("train"), LEARNED_BYTES),
            _thinned(texts.texts("validation"), HELD_OUT_BYTES),
        )
    else:
        train = _thinned([text for n, text in enumerate(texts) if n % HELD_OUT_EVERY], LEARNED_BYTES)
        held_out = _thinned(texts[::HELD_OUT_EVERY], HELD_OUT_BYTES)
    if not any(held_out) or not any(train):
        raise DataError(
            "tokenizers: nothing to compare them on",
            got=f"{len(train):,} documents to learn from, {len(held_out):,} held out",
            wanted="text in both",
            do="give more text, or a validation split",
        )
    languages = [next(iter(languages_of(text)), "other") for text in held_out]
    found = []
    for choice in choices:
        tokenizer = choice if isinstance(choice, Tokenizer) else train_tokenizer(train, choice)
        config = choice.model_dump(mode="json") if isinstance(choice, Config) else {}
        found.append(_figures(tokenizer, _name(choice, tokenizer), config, train, held_out, languages))
    return found


def _thinned(texts: Sequence[str], most_bytes: int) -> list[str]:
    """Every k-th text, so that they hold about so many bytes."""
    total = sum(len(text.encode()) for text in texts)
    return list(texts[:: max(1, -(-total // most_bytes))])


def _name(choice: TrainedConfig | Tokenizer, tokenizer: Tokenizer) -> str:
    if isinstance(choice, Tokenizer):
        return f"given {tokenizer.fingerprint[:6]}"
    words = [
        f"{name}={value}" for name, value in choice.stated().items() if name not in ("vocab_size", "special_tokens")
    ]
    return " ".join([choice.kind, *words])


def _figures(
    tokenizer: Tokenizer,
    name: str,
    config: Mapping[str, Any],
    train: Sequence[str],
    held_out: Sequence[str],
    languages: Sequence[str],
) -> TokenizerFigures:
    parts: dict[str, Compression] = {}
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    came_back = 0
    for text, ids, language in zip(held_out, tokenizer.encode_many(held_out), languages, strict=True):
        counts += np.bincount(ids, minlength=len(counts))
        came_back += tokenizer.decode(ids) == text
        unknown = int((ids == tokenizer.unk_id).sum()) if tokenizer.unk_id is not None else 0
        one = Compression(len(text.encode()), len(ids), sum(1 for _ in WORD.finditer(text)), unknown)
        parts[language] = parts.get(language, Compression()).plus(one)
    learned = np.array([len(tokenizer.token_bytes(n)) > 1 for n in range(tokenizer.vocab_size)])
    learned[list(tokenizer.special_ids)] = False
    known = _count_tokens(tokenizer, train)
    whole = Compression()
    for one in parts.values():
        whole = whole.plus(one)
    return TokenizerFigures(
        name=name,
        config=config,
        vocab_size=tokenizer.vocab_size,
        whole=whole,
        by_language=dict(sorted(parts.items(), key=lambda part: (-part[1].bytes, part[0]))),
        used_ratio=float((counts[learned] > 0).mean()) if learned.any() else 1.0,
        rare_ratio=float((known[learned] < RARE).mean()) if learned.any() else 0.0,
        round_trip_ratio=came_back / len(held_out),
    )


def _count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(V,) how often the texts hold each token."""
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    several = iter(texts)
    while some := list(islice(several, 1000)):
        counts += np.bincount(tokenizer.encode_documents(some, [False] * len(some))[0], minlength=len(counts))
    return counts


def choose_tokenizer(figures: Sequence[TokenizerFigures], *, most_rare_ratio: float = 0.2) -> TokenizerFigures:
    """The one whose tokens stand for most text, among those that give text back and are nearly all learned.

    A larger vocabulary always compresses better; it pays as long as the text holds its tokens often enough. Where no
    tokenizer is within the limit, the one with the fewest rare tokens is taken.

    Args:
        figures: of at least one tokenizer, measured on the same text.
        most_rare_ratio: of `rare_ratio`, in [0, 1].
    """
    best_round_trip = max(one.round_trip_ratio for one in figures)
    able = [one for one in figures if one.round_trip_ratio == best_round_trip]
    learned = [one for one in able if one.rare_ratio <= most_rare_ratio]
    if not learned:
        return min(able, key=lambda one: (one.rare_ratio, one.vocab_size))
    return max(learned, key=lambda one: (one.whole.bytes_per_token, -one.vocab_size))


def comparison_table(figures: Sequence[TokenizerFigures], *, most_languages: int = 3) -> str:
    """The figures as a short table of plain text.

    Args:
        figures: of tokenizers, measured on the same text.
        most_languages: columns for languages, the largest parts first.
    """
    sizes = Counter[str]()
    for one in figures[:1]:
        sizes.update({language: part.bytes for language, part in one.by_language.items()})
    languages = [language for language, _ in sizes.most_common(most_languages)]
    head = [
        "tokenizer",
        "vocabulary",
        "bytes/token",
        *languages,
        "tokens/word",
        "unknown",
        "used",
        "rare",
        "comes back",
    ]
    rows = [head]
    for one in figures:
        by_language = [f"{one.by_language[language].bytes_per_token:.2f}" for language in languages]
        ratios = [one.whole.unknown_ratio, one.used_ratio, one.rare_ratio, one.round_trip_ratio]
        numbers = [
            f"{one.vocab_size:,}",
            f"{one.whole.bytes_per_token:.2f}",
            *by_language,
            f"{one.whole.fertility:.2f}",
        ]
        rows.append([one.name, *numbers, *(f"{ratio:.1%}" for ratio in ratios)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join(lines)
