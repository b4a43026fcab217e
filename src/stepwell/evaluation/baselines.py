"""What a model without a network reaches on the same documents.

A Kneser-Ney model over bytes sees what the network saw in training and predicts what the network must predict: every
byte of a document, and the end where the text ends. Its bits per byte are therefore comparable whatever the
tokenizer. This file leaves out the model (`stepwell.ngrams`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.evaluation.intervals import Interval, bootstrap
from stepwell.evaluation.scores.metrics import LanguageModelingScores
from stepwell.ngrams import KneserNey

END = 256
"""The symbol after the last byte of a text."""


def evaluate_kneser_ney(
    train_texts: Sequence[str],
    validation_texts: Sequence[str],
    order: int = 5,
    *,
    train_ends: ArrayLike | None = None,
    validation_ends: ArrayLike | None = None,
) -> LanguageModelingScores:
    """Fit a Kneser-Ney model over bytes and score held-out documents with it.

    Args:
        train_texts: documents to learn from.
        validation_texts: documents to predict.
        order: length of the longest n-gram in bytes, from 1.
        train_ends: (number of documents,) bool, whether an end is learned after each; default everywhere. A piece of a
            cut file does not end, and the network sees no end token there either.
        validation_ends: likewise for the documents to predict.

    Returns:
        One row for each held-out document. A token is a byte here; `correct` is not measured.

    Raises:
        ValueError: when texts and ends differ in number.
    """
    model = KneserNey(vocab_size=END + 1, order=order).fit(_symbols(train_texts, train_ends))
    documents = _symbols(validation_texts, validation_ends)
    return LanguageModelingScores(
        nats=np.array([-model.logprobs(symbols).sum() for symbols in documents], dtype=np.float64),
        tokens=np.array([len(symbols) for symbols in documents], dtype=np.int64),
        bytes=np.array([int((symbols != END).sum()) for symbols in documents], dtype=np.int64),
        correct=np.full(len(documents), np.nan),
    )


def kneser_ney_bits_per_byte(
    train_texts: Sequence[str],
    validation_texts: Sequence[str],
    order: int = 5,
    *,
    train_ends: ArrayLike | None = None,
    validation_ends: ArrayLike | None = None,
) -> Interval:
    """Bits per byte of a Kneser-Ney model on held-out documents (see `evaluate_kneser_ney`).

    Raises:
        ValueError: when texts and ends differ in number, or nothing is held out.
    """
    scores = evaluate_kneser_ney(
        train_texts, validation_texts, order, train_ends=train_ends, validation_ends=validation_ends
    )
    return bootstrap(scores, "bits_per_byte")


def _symbols(texts: Sequence[str], ends: ArrayLike | None) -> list[NDArray[np.int16]]:
    flags = np.ones(len(texts), np.bool_) if ends is None else np.asarray(ends, np.bool_)
    return [
        np.concatenate([np.frombuffer(text.encode(), np.uint8).astype(np.int16), np.full(int(end), END, np.int16)])
        for text, end in zip(texts, flags, strict=True)
    ]
