"""What the page of a corpus counts itself: lengths, words, repeated lines, labels and tokens.

Sizes and labels are counted in every document. Words, lines and tokens are counted in every k-th document of a split,
so that a corpus larger than memory takes no longer than a small one. This file leaves out how numbers are shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stepwell.data import PreparedText
from stepwell.tokenizers import Tokenizer

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SAMPLE_BYTES = 4_000_000
SHORTEST_LINE = 12
LINE_DOCUMENTS = 3
MOST_WORDS, MOST_LINES, MOST_TOKENS = 60, 12, 60
MOST_CLASSES, LONGEST_LABEL = 200, 120
RARE = 10
"""A token that the training text holds fewer times than this can hardly be learned."""

_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True)
class Sample:
    """Some documents of a split, spread evenly.

    Attributes:
        texts: the documents.
        sources: the source of each, by its place in the facts.
        bytes: their size as UTF-8.
        whole: whether that is all of them.
    """

    texts: list[str]
    sources: list[int]
    bytes: int
    whole: bool


def sample_of(prepared: PreparedText, split: Split, max_bytes: int = SAMPLE_BYTES) -> Sample:
    """Every k-th document of a split, so that they hold about `max_bytes`."""
    texts = prepared.texts(split)
    stride = max(1, -(-int(texts.offsets[-1]) // max_bytes))
    chosen = list(texts[::stride])
    sources = [int(one) for one in prepared.sources(split)[::stride]]
    return Sample(chosen, sources, sum(len(text.encode()) for text in chosen), stride == 1)


@dataclass(frozen=True)
class Lengths:
    """How long documents are.

    Attributes:
        bars: (from, to, documents): sizes in bytes, from included.
        parts: of an octave that a bar is wide: each begins at 2^(1/parts) times the size of the one before it.
        median: of the sizes, in bytes.
        low: a twentieth of the documents is smaller.
        high: a twentieth is larger.
        largest: of all.
    """

    bars: list[tuple[int, int, int]]
    parts: int
    median: float
    low: float
    high: float
    largest: int


def lengths_of(sizes: NDArray[np.int64]) -> Lengths | None:
    """The histogram of document sizes.

    Each bar is as wide on a scale of octaves, and there are about twelve to forty of them, however alike the sizes are.

    Args:
        sizes: (N,) bytes of each document.

    Returns:
        None for no documents.
    """
    if not len(sizes):
        return None
    sizes = np.maximum(sizes, 1)
    octaves = np.log2(sizes.max() / sizes.min())
    parts = next((parts for parts in (1, 2, 4, 8) if octaves * parts >= 12), 8)
    first = int(np.floor(np.log2(sizes.min()) * parts))
    last = int(np.floor(np.log2(sizes.max()) * parts)) + 1
    edges = np.round(2.0 ** (np.arange(first, last) / parts)).astype(np.int64)
    edges = np.unique(np.append(np.clip(edges, sizes.min(), sizes.max()), sizes.max() + 1))
    counts, _ = np.histogram(sizes, edges - 0.5)
    low, median, high = np.percentile(sizes, (5, 50, 95))
    bars = [(int(a), int(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    return Lengths(bars, parts, float(median), float(low), float(high), int(sizes.max()))


@dataclass(frozen=True)
class WordCounts:
    """Words of a text.

    Attributes:
        words: the most frequent words that are not Chinese, in small letters, with their counts.
        total: of all such words.
        chinese: the most frequent Chinese words.
        chinese_total: of all such words.
        segmented: whether Chinese is counted by words; by characters where no library finds the words.
        lines: the most frequent of the lines that stand in several documents, with the number of documents.
    """

    words: list[tuple[str, int]]
    total: int
    chinese: list[tuple[str, int]]
    chinese_total: int
    segmented: bool
    lines: list[tuple[str, int]]


def count_words(texts: Sequence[str]) -> WordCounts:
    """Count words and lines; a number is no word."""
    cut = _word_cutter()
    words: Counter[str] = Counter()
    chinese: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for text in texts:
        for run in _HAN.findall(text):
            chinese.update(cut(run) if cut is not None else run)
        words.update(_WORD.findall(_HAN.sub(" ", text).lower()))
        lines.update({line for one in text.split("\n") if len(line := one.strip()) >= SHORTEST_LINE})
    return WordCounts(
        _most(words, MOST_WORDS),
        words.total(),
        _most(chinese, MOST_WORDS),
        chinese.total(),
        cut is not None,
        [(line, count) for line, count in _most(lines, MOST_LINES) if count >= LINE_DOCUMENTS],
    )


def _word_cutter() -> Callable[[str], list[str]] | None:
    """What finds Chinese words; None where the library is not installed."""
    try:
        import rjieba
    except ImportError:
        return None
    return rjieba.cut  # type: ignore[no-any-return, unused-ignore]


def _most(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """The largest counts; those of equal size by name, so that the page is the same in every run."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]


