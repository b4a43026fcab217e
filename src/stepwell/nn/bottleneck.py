"""Bottleneck adapters: a small MLP behind a frozen layer (Houlsby et al., 2019).

What the layer answers is narrowed, bent and widened again, and added to the answer. The last map begins at zero, so the
first step sees the model as it was. Unlike LoRA it cannot be merged into the matrix: a nonlinearity stands between.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from stepwell.nn.lora import FrozenLinear
from stepwell.nn.quantized_linear import QuantizedLinear


class BottleneckLinear(nn.Module):
    """A frozen linear layer with a bottleneck adapter behind it: y + U gelu(D y + d) + u.

    Args:
        base: the layer; its parameters are frozen.
        width: rows of D, from 1.
        generator: of D, on the CPU; None for torch's own.
    """

    def __init__(self, base: FrozenLinear, width: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features, self.width = base.in_features, base.out_features, width
        self.base = base.requires_grad_(False)
        device = base.codes.device if isinstance(base, QuantizedLinear) else base.weight.device
        down = torch.empty(width, self.out_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.adapter_down = nn.Parameter(down.to(device))
        self.adapter_down_bias = nn.Parameter(torch.zeros(width, device=device))
        self.adapter_up = nn.Parameter(torch.zeros(self.out_features, width, device=device))
        self.adapter_up_bias = nn.Parameter(torch.zeros(self.out_features, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        y = self.base(x)
        inside = gelu(linear(y, self.adapter_down, self.adapter_down_bias))
        added: Tensor = y + linear(inside, self.adapter_up, self.adapter_up_bias)
        return added

    def extra_repr(self) -> str:
        return f"width={self.width}"
