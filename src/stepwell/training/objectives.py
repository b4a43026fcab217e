"""What is minimised.

An objective first makes examples of a batch (a pure function of the batch and a seed: what is masked, what is cut
out), then turns a model and the examples into a *sum* over the targets that count; the loop divides by the count of
the whole global batch, so accumulation equals the big batch whatever the masks are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stepwell.data import Batch
from stepwell.models import LanguageModel
from stepwell.tokenizers import Tokenizer
from stepwell.training.config import CausalConfig, ObjectiveConfig


class Examples(Protocol):
    """What an objective makes of a batch."""

    @property
    def num_targets(self) -> int:
        """How many predictions count."""
        ...


ExamplesT = TypeVar("ExamplesT", bound=Examples)


class Objective(ABC, Generic[ExamplesT]):
    """A way to learn from packed rows."""

    @abstractmethod
    def prepare(self, batch: Batch, seed: int) -> ExamplesT:
        """Make examples of a batch; the same batch and seed make the same."""

    @abstractmethod
    def loss(self, model: LanguageModel, examples: ExamplesT, device: torch.device) -> Tensor:
        """The loss to minimise.

        Args:
            model: its parameters get the gradient.
            examples: from `prepare`.
            device: where the model lives.

        Returns:
            Scalar float32: nats, summed over the targets that count.
        """


def causal_loss(model: LanguageModel, batch: Batch, device: torch.device, label_smoothing: float = 0.0) -> Tensor:
    """Maximum likelihood of each next token.

    Args:
        model: the model; its parameters get the gradient.
        batch: rows of packed documents.
        device: where the model lives.
        label_smoothing: share of the probability that the right token leaves to all others, in [0, 1).

    Returns:
        Scalar float32: cross-entropy in nats, summed over the targets that count.
    """
    token_ids = torch.from_numpy(batch.token_ids).to(device)
    document_ids = torch.from_numpy(batch.document_ids).to(device)
    counted = torch.from_numpy(batch.loss_mask).to(device)
    targets = torch.from_numpy(batch.targets).to(device)
    hidden = model.hidden(token_ids, document_ids)
    return cross_entropy(
        model.unembed(hidden[counted]), targets[counted], reduction="sum", label_smoothing=label_smoothing
    )


class CausalObjective(Objective[Batch]):
    """Predict each next token."""

    def __init__(self, config: CausalConfig) -> None:
        self.config = config

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """The batch as it is."""
        return batch

    def loss(self, model: LanguageModel, examples: Batch, device: torch.device) -> Tensor:
        """See `causal_loss`."""
        return causal_loss(model, examples, device, self.config.label_smoothing)


OBJECTIVES: dict[str, Callable[[Any, Tokenizer], Objective[Any]]] = {
    "causal": lambda config, tokenizer: CausalObjective(config),
}
"""kind -> function of (config, tokenizer); a new objective is one class and one row."""


def build_objective(config: ObjectiveConfig, tokenizer: Tokenizer) -> Objective[Any]:
    """The objective of a config."""
    return OBJECTIVES[config.kind](config, tokenizer)
