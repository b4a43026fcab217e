"""Rotary position embedding (Su et al., 2021, "RoFormer").

Each pair of query and key channels is turned by an angle that grows with the position, so their dot product depends
on the distance alone. The tables of cosines and sines are made once for `max_seq_len` positions and sliced. This
file leaves out the scalings that stretch a model beyond the length it was trained at.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Tables of cosines and sines, and the turning itself.

    Args:
        head_dim: channels of one head, even.
        max_seq_len: number of positions in the tables.
        theta: base of the wavelengths, above 1.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_seq_len: int, theta: float = 10_000.0) -> None:
        super().__init__()
        frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float64), frequencies)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Turn queries or keys by their positions.

        Args:
            x: (B, H, T, E).
            start: position of the first of the T tokens; start + T is at most max_seq_len.

        Returns:
            (B, H, T, E), in x's precision. The first half of the channels pairs with the second half.
        """
        stop = start + x.shape[-2]
        cos, sin = self.cos[start:stop].to(x.dtype), self.sin[start:stop].to(x.dtype)
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
