"""Activations by name.

Each is a plain function of a tensor. `gelu` is exact (Hendrycks and Gimpel, 2016), `gelu_tanh` the approximation that
GPT-2 and Gemma were trained with; `relu2` squares a ReLU (So et al., 2021, "Primer"). Gates are the MLP's business.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, silu

ActivationName = Literal["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "relu2"]


def relu2(x: Tensor) -> Tensor:
    """`max(x, 0)^2`, of any shape."""
    return relu(x).square()


ACTIVATIONS: dict[ActivationName, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": gelu,
    "gelu_tanh": partial(gelu, approximate="tanh"),
    "silu": silu,
    "relu2": relu2,
}
"""Name -> function; a new activation is one row."""
