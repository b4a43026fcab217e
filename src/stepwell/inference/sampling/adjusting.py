"""What is done to the logits of single tokens before the distribution is shaped: biases, penalties and bans.

Few tokens of a row are touched, so each rule runs once over the (row, token) pairs of all rows that ask for it, and
every pair has its own settings. The order is that of transformers. This file leaves out which tokens a row has seen
(`row.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Counted:
    """Distinct tokens, in the order in which they came first, and how often each came."""

    def __init__(self, token_ids: Sequence[int] = ()) -> None:
        self._place: dict[int, int] = {}
        self._ids = np.zeros(64, np.int64)
        self._counts = np.zeros(64, np.float32)
        for token_id in token_ids:
            self.add(token_id)

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) the tokens."""
        return self._ids[: len(self._place)]

    @property
    def counts(self) -> NDArray[np.float32]:
        """(N,) how often each came."""
        return self._counts[: len(self._place)]

    def add(self, token_id: int) -> None:
        """Count a token once more."""
        place = self._place.setdefault(token_id, len(self._place))
        if place == len(self._ids):
            self._ids = np.concatenate((self._ids, np.zeros_like(self._ids)))
            self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
        self._ids[place] = token_id
        self._counts[place] += 1


class Pairs(NamedTuple):
    """Tokens of rows, and a number for each pair.

    Attributes:
        rows: (N,) int64.
        ids: (N,) int64.
        amounts: (N,) float32.
    """

    rows: Tensor
    ids: Tensor
    amounts: Tensor


def pair(several: Sequence[tuple[int, NDArray[np.int64], NDArray[np.float32] | float]], logits: Tensor) -> Pairs:
    """Join (row, ids, amounts) of rows; ids that the logits have no column for are left out."""
    rows = np.concatenate([np.full(len(ids), row, np.int64) for row, ids, _ in several])
    ids = np.concatenate([ids for _, ids, _ in several])
    amounts = np.concatenate([np.broadcast_to(np.float32(amount), ids.shape) for _, ids, amount in several])
    known = ids < logits.shape[-1]
    if not known.all():
        rows, ids, amounts = rows[known], ids[known], amounts[known]
    return Pairs(*(torch.from_numpy(np.ascontiguousarray(one)).to(logits.device) for one in (rows, ids, amounts)))


def penalize_repetition(logits: Tensor, pairs: Pairs) -> None:
    """Divide positive logits by the penalty and multiply negative ones, in place (Keskar et al., 2019)."""
    values = logits[pairs.rows, pairs.ids]
    logits[pairs.rows, pairs.ids] = torch.where(values < 0, values * pairs.amounts, values / pairs.amounts)


def subtract(logits: Tensor, pairs: Pairs) -> None:
    """Take off amounts, in place: frequency times penalty, or a penalty for what is there at all (OpenAI)."""
    logits[pairs.rows, pairs.ids] -= pairs.amounts


def add(logits: Tensor, pairs: Pairs) -> None:
    """Add biases, in place."""
    logits[pairs.rows, pairs.ids] += pairs.amounts


def ban(logits: Tensor, pairs: Pairs) -> None:
    """These tokens may not be drawn, in place."""
    logits[pairs.rows, pairs.ids] = -torch.inf


InPlace = Callable[[Tensor, Pairs], None]
