"""Who may look at whom.

Queries stand at the end of the keys: with S keys and T queries, query t has position S - T + t. A mask joins what the
architecture hides (the future, what lies beyond a window) with what the data hides (other documents of a packed row,
padding, which is a document of its own). This file leaves out biases (`positions.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def attention_mask(
    num_queries: int,
    num_keys: int,
    device: torch.device,
    *,
    causal: bool,
    window: int | None = None,
    documents: Tensor | None = None,
    prefix: Tensor | None = None,
) -> Tensor | None:
    """The mask of self-attention.

    Args:
        num_queries: T.
        num_keys: S, at least T.
        device: where it is made.
        causal: hide what comes after a query.
        window: a causal query sees itself and the window - 1 positions before it; one that sees both sides sees
            window // 2 positions on each.
        documents: (B, S), the document of each key; a query sees its own document alone.
        prefix: (B, S) bool, keys that causal queries before them see too, no farther away than behind them (Raffel et
            al., 2020, "prefix LM").

    Returns:
        (1 or B, 1, T, S) bool, True where query t may attend to key s; None where nothing is hidden, or nothing but the
        future of T = S queries.
    """
    if documents is None and prefix is None and (window is None or num_keys <= (window if causal else window // 2 + 1)):
        if not causal or num_queries in (1, num_keys):
            return None
        return _visible(num_queries, num_keys, device, causal, None)
    mask = _visible(num_queries, num_keys, device, causal, window)
    if prefix is not None:
        near = None if window is None else 2 * window - 1  # as many on each side as a causal query sees behind it
        mask = mask | prefix[:, None, None] & _visible(num_queries, num_keys, device, False, near)
    if documents is None:
        return mask
    return mask & (documents[:, None, num_keys - num_queries :, None] == documents[:, None, None, :])


def _visible(num_queries: int, num_keys: int, device: torch.device, causal: bool, window: int | None) -> Tensor:
    """(1, 1, T, S) bool, by position alone."""
    keys = torch.arange(num_keys, device=device)
    distance = keys[num_keys - num_queries :, None] - keys
    mask = torch.ones_like(distance, dtype=torch.bool)
    if causal:
        mask = distance >= 0
    if window is not None:
        mask = mask & (distance < window if causal else distance.abs() <= window // 2)
    return mask[None, None]
