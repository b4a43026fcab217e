"""Optimizers by kind, with the groups of parameters that they need.

Weight decay is for matrices that multiply activations; norms, biases and tables with a row for each token have no
scale that it should pull on. A kind may need several torch optimizers (Muon and AdamW), so every builder gives a
list; each group keeps its `full_rate`, which the schedule scales. The optimizers themselves come from torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from stepwell.models import LanguageModel
from stepwell.training.config import AdamWConfig, MuonConfig


def split_parameters(model: LanguageModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Sort the trainable parameters into hidden matrices and everything else; each is in exactly one list."""
    tables = {id(parameter) for parameter in model.vocabulary_parameters()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hidden = [p for p in trainable if p.ndim == 2 and id(p) not in tables]
    others = [p for p in trainable if p.ndim != 2 or id(p) in tables]
    return hidden, others


def build_adamw(model: LanguageModel, config: AdamWConfig) -> list[Optimizer]:
    """Fused AdamW over both groups."""
    hidden, others = split_parameters(model)
    groups = [_group(hidden, config.learning_rate, config.weight_decay), _group(others, config.learning_rate, 0.0)]
    return [AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)]


def build_muon(model: LanguageModel, config: MuonConfig) -> list[Optimizer]:
    """Muon over the hidden matrices, fused AdamW over the rest."""
    hidden, others = split_parameters(model)
    return [
        Muon([_group(hidden, config.learning_rate, config.weight_decay)], momentum=config.momentum),
        AdamW(
            [_group(others, config.adamw_learning_rate, 0.0)],
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            fused=True,
        ),
    ]


def _group(parameters: list[nn.Parameter], rate: float, weight_decay: float) -> dict[str, Any]:
    return {"params": parameters, "lr": rate, "full_rate": rate, "weight_decay": weight_decay}


OPTIMIZERS: dict[str, Callable[[LanguageModel, Any], list[Optimizer]]] = {
    "adamw": build_adamw,
    "muon": build_muon,
}
"""kind -> function of (model, config); a new optimizer is one function and one row."""


def build_optimizers(model: LanguageModel, config: AdamWConfig | MuonConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of a config; together they hold every trainable parameter once."""
    return OPTIMIZERS[config.kind](model, config)
