"""Frozen linear layers whose matrix is held in fewer bits.

`int8` keeps one scale for each row, `int4` one for each group of 64 neighbours in a row, two weights to a byte; both
round to the nearest level of an even grid around zero. A product turns the matrix back into numbers first, backward
does so again, and nothing keeps them in between. This file leaves out how anything is learned through them (`lora.py`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

WeightFormat = Literal["bfloat16", "int8", "int4"]
GROUP = 64
"""Weights of a row that share a scale in `int4`."""


class QuantizedLinear(nn.Module):
    """A linear layer with a frozen matrix in fewer bits.

    Args:
        base: the layer whose weights are taken; its bias is shared and frozen.
        weights: `bfloat16`, `int8` or `int4`.

    Attributes:
        codes: (out, in) bfloat16 or int8, or (out, groups * GROUP / 2) uint8 with two weights in each byte.
        scales: (out, 1) or (out, groups) float32, what a level stands for; (0,) for bfloat16.
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
        Codes and scales, as in `QuantizedLinear`. Levels go from -127 to 127, or from -7 to 7: the largest weight of a
        row or group is kept as it is, and none is off by more than half a scale.
    """
    if weights == "bfloat16":
        return weight.bfloat16(), weight.new_empty(0)
    rows, levels = weight.float(), 127
    if weights == "int4":
        rows, levels = pad(rows, (0, -rows.shape[1] % GROUP)).unflatten(1, (-1, GROUP)), 7
    scales = rows.abs().amax(-1, keepdim=True) / levels
    codes = torch.where(scales > 0, rows / scales, 0.0).round().to(torch.int8)
    if weights == "int8":
        return codes, scales
    halves = (codes + 8).to(torch.uint8).flatten(1)
    return halves[:, ::2] | (halves[:, 1::2] << 4), scales.squeeze(-1)


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
    halves = torch.stack((codes & 15, codes >> 4), dim=-1).view(len(codes), -1, GROUP)
    return ((halves.to(dtype) - 8) * scales.to(dtype)[..., None]).flatten(1)[:, :width]
