"""Optimizers by kind, with the groups that they need.

Weight decay is for matrices that multiply activations; norms, biases and embeddings have no scale that it should pull on. The optimizers
themselves come from torch.
"""

from __future__ import annotations

import torch
from torch import nn

from stepwell.training.config import AdamWConfig


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split the parameters into those that decay and those that do not.

    Args:
        model: any module tree.
        weight_decay: of the matrices.

    Returns:
        Two groups as torch optimizers take them; every trainable parameter is in exactly one.
    """
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    trainable = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trainable if p.ndim >= 2 and id(p) not in embeddings]
    spared = [p for p in trainable if p.ndim < 2 or id(p) in embeddings]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


def build_adamw(model: nn.Module, config: AdamWConfig) -> torch.optim.Optimizer:
    """torch's fused AdamW over the groups."""
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )


OPTIMIZERS = {"adamw": build_adamw}
"""kind -> function of (model, config); a new optimizer is one function and one row."""


def build_optimizer(model: nn.Module, config: AdamWConfig) -> torch.optim.Optimizer:
    """Build the optimizer of a config."""
    return OPTIMIZERS[config.kind](model, config)