@dataclass
class Labels:
    """A column whose values are few enough to be classes.

    Attributes:
        column: its name.
        classes: value -> documents by split.
        documents: that have a value.
    """

    column: str
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    documents: int = 0


def count_labels(prepared: PreparedText, column: str | None = None) -> list[Labels]:
    """Columns that look like labels: short values, few of them beside the number of documents.

    Args:
        prepared: the text.
        column: the one that holds labels for certain; it comes first, however many values it has.
    """
    found: dict[str, Labels] = {}
    given_up: set[str] = set()
    for split in SPLITS:
        for columns in prepared.each_columns(split):
            for name, value in columns.items():
                if name in given_up or (label := _label(value)) is None:
                    continue
                labels = found.setdefault(name, Labels(name))
                labels.classes.setdefault(label, Counter())[split] += 1
                labels.documents += 1
                if name != column and len(labels.classes) > MOST_CLASSES:
                    given_up.add(name)
    kept = [
        labels
        for name, labels in found.items()
        if name == column or (name not in given_up and 1 < len(labels.classes) <= max(2, labels.documents // 5))
    ]
    return sorted(kept, key=lambda labels: (labels.column != column, labels.column))


def _label(value: Any) -> str | None:
    """A value as a class, or None for what cannot be one."""
    if isinstance(value, bool | int):
        return str(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_LABEL else None


@dataclass(frozen=True)
class TokenCounts:
    """How well a vocabulary fits a text.

    Attributes:
        vocab_size: number of token ids.
        bytes_per_token: by split.
        by_source: bytes per token of the training text, by place of the source in the facts.
        most: the most frequent tokens of the training text with their counts.
        total: tokens of that text.
        longest: those with the most bytes that the text holds.
        entries: tokens of more than one byte.
        unseen: those of them that the text does not hold.
        rare: those that it holds fewer than ten times, the unseen ones too.
        half: how many of the most frequent tokens are half of the text.
        sample_bytes: size of the counted training text.
        whole: whether that is all of it.
    """

    vocab_size: int
    bytes_per_token: dict[str, float]
    by_source: dict[int, float]
    most: list[tuple[str, int]]
    total: int
    longest: list[str]
    entries: int
    unseen: int
    rare: int
    half: int
    sample_bytes: int
    whole: bool


def count_tokens(tokenizer: Tokenizer, samples: Mapping[Split, Sample]) -> TokenCounts | None:
    """Encode samples of the splits and count.

    Args:
        tokenizer: of any family.
        samples: by split.

    Returns:
        None without training text.
    """
    train = samples["train"]
    if not train.bytes:
        return None
    encoded: dict[str, list[int]] = {}
    for name, one in samples.items():
        several = tokenizer.encode_many(one.texts)
        encoded[name] = [len(ids) for ids in several]
        if name == "train":
            counts = np.bincount(np.concatenate(several), minlength=tokenizer.vocab_size)
    sizes = np.array([len(tokenizer.token_bytes(n)) for n in range(tokenizer.vocab_size)])
    long = counts[sizes > 1]
    order = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[order])
    return TokenCounts(
        vocab_size=tokenizer.vocab_size,
        bytes_per_token={name: one.bytes / max(1, sum(encoded[name])) for name, one in samples.items() if one.bytes},
        by_source=_by_source(train, encoded["train"]),
        most=[(_spelled(tokenizer, int(n)), int(counts[n])) for n in order[:MOST_TOKENS] if counts[n]],
        total=int(counts.sum()),
        longest=[_spelled(tokenizer, int(n)) for n in np.argsort(-sizes, kind="stable") if counts[n]][:MOST_LINES],
        entries=len(long),
        unseen=int((long == 0).sum()),
        rare=int((long < RARE).sum()),
        half=int(np.searchsorted(reached, counts.sum() / 2)) + 1,
        sample_bytes=train.bytes,
        whole=train.whole,
    )


def _by_source(sample: Sample, tokens: Sequence[int]) -> dict[int, float]:
    sizes: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    for text, source, count in zip(sample.texts, sample.sources, tokens, strict=True):
        sizes[source] += len(text.encode())
        counts[source] += count
    return {source: sizes[source] / counts[source] for source in sizes if counts[source]}


def _spelled(tokenizer: Tokenizer, token_id: int) -> str:
    return tokenizer.token_bytes(token_id).decode("utf-8", errors="replace") or tokenizer.token(token_id)
