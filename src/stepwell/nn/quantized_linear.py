"""Frozen linear layers whose matrix is held in fewer bits.

`int8` keeps one scale for each row and rounds to a grid around zero; `int4` has sixteen levels from the lowest to the
highest weight of each group of 32 neighbours in a row, two weights to a byte (the grid of GGUF's Q4_1, whose files it
holds without loss). A product turns the matrix back into numbers first, backward does so again, and nothing keeps them
in between. This file leaves out how anything is learned through them (`lora.py`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

WeightFormat = Literal["bfloat16", "int8", "int4"]
GROUP = 32
"""Weights of a row that share a grid in `int4`."""


class QuantizedLinear(nn.Module):
    """A linear layer with a frozen matrix in fewer bits.

    Args:
        base: the layer whose weights are taken; its bias is shared and frozen.
        weights: `bfloat16`, `int8` or `int4`.

    Attributes:
        codes: (out, in) bfloat16 or int8, or (out, groups * GROUP / 2) uint8 with two weights in each byte.
        scales: (out, 1) float32, what a level of `int8` stands for; (out, groups, 2) float16, step and lowest level of
            `int4`; (0,) for bfloat16.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, base: nn.Linear, weights: WeightFormat) -> None:
        super().__init__()
        self.in_features, self.out_features, self.weights = base.in_features, base.out_features, weights
        base.requires_grad_(False)
        self.bias = base.bias
        codes, scales = quantize(base.weight.detach(), weights)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        product: Tensor = _Product.apply(x, self.codes, self.scales, self.in_features)  # type: ignore[no-untyped-call]
        bias: Tensor | None = self.bias
        return product if bias is None else product + bias.to(product.dtype)

    def matrix(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(out, in), what the codes stand for."""
        return dequantize(self.codes, self.scales, self.in_features, dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, weights={self.weights}"


class _Product(torch.autograd.Function):
    """x W^T, for whose backward the codes are kept and not the matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scales: Tensor, width: int) -> Tensor:
        ctx.save_for_backward(codes, scales)
        ctx.width = width
        return linear(x, dequantize(codes, scales, width, x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        codes, scales = ctx.saved_tensors
        return grad @ dequantize(codes, scales, ctx.width, grad.dtype), None, None, None


def quantize(weight: Tensor, weights: WeightFormat) -> tuple[Tensor, Tensor]:
    """A matrix in fewer bits.

    Args:
        weight: (out, in).
        weights: the format.

    Returns:
        Codes and scales, as in `QuantizedLinear`. No weight is off by more than half a step (and, in `int4`, what
        float16 rounds of step and lowest level).
    """
    if weights == "bfloat16":
        return weight.bfloat16(), weight.new_empty(0)
    if weights == "int8":
        rows = weight.float()
        scales = rows.abs().amax(1, keepdim=True) / 127
        return torch.where(scales > 0, rows / scales, 0.0).round().to(torch.int8), scales
    groups = pad(weight.float(), (0, -weight.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
    lowest, highest = groups.aminmax(dim=-1, keepdim=True)
    grid = torch.cat(((highest - lowest) / 15, lowest), -1).half()
    step, low = grid.float().split(1, -1)
    codes = torch.where(step > 0, (groups - low) / step, 0.0).round().clamp(0, 15).to(torch.uint8).flatten(1)
    return codes[:, ::2] | (codes[:, 1::2] << 4), grid


def dequantize(codes: Tensor, scales: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of `quantize` up to rounding.

    Args:
        codes: see `QuantizedLinear`.
        scales: see `QuantizedLinear`.
        width: columns of the matrix.
        dtype: of the answer.

    Returns:
        (out, width).
    """
    if codes.dtype == torch.bfloat16:
        return codes.to(dtype)
    if codes.dtype == torch.int8:
        return codes.to(dtype) * scales.to(dtype)
    step, low = scales.to(dtype).split(1, -1)
    levels = torch.stack((codes & 15, codes >> 4), dim=-1).view(len(codes), -1, GROUP).to(dtype)
    return levels.mul_(step).add_(low).flatten(1)[:, :width]
