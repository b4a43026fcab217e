"""Telling labels: of a whole text, or of each token (Devlin et al., 2019, section 3.2).

The task head reads the hidden states; what is right stands beside the documents (`label`), or beside the tokens. A text
may weigh more than another. This file leaves out which text has which label (`tasks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from stepwell.data import Batch
from stepwell.models import LanguageModel
from stepwell.objectives.chain import chain_losses
from stepwell.objectives.config import LabelsConfig
from stepwell.objectives.objective import Objective


@dataclass(frozen=True)
class LabelledExamples:
    """Rows of texts with their labels.

    Attributes:
        token_ids: (B, T) int64, what the model reads.
        document_ids: (B, T) int32, pieces of a row; padding is one of its own.
        pieces: (B, T) int64, which of P texts a place belongs to; P where there is padding.
        labels: (P,) int64 or float32, or (P, K) float32; of tokens (B, T) int64, the label and one more, 0 for none.
        weights: (P,) float32, how much each text counts.
    """

    token_ids: NDArray[np.int64]
    document_ids: NDArray[np.int32]
    pieces: NDArray[np.int64]
    labels: NDArray[Any]
    weights: NDArray[np.float32]

    @property
    def of_tokens(self) -> bool:
        """Whether each token has a label of its own."""
        return self.labels.shape == self.token_ids.shape

    @property
    def num_targets(self) -> int:
        """How many labels are to be told: one for each text, or the tokens that have one."""
        return int((self.labels > 0).sum()) if self.of_tokens else len(self.labels)


class LabelsObjective(Objective[LabelledExamples]):
    """Tell the labels of texts or tokens.

    Args:
        config: how they are judged.
    """

    def __init__(self, config: LabelsConfig) -> None:
        self.config = config

    def prepare(self, batch: Batch, seed: int) -> LabelledExamples:
        """The batch with its labels."""
        labels = batch.aligned["label"].astype(np.int64) if "label" in batch.aligned else batch.of_document["label"]
        count = len(next(iter(batch.of_document.values()), ()))
        weights = batch.of_document.get("weight", np.ones(count, np.float32))
        return LabelledExamples(batch.token_ids, batch.document_ids, batch.pieces, labels, weights)

    def loss(self, model: LanguageModel, examples: LabelledExamples, device: torch.device) -> Tensor:
        """Summed over the texts, or over the tokens that have a label.

        Raises:
            TypeError: when the model has no task head.
        """
        if model.task_head is None:
            raise TypeError(f"a {type(model).__name__} without a task head tells no labels")
        token_ids, document_ids, pieces, labels, weights = (
            torch.from_numpy(np.ascontiguousarray(one)).to(device)
            for one in (
                examples.token_ids,
                examples.document_ids,
                examples.pieces,
                examples.labels,
                examples.weights,
            )
        )
        hidden = model.hidden(token_ids, document_ids)
        logits: Tensor = model.task_head(hidden, token_ids, pieces, len(weights))
        if examples.of_tokens:
            marked = labels > 0
            owners = pieces[marked]
            if model.task_head.transitions is not None:
                chain = model.task_head.transitions.float()
                return (chain_losses(logits[marked], labels[marked] - 1, owners, len(weights), chain) * weights).sum()
            shares = weights[owners] if len(weights) else torch.ones_like(owners, dtype=torch.float32)
            return (label_losses(logits[marked], labels[marked] - 1, self.config) * shares).sum()
        return (label_losses(logits, labels, self.config) * weights).sum()


def label_losses(logits: Tensor, labels: Tensor, config: LabelsConfig) -> Tensor:
    """The loss of each of N labels.

    Args:
        logits: (N, K).
        labels: (N,) int64 in [0, K), the right one; (N, K) float, whether each label is right, with
            `binary_cross_entropy`; (N,) float numbers with `mean_squared_error`, K being 1.
        config: which loss.

    Returns:
        (N,) float32; of several labels their sum.
    """
    logits = logits.float()
    if config.loss == "mean_squared_error":
        return (logits.squeeze(-1) - labels.float()).square()
    if config.loss == "binary_cross_entropy":
        right = labels.float() * (1 - config.label_smoothing) + 0.5 * config.label_smoothing
        return binary_cross_entropy_with_logits(logits, right, reduction="none").sum(-1)
    return cross_entropy(logits, labels, reduction="none", label_smoothing=config.label_smoothing)
