"""Optimizers by kind, with the groups of parameters that they need.

Weight decay is for matrices that multiply activations; norms, biases and tables with a row for each token have no
scale that it should pull on. A kind may need several torch optimizers (Muon and AdamW), so every builder gives a
list; each group keeps its `full_rate`, which the schedule scales. The optimizers themselves come from torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from stepwell.models import LanguageModel
from stepwell.training.optimizer_config import AdamWConfig, MuonConfig


class Split(NamedTuple):
    """The trainable parameters of a model; each is in exactly one list.

    Attributes:
        matrices: hidden matrices.
        stacks: several matrices in one tensor (experts).
        others: norms, biases, and tables with a row for each token or position.
    """

    matrices: list[nn.Parameter]
    stacks: list[nn.Parameter]
    others: list[nn.Parameter]


def split_parameters(model: LanguageModel) -> Split:
    """Sort the trainable parameters by what an optimizer may do to them."""
    tables = {id(parameter) for parameter in model.lookup_parameters()}
    split = Split([], [], [])
    for parameter in model.parameters():
        if parameter.requires_grad:
            group = 2 if id(parameter) in tables or parameter.ndim < 2 else 1 if parameter.ndim > 2 else 0
            split[group].append(parameter)
    return split


def build_adamw(model: LanguageModel, config: AdamWConfig) -> list[Optimizer]:
    """Fused AdamW; matrices decay, the others do not. With a base width, each width has a group of its own."""
    split, rate = split_parameters(model), config.learning_rate
    widths: dict[int, list[nn.Parameter]] = {}
    for parameter in split.matrices + split.stacks:
        widths.setdefault(parameter.shape[-1] if config.base_width else 0, []).append(parameter)
    groups = [
        _group(parameters, rate * config.base_width / width if config.base_width else rate, config.weight_decay)
        for width, parameters in widths.items()
    ]
    groups.append(_group(split.others, rate, 0.0))
    return [AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)]


def build_muon(model: LanguageModel, config: MuonConfig) -> list[Optimizer]:
    """Muon over the hidden matrices, fused AdamW over the rest."""
    split, rate = split_parameters(model), config.adamw_learning_rate
    others = [_group(split.stacks, rate, config.weight_decay), _group(split.others, rate, 0.0)]
    return [
        Muon([_group(split.matrices, config.learning_rate, config.weight_decay)], momentum=config.momentum),
        AdamW(
            [group for group in others if group["params"]],
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
