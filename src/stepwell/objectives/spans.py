"""Finding the passage of a text that answers a question (Devlin et al., 2019, section 4.2).

A task head gives each token two numbers, how likely an answer begins and ends there. Each softmax is over the places of
one text where that may be; of several right places their probabilities are summed (Clark and Gardner, 2018). This file
leaves out which places these are (`tasks`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.data import Batch
from stepwell.models import LanguageModel
from stepwell.objectives.config import SpanConfig
from stepwell.objectives.objective import Objective


@dataclass(frozen=True)
class SpanExamples:
    """Rows of texts with the places of their answers.

    Attributes:
        token_ids: (B, T) int64, what the model reads.
        document_ids: (B, T) int32, pieces of a row; padding is one of its own.
        pieces: (B, T) int64, which of P texts a place belongs to; P where there is padding.
        marks: (B, T) uint8: 1 where an answer may begin and end, and of those 2 more where a right one begins, 4 more
            where a right one ends. Each text has all three.
        weights: (P,) float32, how much each text counts.
    """

    token_ids: NDArray[np.int64]
    document_ids: NDArray[np.int32]
    pieces: NDArray[np.int64]
    marks: NDArray[np.uint8]
    weights: NDArray[np.float32]

    @property
    def num_targets(self) -> int:
        """How many texts count."""
        return int((self.weights > 0).sum())


class SpanObjective(Objective[SpanExamples]):
    """Tell where answers begin and end.

    Args:
        config: how they are judged.
    """

    def __init__(self, config: SpanConfig) -> None:
        self.config = config

    def prepare(self, batch: Batch, seed: int) -> SpanExamples:
        """The batch with its places."""
        count = len(next(iter(batch.of_document.values()), ()))
        weights = batch.of_document.get("weight", np.ones(count, np.float32))
        return SpanExamples(batch.token_ids, batch.document_ids, batch.pieces, batch.aligned["span"], weights)

    def loss(self, model: LanguageModel, examples: SpanExamples, device: torch.device) -> Tensor:
        """Summed over the texts: half of what the beginning costs, and half of what the end does.

        Raises:
            TypeError: when the model has no task head.
        """
        if model.task_head is None:
            raise TypeError(f"a {type(model).__name__} without a task head finds no answers")
        token_ids, document_ids, pieces, marks, weights = (
            torch.from_numpy(np.ascontiguousarray(one)).to(device)
            for one in (
                examples.token_ids,
                examples.document_ids,
                examples.pieces,
                examples.marks,
                examples.weights,
            )
        )
        hidden = model.hidden(token_ids, document_ids)
        scores: Tensor = model.task_head(hidden, token_ids, pieces, len(weights))
        return (span_losses(scores, marks, pieces, len(weights)) * weights).sum()


def span_losses(scores: Tensor, marks: Tensor, pieces: Tensor, num_pieces: int) -> Tensor:
    """How unlikely the right beginnings and ends of each text are.

    Args:
        scores: (B, T, 2) of beginnings and of ends.
        marks: (B, T) uint8, as `SpanExamples` has them.
        pieces: (B, T) int64, which of P texts a place belongs to; P where there is padding.
        num_pieces: P.

    Returns:
        (P,) float32 nats, the mean of both; 0 for a text without places.
    """
    marks = torch.where(pieces < num_pieces, marks, torch.zeros_like(marks))
    allowed = (marks & 1) > 0
    owners, chosen, said = pieces[allowed], scores[allowed].float(), marks[allowed]
    losses = scores.new_zeros(num_pieces, dtype=torch.float32)
    for column, bit in ((0, 2), (1, 4)):
        right = (said & bit) > 0
        everything = _log_sums(chosen[:, column], owners, num_pieces)
        losses = losses + everything - _log_sums(chosen[right, column], owners[right], num_pieces)
    return 0.5 * losses


def _log_sums(values: Tensor, owners: Tensor, num_pieces: int) -> Tensor:
    """(P,) the logarithm of the sum of the exponentials of the values of each text; 0 where it has none."""
    most = values.new_full((num_pieces,), -torch.inf).scatter_reduce(0, owners, values.detach(), "amax")
    most = torch.where(torch.isfinite(most), most, torch.zeros_like(most))
    sums = values.new_zeros(num_pieces).index_add(0, owners, (values - most[owners]).exp())
    return torch.where(sums > 0, sums, torch.ones_like(sums)).log() + most
