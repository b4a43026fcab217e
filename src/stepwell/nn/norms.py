"""Normalisation layers.

RMSNorm (Zhang and Sennrich, 2019) divides by the root mean square and has no mean to subtract and no bias to add. It
is computed in float32 whatever the input's precision, because the sum of squares loses too much in bfloat16. This
file leaves out norms over the batch: language models do not use them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """`x / rms(x) * weight` over the last dimension.

    Args:
        size: length of the last dimension.
        eps: added to the mean square, above 0.
    """

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise.

        Args:
            x: (..., size).

        Returns:
            (..., size), in x's precision.
        """
        return torch.nn.functional.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(x.dtype)
