"""What an objective is: a way to make examples of packed rows, and to be judged by them.

An objective first makes examples of a batch (a pure function of the batch and a seed: what is masked, what is cut
out), then turns a model and the examples into a *sum* over the targets that count; the loop divides by the count of
the whole global batch, so accumulation equals the big batch whatever the masks are. This file leaves out the
objectives themselves and their catalog (`objectives.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from stepwell.data import Batch
from stepwell.models import LanguageModel


class Examples(Protocol):
    """What an objective makes of a batch."""

    @property
    def num_targets(self) -> int:
        """How many predictions count."""
        ...


ExamplesT = TypeVar("ExamplesT", bound=Examples)


class Objective(ABC, Generic[ExamplesT]):
    """A way to learn from packed rows."""

    takes_whole_batch: ClassVar[bool] = False
    """Whether examples are told from one another, so that those of a rank are prepared as one (`prepare_whole`)."""

    @abstractmethod
    def prepare(self, batch: Batch, seed: int) -> ExamplesT:
        """Make examples of a batch; the same batch and seed make the same."""

    def prepare_whole(self, batch: Batch, seed: int, micro_batch: int) -> ExamplesT:
        """Make examples of all rows that a rank has of a batch.

        Args:
            batch: rows.
            seed: as in `prepare`.
            micro_batch: rows whose activations may be held at once.
        """
        return self.prepare(batch, seed)

    def identity(self) -> dict[str, Any]:
        """What else must be the same for a run to go on, beside its settings; plain values."""
        return {}

    @abstractmethod
    def loss(self, model: LanguageModel, examples: ExamplesT, device: torch.device) -> Tensor:
        """The loss to minimise.

        Args:
            model: its parameters get the gradient.
            examples: from `prepare`.
            device: where the model lives.

        Returns:
            Scalar float32, summed over the targets that count (`losses.summed_loss`).
        """
