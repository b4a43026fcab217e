"""Scoring a split of tokens, document by document.

Every document stands alone, so packing and neighbours play no part, and documents longer than the model's window are
read through overlapping windows. What is kept is small: four numbers a document. This file leaves out the metrics
(`metrics.py`).
"""

from __future__ import annotations

import numpy as np

from stepwell.data import TokenSplit
from stepwell.evaluation.scores.metrics import LanguageModelingScores
from stepwell.hardware import Precision
from stepwell.inference import score_documents
from stepwell.models import LanguageModel


def evaluate_language_modeling(
    model: LanguageModel,
    split: TokenSplit,
    *,
    documents: range | None = None,
    batch_tokens: int = 2048,
    precision: Precision = "float32",
) -> LanguageModelingScores:
    """Score the documents of a split.

    Args:
        model: any language model of the catalog.
        split: documents of its tokenizer.
        documents: which of them, for a quick look (`range(0, 200)`); default all.
        batch_tokens: positions computed at once.
        precision: of the matrix products.

    Returns:
        One row for each document, in order.
    """
    chosen = range(split.num_documents) if documents is None else documents
    rows = [
        (-float(scores.logprobs.sum(dtype=np.float64)), len(scores.logprobs), int(scores.correct.sum()))
        for scores in score_documents(
            model, (split.document(i) for i in chosen), batch_tokens=batch_tokens, precision=precision
        )
    ]
    nats, tokens, correct = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    num_bytes = np.array([split.num_bytes[i] for i in chosen], dtype=np.int64)
    return LanguageModelingScores(nats, tokens.astype(np.int64), num_bytes, correct)
