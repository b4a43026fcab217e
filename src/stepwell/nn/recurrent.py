"""Recurrent cells: a memory that is carried from token to token (Hochreiter and Schmidhuber, 1997; Cho et al., 2014).

A stack of LSTM or GRU layers reads a sequence and hands back what it remembers, which is all that decoding needs,
however long the sequence was. The cells are torch's, with both of their bias vectors. This file leaves out embeddings
and anything that looks back at earlier tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Cell = Literal["lstm", "gru"]
Memory = tuple[Tensor, ...]
"""What the layers remember, each tensor (L, B, H): hidden and cell state of an LSTM, hidden state of a GRU."""


class RecurrentState:
    """The memory of all layers for a batch of sequences of equal length (a `DecodingState`).

    Args:
        memory: of no token yet.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._length = 0

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self._length

    def advance(self, memory: Memory, num_tokens: int) -> None:
        """Take over the memory after T more tokens."""
        self.memory = memory
        self._length += num_tokens

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.memory = tuple(part[:, rows] for part in self.memory)


class Recurrent(nn.Module):
    """A stack of recurrent layers.

    Args:
        cell: `lstm` or `gru`.
        input_size: channels I of the input.
        hidden_size: units H of each layer, and of each direction.
        num_layers: L.
        dropout: probability of dropping what one layer hands to the next, while training, in [0, 1).
        bidirectional: every layer reads from both ends; the output is 2 H wide, and so is the memory.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        between = dropout if num_layers > 1 else 0.0  # torch warns where there is no layer to hand on to
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.cells = kind(
            input_size, hidden_size, num_layers, batch_first=True, dropout=between, bidirectional=bidirectional
        )

    def nothing(self, batch_size: int) -> Memory:
        """The memory before the first token of B sequences: zeros."""
        cells = self.cells
        directions = 2 if cells.bidirectional else 1
        zeros = next(cells.parameters()).new_zeros(cells.num_layers * directions, batch_size, cells.hidden_size)
        return (zeros, zeros) if isinstance(cells, nn.LSTM) else (zeros,)

    def forward(self, x: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Read T more inputs.

        Args:
            x: (B, T, I), no padding.
            memory: of what came before; None for nothing.

        Returns:
            (B, T, H), the last layer's hidden states, and the memory after them.
        """
        before = self.nothing(x.shape[0]) if memory is None else memory
        if isinstance(self.cells, nn.LSTM):
            y, after = self.cells(x, before)
            return y, after
        y, hidden = self.cells(x, before[0])
        return y, (hidden,)

    def read_rows(self, x: Tensor, lengths: Tensor, memory: Memory | None = None) -> Tensor:
        """Read sequences of different lengths from left to right.

        Rows of like length run together, so padding costs at most about as much again, however uneven they are; torch's
        own packed sequences were several times slower on a CPU.

        Args:
            x: (P, Lmax, I), padded on the right.
            lengths: (P,) int64, from 1.
            memory: of what came before each row; None for nothing.

        Returns:
            (P, Lmax, H), zeros at padding.
        """
        sizes = torch.log2(lengths.float()).ceil()
        y = x.new_zeros(*x.shape[:2], self.cells.hidden_size)
        for size in sizes.unique():
            rows = (sizes == size).nonzero().flatten()
            longest = int(lengths[rows].max())
            before = None if memory is None else tuple(part[:, rows] for part in memory)
            read, _ = self(x[rows, :longest], before)
            inside = torch.arange(longest, device=x.device) < lengths[rows, None]
            y[rows, :longest] = (read * inside[:, :, None]).to(y.dtype)
        return y

    def read_both_ways(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Memory]:
        """Read whole sequences from both ends.

        Args:
            x: (B, S, I), padded on the right.
            lengths: (B,) int64, from 1.

        Returns:
            (B, S, 2 H), zeros at padding, and the memory after them with the two directions side by side: (L, B, 2 H).
        """
        if bool((lengths == x.shape[1]).all()):  # nothing is padded: the quick way
            y, memory = self(x)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            read, after = self.cells(packed)
            y, _ = pad_packed_sequence(read, batch_first=True, total_length=x.shape[1])
            memory = after if isinstance(after, tuple) else (after,)
        return y, tuple(part.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2) for part in memory)
