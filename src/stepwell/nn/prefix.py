"""Prefix tuning: learned keys and values that every token may look at (Li and Liang, 2021).

They have a softmax of their own, and what they give is added through a gate for each head that begins at zero (Zhang et
al., 2023, "LLaMA-Adapter"), so the first step sees the model as it was. They have no position: a token asks them before
it is turned by its own, so packed rows, caches and padding change nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Prefix(nn.Module):
    """Keys and values for the heads of one attention.

    Args:
        num_heads: query heads H.
        num_kv_heads: key and value heads K; divides H.
        head_dim: channels E of a head.
        num_tokens: keys P, from 1.
        generator: of keys and values, on the CPU; None for torch's own.
        device: where they live.
    """

    def __init__(
        self,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        num_tokens: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        size = (num_kv_heads, num_tokens, head_dim)
        self.prefix_keys = nn.Parameter(torch.randn(size, generator=generator).to(device))
        self.prefix_values = nn.Parameter(torch.randn(size, generator=generator).to(device))
        self.prefix_gate = nn.Parameter(torch.zeros(num_heads, device=device))

    def forward(self, queries: Tensor) -> Tensor:
        """What the prefix adds to the heads: (B, H, T, E), before positions turn them -> (B, H, T, E)."""
        num_kv_heads, _, head_dim = self.prefix_keys.shape
        grouped = queries.unflatten(1, (num_kv_heads, -1))
        weights = torch.einsum("bkgte,kpe->bkgtp", grouped, self.prefix_keys).mul(head_dim**-0.5).softmax(-1)
        read = torch.einsum("bkgtp,kpe->bkgte", weights.to(self.prefix_values.dtype), self.prefix_values)
        added: Tensor = torch.tanh(self.prefix_gate)[:, None, None] * read.flatten(1, 2)
        return added
