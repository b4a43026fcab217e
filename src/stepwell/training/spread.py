"""How a model is spread over the ranks: whole on each (DDP), or in shards (FSDP2).

A rank turns its examples into a loss; torch's own DistributedDataParallel and fully_shard see to it that the gradient
of all ranks comes together in the last backward of an update. What is the same for both ways, and for one process
alone, is the door here: `loss`, `accumulating`, `whole`. This file leaves out which rows a rank takes (`update.py`) and
how shards are made (`sharding.py`).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stepwell.errors import ConfigError
from stepwell.models import LanguageModel
from stepwell.objectives import Examples, Objective
from stepwell.training.config import TrainingConfig
from stepwell.training.world import World

SHARDED_OPTIMIZERS = ("adam", "adamw", "lion", "muon", "schedule_free_adamw")
"""Kinds whose update of shards was compared with that of whole tensors (tests/unit/training/test_ranks.py)."""

NOT_SHARDED = ("adapter", "freeze")
"""Settings that need whole tensors."""

NOT_ALWAYS_USED = ("pooler", "task_head")
"""Fields of a model's config that make parameters which a batch may give no gradient; DDP must look for them."""

READ_HIDDEN_STATES = ("labels", "span", "contrastive")
"""Kinds of objectives that predict no token: the map to tokens gets no gradient either."""


class Losses(nn.Module):
    """An objective as a module, because DDP and FSDP2 follow the forward of one.

    Args:
        model: as it is trained.
        objective: what is minimised.
        device: where the model lives.
    """

    def __init__(self, model: LanguageModel, objective: Objective[Any], device: torch.device) -> None:
        super().__init__()
        self.model, self.objective, self.device = model, objective, device

    def forward(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Nats summed over the targets: with what the model adds in training, and, detached, without it."""
        loss = self.objective.loss(self.model, examples, self.device)
        auxiliary = self.model.auxiliary_loss()
        told = loss.detach()
        return (loss if auxiliary is None else loss + auxiliary * examples.num_targets), told


class Spread(ABC):
    """A model, spread in one of the ways.

    Args:
        model: what the optimizers change; its parameters may be shards.
        module: turns the examples of a rank into its loss, as `Losses` does.

    Attributes:
        is_sharded: whether a rank holds parts of tensors only.
    """

    is_sharded: ClassVar[bool] = False

    def __init__(self, model: LanguageModel, module: nn.Module) -> None:
        self.model, self.module = model, module

    def loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """See `Losses.forward`."""
        return cast(tuple[Tensor, Tensor], self.module(examples))

    @abstractmethod
    def accumulating(self, is_last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one micro-batch; after the last one gradients are the mean over the ranks."""

    def whole(self) -> LanguageModel:
        """The model with all its weights; of use on rank 0 only, but every rank must ask for it."""
        return self.model


class Alone(Spread):
    """One process: nothing is spread."""

    def __init__(self, model: LanguageModel, objective: Objective[Any]) -> None:
        super().__init__(model, Losses(model, objective, model.device))

    def accumulating(self, is_last: bool) -> AbstractContextManager[None]:
        """Gradients add up by themselves."""
        return nullcontext()


class Replicated(Spread):
    """The same weights on every rank (DistributedDataParallel)."""

    def __init__(self, model: LanguageModel, objective: Objective[Any], kind: str) -> None:
        has_idle_parts = any(getattr(model.config, name, None) for name in NOT_ALWAYS_USED)
        has_idle_parts = has_idle_parts or kind in READ_HIDDEN_STATES
        with warnings.catch_warnings():  # newer torch has another name for it, which older torch does not know
            warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
            self._replica = DistributedDataParallel(
                Losses(model, objective, model.device),
                broadcast_buffers=False,
                find_unused_parameters=has_idle_parts,
            )
        super().__init__(model, self._replica)

    def accumulating(self, is_last: bool) -> AbstractContextManager[None]:
        """Only the last backward talks to the other ranks."""
        return nullcontext() if is_last else self._replica.no_sync()


def spread_over(world: World, model: LanguageModel, objective: Objective[Any], config: TrainingConfig) -> Spread:
    """Spread a model as `training.parallel` says.

    Raises:
        ConfigError: when shards and another choice do not go together.
    """
    if world.size == 1:
        return Alone(model, objective)
    if config.parallel != "fsdp":
        return Replicated(model, objective, config.objective.kind)
    if config.optimizer.kind not in SHARDED_OPTIMIZERS:
        raise ConfigError(
            "training.optimizer.kind: cannot update shards",
            got=config.optimizer.kind,
            wanted=" or ".join(SHARDED_OPTIMIZERS),
            do="set training.parallel=ddp, or another optimizer",
        )
    if config.objective.kind == "grpo":
        raise ConfigError(
            "training.objective.kind: grpo draws answers, for which every rank needs all weights",
            do="set training.parallel=ddp",
        )
    for field in NOT_SHARDED:
        if getattr(config, field) is not None:
            raise ConfigError(f"training.{field}: does not work on shards", do="set training.parallel=ddp")
    from stepwell.training.sharding import Sharded  # torch takes a second to load what it needs

    return Sharded(model, objective, world)
