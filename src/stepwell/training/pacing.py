"""What a step of a ramp is: how many rows it has, and how long its contexts are.

Both are pure functions of the step, so a run that is stopped goes on with the rows it would have had. This file leaves
out who asks (`update.py`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stepwell.data import Batch
from stepwell.training.pacing_config import BatchRampConfig, CurriculumConfig


def rows_at(config: BatchRampConfig | None, rows: int, step: int) -> int:
    """Rows of one update: a straight line from the first step's share to all of them, in whole rows.

    Args:
        config: of the ramp; None for none.
        rows: of a whole batch, from 1.
        step: updates made before.
    """
    if config is None or step >= config.ramp_steps:
        return rows
    ratio = config.start_ratio + (1 - config.start_ratio) * step / config.ramp_steps
    return max(1, round(ratio * rows))


def context_at(config: CurriculumConfig | None, row_tokens: int, step: int) -> int:
    """Longest context of one update: a straight line from the first step's to a whole row, in tokens.

    Args:
        config: of the curriculum; None for none.
        row_tokens: length of a row.
        step: updates made before.
    """
    if config is None or step >= config.ramp_steps:
        return row_tokens
    start = min(config.start_tokens, row_tokens)
    return round(start + (row_tokens - start) * step / config.ramp_steps)


def cut_documents(batch: Batch, context_tokens: int) -> Batch:
    """The same rows, whose documents are cut every so many tokens, counted from where each begins.

    Every target stays: the last token of a piece predicts the first one of the next. Padding stays one piece.
    """
    documents = batch.document_ids
    if context_tokens >= documents.shape[1]:
        return batch
    places = np.arange(documents.shape[1])
    begins = np.ones(documents.shape, dtype=np.bool_)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    position = places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    begins |= batch.loss_mask & (position % context_tokens == 0)
    return replace(batch, document_ids=(np.cumsum(begins, axis=1) - 1).astype(documents.dtype))
