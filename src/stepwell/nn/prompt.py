"""Prompt tuning: learned vectors that stand before a text as tokens would (Lester et al., 2021).

Every document of a packed row gets them before its first token, so learning in packed rows and reading one text are the
same. They take part in attention as tokens do; nothing is predicted after them. This file leaves out where a stack puts
them (`models/stack.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Lead(NamedTuple):
    """Rows in which something stands before some of their tokens, which are moved back by it.

    Attributes:
        source: (B, T') int64, what stands at each place: token t, or T + p for vector p of what was put in.
        places: (B, T) int64, where each token stands now.
    """

    source: Tensor
    places: Tensor

    def text_of(self, x: Tensor) -> Tensor:
        """What stands at the tokens: (B, T', D) -> (B, T, D)."""
        return x.take_along_dim(self.places[..., None], 1)

    def spread(self, values: Tensor, filling: Tensor) -> Tensor:
        """Values of the tokens (B, T) at their new places, the value of `filling`, a scalar, at all others: (B, T')."""
        return filling.expand(self.source.shape).scatter(1, self.places, values)


class Prompt(nn.Module):
    """Vectors that are read before a text.

    Args:
        vectors: (P, D), what they begin with, from one.
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.prompt_vectors = nn.Parameter(vectors.detach().float().clone())

    def lead(self, begins: Tensor) -> Lead:
        """Make room for the vectors.

        Args:
            begins: (B, T) bool, the tokens before which they stand. A row that gets fewer than another one is as long;
                vector 0 stands at its end.
        """
        num_tokens, num_vectors = begins.shape[1], len(self.prompt_vectors)
        tokens, vectors = (torch.arange(size, device=begins.device) for size in (num_tokens, num_vectors))
        times = begins.cumsum(1)
        places = tokens + times * num_vectors
        source = times.new_full((len(begins), num_tokens + num_vectors * int(times[:, -1].max())), num_tokens)
        source.scatter_(1, places, tokens.expand_as(places))
        rows, firsts = begins.nonzero(as_tuple=True)
        source[rows[:, None], places[rows, firsts, None] - num_vectors + vectors] = num_tokens + vectors
        return Lead(source, places)

    def documents(self, lead: Lead, documents: Tensor, begins: Tensor) -> Tensor:
        """The document of each place, a vector's being that of the token that it stands before.

        Args:
            lead: of `begins`.
            documents: (B, T) of the tokens.
            begins: (B, T) bool, the first token of each document.

        Returns:
            (B, T'), with a number of its own for the end of a row that got fewer.
        """
        told = lead.spread(documents, documents.max() + 1)
        rows, firsts = begins.nonzero(as_tuple=True)
        steps = torch.arange(1, len(self.prompt_vectors) + 1, device=documents.device)
        told[rows[:, None], lead.places[rows, firsts, None] - steps] = documents[rows, firsts, None]
        return told

    def forward(self, x: Tensor, lead: Lead, scale: float = 1.0) -> Tensor:
        """Tokens (B, T, D) with the vectors, times `scale`, in the room that was made: (B, T', D)."""
        own = (self.prompt_vectors * scale).to(x.dtype)
        return torch.cat((x, own.expand(len(x), -1, -1)), 1).take_along_dim(lead.source[..., None], 1)
