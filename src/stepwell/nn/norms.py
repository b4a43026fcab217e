"""Normalisation layers.

RMSNorm (Zhang and Sennrich, 2019) divides by the root mean square and has no mean to subtract and no bias to add. It
is computed in float32 whatever the input's precision, because the sum of squares loses too much in bfloat16. LayerNorm
(Ba et al., 2016) is torch's; this file leaves out norms over the batch: language models do not use them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """`x / rms(x) * weight` over the last dimension.

    Args:
        size: length of the last dimension.
        eps: added to the mean square, above 0.
        unit_offset: multiply by `1 + weight`, the weight beginning at zero (Gemma).
    """

    def __init__(self, size: int, eps: float = 1e-6, *, unit_offset: bool = False) -> None:
        super().__init__()
        self.eps, self.unit_offset = eps, unit_offset
        self.weight = nn.Parameter(torch.zeros(size) if unit_offset else torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise.

        Args:
            x: (..., size).

        Returns:
            (..., size), in x's precision.
        """
        weight = 1 + self.weight.float() if self.unit_offset else self.weight
        return torch.nn.functional.rms_norm(x.float(), weight.shape, weight, self.eps).to(x.dtype)
