"""How a model is spread over the ranks: whole on each (DDP), or in shards (FSDP2).

A rank turns its examples into a loss; torch's own DistributedDataParallel and fully_shard see to it that the gradient
of all ranks comes together in the last backward of an update. What is the same for both ways, and for one process
alone, is the door here: `loss`, `accumulating`, `whole`. This file leaves out which rows a rank takes (`update.py`).
"""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from stepwell.errors import ConfigError
from stepwell.models import LanguageModel
from stepwell.training.config import TrainingConfig
from stepwell.training.objective import Examples, Objective
from stepwell.training.world import World

SHARDED_OPTIMIZERS = ("adamw", "muon")
"""Kinds whose update of shards was compared with that of whole tensors (tests/unit/training/test_spread.py)."""

NOT_ALWAYS_USED = ("pooler",)
"""Fields of a model's config that make parameters which a batch may give no gradient; DDP must look for them."""


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
    """

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

    def __init__(self, model: LanguageModel, objective: Objective[Any]) -> None:
        has_idle_parts = any(getattr(model.config, name, None) for name in NOT_ALWAYS_USED)
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


class Sharded(Spread):
    """A part of every weight, gradient and optimizer slot on each rank (FSDP2).

    Blocks are gathered one by one where nothing but their forward reads their weights; the rest is one unit. Weights
    and gradients travel in the precision that they are kept in, so the numbers are those of one process.
    """

    def __init__(self, model: LanguageModel, objective: Objective[Any], world: World) -> None:
        self._world = world
        for parameter in model.parameters():
            dist.broadcast(parameter.data, 0)  # all begin with the weights of rank 0
        self._template = copy.deepcopy(model) if world.is_main else None
        mesh = init_device_mesh(world.device.type, (world.size,))
        for block in _units(model):
            fully_shard(block, mesh=mesh)
        losses = Losses(model, objective, world.device)
        self._sharded = fully_shard(losses, mesh=mesh)
        super().__init__(model, losses)

    def accumulating(self, is_last: bool) -> AbstractContextManager[None]:
        """Before the last backward each rank keeps a whole gradient of its own."""
        self._sharded.set_requires_gradient_sync(is_last)
        return nullcontext()

    def whole(self) -> LanguageModel:
        """A model of its own on rank 0, with the gathered weights; the shards elsewhere."""
        whole = self._template
        own = {} if whole is None else dict(whole.named_parameters())
        for name, parameter in self.model.named_parameters():
            gathered = gather(parameter.detach())
            if whole is not None:
                own[name].data.copy_(gathered)
        return self.model if whole is None else whole.eval()


def _units(model: LanguageModel) -> Sequence[nn.Module]:
    """Blocks whose weights nothing but their own forward reads; a block with a memory is read from outside."""
    return [
        block
        for blocks in model.modules()
        if isinstance(blocks, nn.ModuleList)
        for block in blocks
        if hasattr(block, "attention") and hasattr(block, "mlp") and not hasattr(block, "cross")
    ]


def spread_over(world: World, model: LanguageModel, objective: Objective[Any], config: TrainingConfig) -> Spread:
    """Spread a model as `training.parallel` says.

    Raises:
        ConfigError: when shards and another choice do not go together.
    """
    if world.size == 1:
        return Alone(model, objective)
    if config.parallel != "fsdp":
        return Replicated(model, objective)
    if config.optimizer.kind not in SHARDED_OPTIMIZERS:
        raise ConfigError(
            "training.optimizer.kind: cannot update shards",
            got=config.optimizer.kind,
            wanted=" or ".join(SHARDED_OPTIMIZERS),
            do="set training.parallel=ddp, or another optimizer",
        )
    if config.lora is not None:
        raise ConfigError("training.lora: is not sharded", do="set training.parallel=ddp: LoRA has little to shard")
    return Sharded(model, objective, world)


def gather(tensor: Tensor) -> Tensor:
    """A whole tensor from the shards of all ranks (every rank must ask); a plain one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor that all ranks hold, as another one is sharded."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
