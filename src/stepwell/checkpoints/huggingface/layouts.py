"""How the matrices of one checkpoint lie in another, without a number changed.

Here a layer has one tensor where other projects have several (query, key and value; gate and value; one matrix for each
expert), or the same one turned. A layout joins theirs into ours and splits ours into theirs; the two are exact
inverses, bit for bit, in every precision. This file leaves out which names belong together: each family has its rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Layout(Protocol):
    """Two ways to store the same numbers; also right for tensors of the `meta` device, which have a shape only."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """Their tensors, in the order of the rule, as our one.

        Raises:
            RuntimeError: when the shapes do not fit together.
        """
        ...

    def split(self, ours: Tensor) -> list[Tensor]:
        """Our tensor as theirs; the inverse of `join`.

        Raises:
            RuntimeError: when the shape cannot be split so.
        """
        ...


@dataclass(frozen=True)
class Same:
    """One tensor, as it is."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        (only,) = theirs
        return only

    def split(self, ours: Tensor) -> list[Tensor]:
        return [ours]


@dataclass(frozen=True)
class Transposed:
    """One matrix, rows for columns: GPT-2 stores (in, out) where a linear layer has (out, in)."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        (only,) = theirs
        return only.t().contiguous()

    def split(self, ours: Tensor) -> list[Tensor]:
        return [ours.t().contiguous()]


@dataclass(frozen=True)
class Stacked:
    """Several matrices of equal width, or several biases, one below the other.

    Attributes:
        sizes: rows of each, in order: (H E, K E, K E) for queries, keys and values.
    """

    sizes: tuple[int, ...]

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        _expect(tuple(one.shape[0] for one in theirs), self.sizes)
        return torch.cat(list(theirs))

    def split(self, ours: Tensor) -> list[Tensor]:
        return [part.contiguous() for part in ours.split(self.sizes)]


@dataclass(frozen=True)
class PerHead:
    """One matrix or bias whose rows go head by head, part by part within a head, as in GPT-NeoX.

    Theirs is (H, parts, E) in its rows and ours (parts, H, E).

    Attributes:
        num_heads: H.
        parts: 3 for query, key and value.
    """

    num_heads: int
    parts: int = 3

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        (only,) = theirs
        return _swapped(only, self.num_heads, self.parts)

    def split(self, ours: Tensor) -> list[Tensor]:
        return [_swapped(ours, self.parts, self.num_heads)]


@dataclass(frozen=True)
class Experts:
    """The matrices of X experts as one tensor (X, rows, columns).

    Theirs are named expert by expert: (gate_0, up_0, gate_1, up_1, ...); those of one expert lie one below the other.

    Attributes:
        sizes: rows of each matrix of one expert: (F, F) for gate and up, (D,) for down.
    """

    sizes: tuple[int, ...]

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        parts = len(self.sizes)
        one = Stacked(self.sizes)
        return torch.stack([one.join(theirs[at : at + parts]) for at in range(0, len(theirs), parts)])

    def split(self, ours: Tensor) -> list[Tensor]:
        one = Stacked(self.sizes)
        return [part for expert in ours for part in one.split(expert)]


@dataclass(frozen=True)
class Reshaped:
    """One tensor with the same numbers in the same order under another shape, as a bias of shape (1, V).

    Attributes:
        ours: our shape.
        theirs: their shape.
    """

    ours: tuple[int, ...]
    theirs: tuple[int, ...]

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        (only,) = theirs
        _expect(tuple(only.shape), self.theirs)
        return only.reshape(self.ours)

    def split(self, ours: Tensor) -> list[Tensor]:
        return [ours.reshape(self.theirs)]


SAME = Same()
TRANSPOSED = Transposed()


def _swapped(rows: Tensor, outer: int, inner: int) -> Tensor:
    """Rows that go (outer, inner, rest) put into the order (inner, outer, rest)."""
    swapped: Tensor = rows.unflatten(0, (outer, inner, -1)).transpose(0, 1)
    return swapped.reshape(rows.shape)


def _expect(got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if got != wanted:
        raise RuntimeError(f"sizes {got}, wanted {wanted}")
