"""Packed rows taken apart, for layers that know no mask, and put together again.

A recurrent cell runs on across the end of a document; so each piece of a packed row becomes a row of its own, with
padding on its right, and the results go back to where the tokens stood. Pieces can be cut further into chunks of a
fixed length, each of which knows the chunk before it, which is how an encoder-decoder reads running text. This file
leaves out attention, which sees packed rows through a mask instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from stepwell.nn.positions import document_positions


@dataclass(frozen=True)
class Pieces:
    """Where every position of B packed rows of T tokens stands among P pieces.

    Pieces are numbered in reading order: from left to right, row after row.

    Attributes:
        number: (B, T) int64, which piece a position belongs to, in [0, P).
        position: (B, T) int64, its place in that piece, from 0.
        lengths: (P,) int64, tokens of each piece, from 1.
        previous: (P,) int64, the piece that holds the chunk before this one in the same document; -1 for a first chunk.
    """

    number: Tensor
    position: Tensor
    lengths: Tensor
    previous: Tensor

    @classmethod
    def find(cls, document_ids: Tensor, chunk_len: int | None = None) -> Self:
        """Find the pieces of packed rows.

        Args:
            document_ids: (B, T) integers, T from 1; a document is a run of equal numbers in a row.
            chunk_len: documents are cut into chunks of so many tokens, counted from where they begin; the last chunk
                of a document may be shorter. None to leave them whole.
        """
        position = document_positions(document_ids)
        first_chunk = position == 0
        if chunk_len is not None:
            position = position % chunk_len
        begins = position == 0
        number = begins.flatten().cumsum(0).view_as(position) - 1
        previous = torch.where(first_chunk[begins], -1, number[begins] - 1)
        return cls(number, position, number.flatten().bincount(), previous)

    @property
    def mask(self) -> Tensor:
        """(P, Lmax) bool: False at padding."""
        places = torch.arange(int(self.lengths.max()), device=self.lengths.device)
        return places < self.lengths[:, None]

    def split(self, packed: Tensor) -> Tensor:
        """Lay every piece into a row of its own.

        Args:
            packed: (B, T, ...) of any type.

        Returns:
            (P, Lmax, ...), zeros after each piece's end.
        """
        shape = (len(self.lengths), int(self.lengths.max()), *packed.shape[2:])
        return packed.new_zeros(shape).index_put((self.number, self.position), packed)

    def join(self, pieces: Tensor) -> Tensor:
        """Put pieces back to where their tokens stood: (P, Lmax, ...) -> (B, T, ...); padding is dropped."""
        return pieces[self.number, self.position]
