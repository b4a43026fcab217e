"""Attention as recurrent networks have it: one weighting of the memory for each query, without heads.

Scores are a small network of query and memory (Bahdanau et al., 2015, "additive"), a bilinear form ("general") or the
plain product ("dot"; both Luong et al., 2015). The weighted mean of the memory itself is the result. Attention with
heads, for Transformers, is another file (`attention.py`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Score = Literal["additive", "general", "dot"]


class Alignment(nn.Module):
    """The mean of a memory, weighted by how well each place suits a query.

    Args:
        d_model: channels D of queries and memory.
        score: how well a place suits a query.
    """

    def __init__(self, d_model: int, score: Score) -> None:
        super().__init__()
        self.score = score
        self.memory = None if score == "dot" else nn.Linear(d_model, d_model, bias=False)
        self.query = nn.Linear(d_model, d_model) if score == "additive" else None
        self.out = nn.Parameter(torch.full((d_model,), d_model**-0.5)) if score == "additive" else None

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Look a memory up.

        Args:
            queries: (B, T, D).
            memory: (B, S, D).
            mask: (B, S) bool, False at padding; at least one True in a row. None where nothing is padded.

        Returns:
            (B, T, D).
        """
        scores = self._scores(queries, memory)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, :], -math.inf)
        return scores.softmax(-1).to(memory.dtype) @ memory

    def _scores(self, queries: Tensor, memory: Tensor) -> Tensor:
        """(B, T, S)."""
        keys = memory if self.memory is None else self.memory(memory)
        if self.query is None or self.out is None:
            return queries @ keys.transpose(1, 2)
        return (self.query(queries)[:, :, None] + keys[:, None]).tanh() @ self.out
