"""Positions that are not turned: learned and sinusoidal tables that are added to the stream, biases added to logits.

A table gives each place a vector (Vaswani et al., 2017; Radford et al., 2018); a bias says how much a query cares for
a key at some distance, by a line (ALiBi; Press et al., 2022) or by learned buckets (T5; Raffel et al., 2020). This
file leaves out rotary positions (`rotary`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

SinusoidalLayout = Literal["interleaved", "halves"]


class LearnedPositions(nn.Module):
    """A vector for each place.

    Args:
        max_seq_len: number of places.
        d_model: width D of the stream.
        offset: rows at the top of the table that no place uses (RoBERTa and BART have 2, GPT-2 none).
    """

    def __init__(self, max_seq_len: int, d_model: int, offset: int = 0) -> None:
        super().__init__()
        self.offset = offset
        self.weight = nn.Parameter(torch.empty(max_seq_len + offset, d_model))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Tensor) -> Tensor:
        """Look up.

        Args:
            positions: (T) or (B, T) int64 in [0, max_seq_len).

        Returns:
            (T, D) or (B, T, D).
        """
        return embedding(positions + self.offset, self.weight)


def sinusoidal_positions(max_seq_len: int, d_model: int, layout: SinusoidalLayout = "interleaved") -> Tensor:
    """The fixed table of Vaswani et al. (2017): waves of 2 pi to 10,000 * 2 pi tokens.

    Args:
        max_seq_len: number of places T.
        d_model: width D.
        layout: `interleaved` as in the paper, sine and cosine of a wave side by side; `halves` with all sines first
            (Marian).

    Returns:
        (T, D) float32.
    """
    frequencies = 10_000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float64), frequencies)
    sines, cosines = angles.sin(), angles.cos()[:, : d_model // 2]
    if layout == "halves":
        return torch.cat((sines, cosines), dim=1).float()
    table = torch.empty(max_seq_len, d_model)
    table[:, 0::2], table[:, 1::2] = sines, cosines
    return table


def alibi_slopes(num_heads: int) -> Tensor:
    """How steeply each head forgets with the distance (Press et al., 2022).

    Slopes fall geometrically from 2^(-8/H) to 2^-8. Where H is no power of two, the next lower one gives the first
    heads and every other slope of the next higher one the rest, as the authors do.

    Args:
        num_heads: H.

    Returns:
        (H,) float32, in (0, 1).
    """
    lower = 2 ** (num_heads.bit_length() - 1)
    exponents = [8 * (head + 1) / lower for head in range(lower)]
    exponents += [8 * (head + 1) / (2 * lower) for head in range(0, 2 * (num_heads - lower), 2)]
    return torch.exp2(-torch.tensor(exponents, dtype=torch.float64)).float()


def alibi_bias(slopes: Tensor, query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """What ALiBi adds to the attention logits: -slope * (query position - key position).

    Args:
        slopes: (H,) from `alibi_slopes`.
        query_positions: (T,) int64.
        key_positions: (S,) int64.

    Returns:
        (1, H, T, S) in the slopes' precision; positive for keys ahead, which a causal mask hides.
    """
    distances = (query_positions[:, None] - key_positions[None, :]).to(slopes.dtype)
    return (-slopes[:, None, None] * distances).unsqueeze(0)


class RelativeBias(nn.Module):
    """A learned number for each head and bucket of distances (Raffel et al., 2020, "T5").

    Half of the buckets of a direction hold one distance each; the others grow logarithmically up to max_distance, and
    the last one holds everything beyond.

    Args:
        num_buckets: buckets of both directions together; at least 4 when bidirectional, else at least 2.
        max_distance: where the last bucket begins; more than the distances that have a bucket of their own.
        num_heads: H.
        bidirectional: tell keys ahead from keys behind; otherwise all keys ahead share the bucket of distance 0.
    """

    def __init__(self, num_buckets: int, max_distance: int, num_heads: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.num_buckets, self.max_distance, self.bidirectional = num_buckets, max_distance, bidirectional
        self.table = nn.Embedding(num_buckets, num_heads)

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """What to add to the attention logits.

        Args:
            query_positions: (T,) int64.
            key_positions: (S,) int64.

        Returns:
            (1, H, T, S).
        """
        buckets = self.buckets(key_positions[None, :] - query_positions[:, None])
        return self.table(buckets).permute(2, 0, 1).unsqueeze(0)

    def buckets(self, offsets: Tensor) -> Tensor:
        """Bucket of each offset.

        Args:
            offsets: int64 of any shape, key position - query position.

        Returns:
            int64 of the same shape, in [0, num_buckets).
        """
        if self.bidirectional:
            size = self.num_buckets // 2
            first, distances = size * (offsets > 0), offsets.abs()
        else:
            size = self.num_buckets
            first, distances = torch.zeros_like(offsets), (-offsets).clamp(min=0)
        single = size // 2  # distances with a bucket of their own
        # float32 as in the published models: at the borders of buckets, rounding decides
        growth = torch.log(distances.clamp(min=1).float() / single) / math.log(self.max_distance / single)
        shared = (single + (growth * (size - single)).long()).clamp(max=size - 1)
        return first + torch.where(distances < single, distances, shared)


def document_positions(document_ids: Tensor) -> Tensor:
    """Place of each token within its document, in packed rows.

    Args:
        document_ids: (B, T) integers; a document is a run of equal numbers in a row.

    Returns:
        (B, T) int64, 0 at the first token of each document.
    """
    places = torch.arange(document_ids.shape[1], device=document_ids.device).expand(document_ids.shape)
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values
