"""What is minimised: every objective by its kind, one row each.

The first and plainest one, predicting each next token, stands here; the others have files of their own.
This file leaves out what an objective is (`objective.py`), and batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stepwell.data import Batch
from stepwell.models import LanguageModel
from stepwell.objectives.config import CausalConfig, CrossEntropyConfig, LossConfig, ObjectiveConfig
from stepwell.objectives.contrastive import ContrastiveObjective
from stepwell.objectives.corruption import DenoisingObjective, SpanCorruptionObjective
from stepwell.objectives.distillation import DistillationObjective
from stepwell.objectives.grpo import GRPOObjective
from stepwell.objectives.labels import LabelsObjective
from stepwell.objectives.losses import summed_loss
from stepwell.objectives.masking import MaskedObjective
from stepwell.objectives.objective import Objective
from stepwell.objectives.pairs import PairsObjective
from stepwell.objectives.preference import PreferenceObjective
from stepwell.objectives.prefix import PrefixObjective
from stepwell.objectives.sequence_to_sequence import SequenceToSequenceObjective
from stepwell.objectives.spans import SpanObjective
from stepwell.tokenizers import Tokenizer

PLAIN = CrossEntropyConfig()
"""Maximum likelihood."""


def causal_loss(model: LanguageModel, batch: Batch, device: torch.device, config: LossConfig = PLAIN) -> Tensor:
    """The loss of each next token.

    Args:
        model: the model; its parameters get the gradient.
        batch: rows of packed documents.
        device: where the model lives.
        config: how a prediction is judged; plain cross-entropy, in nats, by default.

    Returns:
        Scalar float32, summed over the targets that count, each by its weight where the batch has weights.
    """
    token_ids = torch.from_numpy(batch.token_ids).to(device)
    document_ids = torch.from_numpy(batch.document_ids).to(device)
    counted = torch.from_numpy(batch.loss_mask).to(device)
    targets = torch.from_numpy(batch.targets).to(device)
    weights = batch.aligned.get("weight")
    told = None if weights is None else torch.from_numpy(weights).to(device)
    hidden = model.hidden(token_ids, document_ids)
    return summed_loss(model, hidden, targets, config, counted if told is None else counted & (told > 0), told)


class CausalObjective(Objective[Batch]):
    """Predict each next token."""

    def __init__(self, config: CausalConfig) -> None:
        self.config = config

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """The batch, in which nothing counts that weighs nothing."""
        weights = batch.aligned.get("weight")
        return batch if weights is None else replace(batch, loss_mask=batch.loss_mask & (weights > 0))

    def loss(self, model: LanguageModel, examples: Batch, device: torch.device) -> Tensor:
        """See `causal_loss`."""
        return causal_loss(model, examples, device, self.config.loss)


OBJECTIVES: dict[str, Callable[[Any, Tokenizer], Objective[Any]]] = {
    "causal": lambda config, tokenizer: CausalObjective(config),
    "masked": MaskedObjective,
    "span_corruption": SpanCorruptionObjective,
    "denoising": DenoisingObjective,
    "prefix": PrefixObjective,
    "sequence_to_sequence": SequenceToSequenceObjective,
    "pairs": PairsObjective,
    "distillation": DistillationObjective,
    "preference": PreferenceObjective,
    "grpo": GRPOObjective,
    "labels": lambda config, tokenizer: LabelsObjective(config),
    "span": lambda config, tokenizer: SpanObjective(config),
    "contrastive": lambda config, tokenizer: ContrastiveObjective(config),
}
"""kind -> function of (config, tokenizer); a new objective is one class and one row."""


def build_objective(config: ObjectiveConfig, tokenizer: Tokenizer) -> Objective[Any]:
    """The objective of a config."""
    return OBJECTIVES[config.kind](config, tokenizer)
