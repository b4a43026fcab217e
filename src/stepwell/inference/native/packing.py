"""Matrices in the order in which the native products read them.

Sixteen outputs are a panel: for each pair of channels the weights of the sixteen stand together. Channels are padded
to whole groups of 32 and outputs to whole panels, with weights that give nothing. This file leaves out how weights
are rounded (`nn.quantize`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from stepwell.nn import quantize

WeightBits = Literal["float32", "bfloat16", "int8", "int4"]
FORMATS: dict[WeightBits, int] = {"float32": 0, "bfloat16": 1, "int8": 2, "int4": 3}
"""How weights are held -> its number in `matmul.h`."""

LANES, GROUP = 16, 32


class Packed(NamedTuple):
    """A matrix as `matmul.h` reads it.

    Attributes:
        weights: how they are held.
        outputs: rows of the matrix.
        channels: its columns, padded.
        codes: the panels, contiguous.
        scales: (panels, groups, 16) float16 for int8; (panels, groups, 2, 16) for int4; (0,) else.
        bias: (outputs padded,) float32, or None.
    """

    weights: WeightBits
    outputs: int
    channels: int
    codes: Tensor
    scales: Tensor
    bias: Tensor | None

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes


def pack(weight: Tensor, bias: Tensor | None, weights: WeightBits) -> Packed:
    """Pack a matrix.

    Args:
        weight: (outputs, channels).
        bias: (outputs,), or None.
        weights: how they are to be held.
    """
    weight = weight.detach().float().cpu()
    outputs = len(weight)
    whole = pad(weight, (0, -weight.shape[1] % GROUP, 0, -outputs % LANES))
    padded_bias = None if bias is None else pad(bias.detach().float().cpu(), (0, -outputs % LANES)).contiguous()
    scales = torch.empty(0)
    if weights == "float32":
        codes = whole.unflatten(0, (-1, LANES)).transpose(1, 2)
    elif weights == "bfloat16":
        codes = _pairs(whole.bfloat16())
    elif weights == "int8":
        levels, scales = _bytes(whole)
        codes = _pairs(levels)
    else:
        codes, scales = _nibbles(whole)
    return Packed(weights, outputs, whole.shape[1], codes.contiguous(), scales.contiguous(), padded_bias)


def _pairs(whole: Tensor) -> Tensor:
    """(panels, channels / 2, 16, 2), of (outputs, channels)."""
    pairs: Tensor = whole.unflatten(0, (-1, LANES)).unflatten(2, (-1, 2)).transpose(1, 2)
    return pairs


def _bytes(whole: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (outputs, channels) int8 and a step for each 32 of a row: (panels, groups, 16) float16 (GGUF's Q8_0)."""
    groups = whole.unflatten(1, (-1, GROUP))
    steps = (groups.abs().amax(-1) / 127).half()
    exact = steps.float()[..., None]
    levels = torch.where(exact > 0, groups / exact, 0.0).round().clamp(-127, 127).to(torch.int8)
    return levels.flatten(1), steps.unflatten(0, (-1, LANES)).transpose(1, 2)


def _nibbles(whole: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (panels, channels / 8, 16, 2) int16, each with a level of four pairs, and the grids of `int4`."""
    codes, grid = quantize(whole, "int4")
    levels = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1).int()
    levels = levels.unflatten(0, (-1, LANES)).unflatten(2, (-1, 4, 2))  # panel, lane, eight channels, pair, which
    shifts = torch.tensor([0, 4, 8, 12])[:, None]
    words = (levels << shifts).sum(3)  # panel, lane, eight channels, which
    words = torch.where(words >= 1 << 15, words - (1 << 16), words).to(torch.int16)
    return words.transpose(1, 2), grid.unflatten(0, (-1, LANES)).permute(0, 2, 3, 1)
