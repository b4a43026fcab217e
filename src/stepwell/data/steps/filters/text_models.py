"""How predictable a text is: character n-gram models (`stepwell.ngrams`) of texts that someone named, or of the corpus.

A corpus is judged by a model of a sample of itself. No text may be judged by a model that saw it, so there are two,
each of one half of the sample, and a text is judged by the one of the other half; which half is drawn by its digest.
This file leaves out what follows from the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepwell.data.documents import Document
from stepwell.data.inputs.reading import Reading
from stepwell.data.inputs.sources import find_inputs
from stepwell.data.pipeline import documents_of
from stepwell.data.steps.filters.passages import passages_of
from stepwell.data.steps.step import Arrays
from stepwell.errors import DataError
from stepwell.ngrams import KneserNey

UNICODE_SIZE = 0x110000
PIECE_BYTES = 4096
"""Long examples are learned from in pieces of at most this size."""

HELD_SAMPLES = 4
"""Text that is held while a sample is drawn, in samples."""


class Sample(NamedTuple):
    """Texts in the order of their digests.

    Attributes:
        texts: of them.
        halves: (N,) bool, which half each belongs to.
    """

    texts: list[str]
    halves: NDArray[np.bool_]

    def first(self, num_bytes: int) -> Sample:
        """The part of it that is not larger; at least one text."""
        ends = np.cumsum([len(text.encode()) for text in self.texts])
        number = max(1, int(np.searchsorted(ends, num_bytes, side="right")))
        return Sample(self.texts[:number], self.halves[:number])


def half_of(digest: bytes) -> bool:
    """Which half of a corpus a text belongs to."""
    return bool(digest[-1] & 1)


def examples_in(sources: Sequence[str], text_column: str | None, sample_bytes: int, what: str) -> Sample:
    """Texts that a step learns from, long ones in pieces; of more than it needs, a sample.

    Args:
        sources: as the user wrote them.
        text_column: of tables; None to find it by its name.
        sample_bytes: size of the sample.
        what: kind of the step and what it uses them as, for messages.

    Raises:
        DataError: when they cannot be read, or there is no text.
    """
    held: dict[bytes, str] = {}
    size = 0
    try:
        for piece in _pieces_in(sources, text_column):
            held[piece.digest] = piece.text
            size += piece.num_bytes
            if size > HELD_SAMPLES * sample_bytes:  # so that any number of files goes through
                held, size = _smallest(held, sample_bytes), sample_bytes
    except DataError as error:  # what to do about a column is said of the corpus
        own = f"data.steps.{what.partition(':')[0]}.text_column"
        do = error.do.replace("data.text_column", own) if error.do else None
        raise DataError(error.what, got=error.got, wanted=error.wanted, do=do) from None
    if not held:
        raise DataError(f"{what}: no text in {', '.join(sources)}", wanted="examples to learn from")
    return _sample(_smallest(held, sample_bytes))


def _pieces_in(sources: Sequence[str], text_column: str | None) -> Iterator[Document]:
    reading = Reading(text_column, "replace", lambda problem: None)
    for one in find_inputs(sources, lambda problem: None):
        for document in documents_of(one, reading, "NFC", None):
            yield from passages_of(document, PIECE_BYTES)


def look_at(documents: Iterable[Document], sample_bytes: int) -> Arrays:
    """The part of a sample of the corpus that is in these documents: texts with the smallest digests.

    Args:
        documents: of one shard.
        sample_bytes: size of the whole sample.

    Returns:
        `digests` (N, 16) uint8, `blob` (bytes,) uint8 and `sizes` (N,) of each text in it.
    """
    return _packed(_smallest({one.digest: one.text for one in documents}, sample_bytes))


def sample_of(looks: Iterable[Arrays], sample_bytes: int) -> Sample:
    """The sample of a corpus from what was seen of its shards; the same however it is cut into shards."""
    texts: dict[bytes, str] = {}
    for look in looks:
        texts = _smallest({**texts, **_unpacked(look)}, sample_bytes)
    return _sample(texts)


def _sample(texts: dict[bytes, str]) -> Sample:
    return Sample(list(texts.values()), np.array([half_of(digest) for digest in texts], bool))


def _smallest(texts: dict[bytes, str], sample_bytes: int) -> dict[bytes, str]:
    """Texts with the smallest digests, in this order, up to a size; at least one."""
    kept: dict[bytes, str] = {}
    size = 0
    for digest in sorted(texts):
        size += len(texts[digest].encode())
        if kept and size > sample_bytes:
            break
        kept[digest] = texts[digest]
    return kept


def _packed(texts: dict[bytes, str]) -> Arrays:
    data = [text.encode() for text in texts.values()]
    return {
        "digests": np.frombuffer(b"".join(texts), np.uint8).reshape(-1, 16),
        "blob": np.frombuffer(b"".join(data), np.uint8),
        "sizes": np.array([len(one) for one in data], np.int64),
    }


def _unpacked(arrays: Arrays) -> dict[bytes, str]:
    digests = (one.tobytes() for one in arrays["digests"])
    return dict(zip(digests, _texts_in(arrays["blob"].tobytes(), arrays["sizes"]), strict=True))


def _texts_in(blob: bytes, sizes: NDArray[np.int64]) -> Iterator[str]:
    ends = np.cumsum(sizes)
    return (blob[end - size : end].decode() for end, size in zip(ends, sizes, strict=True))


def to_arrays(sample: Sample, name: str, halved: bool) -> dict[str, NDArray[Any]]:
    """A sample as arrays that a shard is told of, for `model_in`.

    Args:
        sample: the texts.
        name: begins the names of the arrays.
        halved: whether each half has a model of its own.
    """
    data = [text.encode() for text in sample.texts]
    return {
        f"{name}_blob": np.frombuffer(b"".join(data), np.uint8),
        f"{name}_sizes": np.array([len(one) for one in data], np.int64),
        f"{name}_halves": sample.halves if halved else np.zeros(0, bool),
    }


Scorer = Callable[[Sequence[Document]], NDArray[np.float64]]


def model_in(arrays: Arrays, name: str, order: int) -> Scorer:
    """What tells the bits per byte of texts; learned once in each process.

    Args:
        arrays: from `to_arrays`.
        name: as there.
        order: longest n-gram.

    Returns:
        A function of documents that gives (N,) bits per byte.
    """
    parts = (arrays[f"{name}_{part}"].tobytes() for part in ("blob", "sizes", "halves"))
    models = _learned(*parts, order)

    def score(documents: Sequence[Document]) -> NDArray[np.float64]:
        scores = np.zeros(len(documents))
        halves = np.array([len(models) > 1 and half_of(one.digest) for one in documents], bool)
        for half, model in enumerate(models):
            texts = [one.text for one, other in zip(documents, halves, strict=True) if other == half]
            scores[halves == half] = _bits_per_byte(model, texts)
        return scores

    return score


@lru_cache(maxsize=4)
def _learned(blob: bytes, sizes: bytes, halves: bytes, order: int) -> tuple[KneserNey, ...]:
    """One model of all texts, or for the texts of each half one of the other half."""
    texts = list(_texts_in(blob, np.frombuffer(sizes, np.int64)))
    if not halves:
        return (_fit(texts, order),)
    parts = np.frombuffer(halves, bool)
    return tuple(
        _fit([text for text, other in zip(texts, parts, strict=True) if other != half], order) for half in (False, True)
    )


def _fit(texts: Iterable[str], order: int) -> KneserNey:
    return KneserNey(UNICODE_SIZE, order).fit(map(_symbols, texts))


def _symbols(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _bits_per_byte(model: KneserNey, texts: Sequence[str]) -> NDArray[np.float64]:
    sizes = np.array([len(text.encode()) for text in texts], np.float64)
    bits: NDArray[np.float64] = model.totals(map(_symbols, texts)) / -np.log(2)
    return np.round(bits / np.maximum(sizes, 1), 6)  # what is kept must not hang on the last bit of a sum
