"""Who may look at whom.

Queries stand at the end of the keys: with S keys and T queries, query t has position S - T + t. What the architecture
hides (the future, what lies beyond a window) and what the data hides (other documents of a packed row, padding, which
is a document of its own) always leaves a query one run of keys, so two numbers for each query say it all, and memory
grows with T, not with T S. This file leaves out biases (`positions.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class KeyRange(NamedTuple):
    """The keys that each query may see.

    Attributes:
        first: (1 or B, T) int64, the first of them.
        last: (1 or B, T) int64, the last of them, at least `first`.
    """

    first: Tensor
    last: Tensor

    def mask(self, num_keys: int) -> Tensor:
        """As (1 or B, 1, T, S) bool, True where query t may attend to key s."""
        keys = torch.arange(num_keys, device=self.first.device)
        return ((keys >= self.first[..., None]) & (keys <= self.last[..., None]))[:, None]


def key_range(
    num_queries: int,
    num_keys: int,
    device: torch.device,
    *,
    causal: bool,
    window: int | None = None,
    documents: Tensor | None = None,
    prefix: Tensor | None = None,
) -> KeyRange | None:
    """What self-attention may see.

    Args:
        num_queries: T.
        num_keys: S, at least T.
        device: where it is made.
        causal: hide what comes after a query.
        window: a causal query sees itself and the window - 1 positions before it; one that sees both sides sees
            window // 2 positions on each.
        documents: (B, S), the document of each key, a run of equal numbers; a query sees its own document alone.
        prefix: (B, S) bool, the first keys of a document that causal queries before them see too, no farther away than
            behind them (Raffel et al., 2020, "prefix LM").

    Returns:
        A range for each query; None where nothing is hidden, or nothing but the future of T = S queries.
    """
    is_wide = window is None or num_keys <= (window if causal else window // 2 + 1)
    if documents is None and prefix is None and is_wide and (not causal or num_queries in (1, num_keys)):
        return None
    places = torch.arange(num_keys, device=device)[None]
    begins, ends = torch.zeros_like(places), torch.full_like(places, num_keys - 1)
    if documents is not None:
        begins, ends = _runs(documents)
    first, last = begins, places if causal else ends
    if prefix is not None:
        seen = torch.where(prefix, places, -1).cummax(1).values  # the last key of a prefix up to here
        last = torch.maximum(last, seen.gather(1, ends.expand_as(seen)))
    if window is not None:
        behind = window - 1 if causal else window // 2
        first, last = torch.maximum(first, places - behind), torch.minimum(last, places + behind)
    first, last = torch.broadcast_tensors(first, last)
    return KeyRange(first[:, -num_queries:], last[:, -num_queries:])


def _runs(documents: Tensor) -> tuple[Tensor, Tensor]:
    """The first and last place of the document that each place belongs to: two of (B, S) int64."""
    places = torch.arange(documents.shape[1], device=documents.device).expand(documents.shape)
    borders = documents[:, 1:] != documents[:, :-1]
    begins, ends = places.clone(), places.clone()
    begins[:, 1:].masked_fill_(~borders, 0)
    ends[:, :-1].masked_fill_(~borders, documents.shape[1])
    return begins.cummax(1).values, ends.flip(1).cummin(1).values.flip(1)
