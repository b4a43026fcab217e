"""A learning rate for each layer: the nearer to the input, the smaller (Clark et al., 2020, "ELECTRA", section 3.1).

What is low in a trained model is of general use and should move less. A block has a share of the rate of the block
above it, what stands after the blocks has all of it, and the embedding the least. This file leaves out how the rates
move in time (`schedules.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer

from stepwell.errors import ConfigError

NUMBERED = re.compile(r"(^|.*\.)blocks\.(\d+)\.")
"""A parameter in a numbered block: the blocks' own name, and which of them."""

LOWEST = ("embedding", "positions", "embedding_norm", "segments")
"""Parts of the names of what stands before the first block."""


def layer_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """The share of the rate of each parameter.

    Block i of L has `decay ** (L - i)`, what comes before them `decay ** (L + 1)` and everything else 1, as BEiT counts
    (Bao et al., 2022). An encoder and a decoder are counted each for itself.

    Args:
        model: whose blocks are numbered in their names.
        decay: in (0, 1].

    Raises:
        ConfigError: when no block of the model has a number.
    """
    names = [name for name, _ in model.named_parameters()]
    depths: dict[str, int] = {}
    for name in names:
        if found := NUMBERED.match(name):
            depths[found[1]] = max(depths.get(found[1], 0), int(found[2]) + 1)
    if not depths:
        raise ConfigError(
            "training.layer_decay: the model has no numbered blocks",
            wanted="a model of Transformer blocks",
            do="leave training.layer_decay at 1",
        )
    deepest = max(depths.values())
    factors: dict[str, float] = {}
    for name in names:
        found = NUMBERED.match(name)
        if found is not None:
            factors[name] = decay ** (depths[found[1]] - int(found[2]))
        else:
            factors[name] = decay ** (deepest + 1) if any(part in LOWEST for part in name.split(".")) else 1.0
    return factors


def scale_by_layer(optimizers: Sequence[Optimizer], model: nn.Module, decay: float) -> None:
    """Cut the groups of optimizers so that each has one layer's rate, in place; nothing for a decay of 1.

    Args:
        optimizers: new ones, each group with its `full_rate`.
        model: whose parameters they hold.
        decay: see `layer_factors`.

    Raises:
        ConfigError: see `layer_factors`.
    """
    if decay == 1:
        return
    factors, names = layer_factors(model, decay), {id(p): name for name, p in model.named_parameters()}
    for optimizer in optimizers:
        groups = []
        for group in optimizer.param_groups:
            layers: dict[float, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                layers.setdefault(factors[names[id(parameter)]], []).append(parameter)
            for factor, parameters in layers.items():
                rate = group["full_rate"] * factor
                groups.append({**group, "params": parameters, "lr": rate, "full_rate": rate})
        optimizer.param_groups = groups
