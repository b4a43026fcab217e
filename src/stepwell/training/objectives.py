"""What is minimised.

An objective turns a model and a batch into a *sum* over the tokens that count; the loop divides by the count of the
whole global batch, so accumulation equals the big batch whatever the masks are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stepwell.data import Batch
from stepwell.models import LanguageModel


def causal_loss(model: LanguageModel, batch: Batch, device: torch.device) -> Tensor:
    """Maximum likelihood of each next token.

    Args:
        model: the model; its parameters get the gradient.
        batch: rows of packed documents.
        device: where the model lives.

    Returns:
        Scalar float32: cross-entropy in nats, summed over the targets that count.
    """
    token_ids = torch.from_numpy(batch.token_ids).to(device)
    document_ids = torch.from_numpy(batch.document_ids).to(device)
    counted = torch.from_numpy(batch.loss_mask).to(device)
    targets = torch.from_numpy(batch.targets).to(device)
    hidden = model.hidden(token_ids, document_ids)
    return cross_entropy(model.unembed(hidden[counted]), targets[counted], reduction="sum")
