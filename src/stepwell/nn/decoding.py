"""What a model remembers between decoding steps.

Every architecture extends a state by tokens; for attention the state is the keys and values of the tokens so far.
The cache is allocated once for the longest sequence and filled from the left, so a step copies only its own tokens.
This file leaves out paged storage: one request, or one batch of equal length, at a time.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class DecodingState(Protocol):
    """The memory of a decoding that a model extends."""

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        ...

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place.

        Args:
            rows: (B',) int64, which of the present sequences stand in each new place.
        """
        ...


class KeyValueCache:
    """Keys and values of all layers for a batch of sequences of equal length.

    Args:
        num_layers: attention layers.
        batch_size: sequences B.
        num_kv_heads: key and value heads K.
        max_len: positions S that fit.
        head_dim: channels E of a head.
        device: where the tensors live.
        dtype: their precision.
        left_padding: (B,) int64, how many of the first tokens of each sequence are padding, which no other token sees;
            None where the sequences are of equal length.
        lead_tokens: positions before each text that are none of its tokens (`Prompt`); they come with the first tokens.

    Attributes:
        positions: those that hold something.
    """

    def __init__(
        self,
        num_layers: int,
        batch_size: int,
        num_kv_heads: int,
        max_len: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
        left_padding: Tensor | None = None,
        lead_tokens: int = 0,
    ) -> None:
        shape = (batch_size, num_kv_heads, lead_tokens + max_len, head_dim)
        self.keys = [torch.empty(shape, device=device, dtype=dtype) for _ in range(num_layers)]
        self.values = [torch.empty(shape, device=device, dtype=dtype) for _ in range(num_layers)]
        self.max_len, self.left_padding, self.lead_tokens = lead_tokens + max_len, left_padding, lead_tokens
        self.positions = 0

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return max(0, self.positions - self.lead_tokens)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store T new positions of one layer and return all of them.

        Args:
            layer: which layer, from 0.
            keys: (B, K, T, E).
            values: (B, K, T, E).

        Returns:
            Keys and values of every position so far, each (B, K, positions + T, E).

        Raises:
            IndexError: when positions + T is past max_len.
        """
        stop = self.positions + keys.shape[-2]
        if stop > self.max_len:
            raise IndexError(f"the cache holds {self.max_len} positions, {stop} were asked for")
        self.keys[layer][:, :, self.positions : stop] = keys
        self.values[layer][:, :, self.positions : stop] = values
        return self.keys[layer][:, :, :stop], self.values[layer][:, :, :stop]

    def documents(self, num_tokens: int) -> Tensor | None:
        """Padding and text as two documents: (B, positions + T) int64; None without padding."""
        if self.left_padding is None:
            return None
        places = torch.arange(self.positions + num_tokens, device=self.left_padding.device)
        return (places >= self.left_padding[:, None]).long()

    def advance(self, num_tokens: int) -> None:
        """Count T positions as seen, after every layer has appended them."""
        self.positions += num_tokens

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        if self.left_padding is not None:
            self.left_padding = self.left_padding[rows]
