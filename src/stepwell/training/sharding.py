"""A model in shards over the ranks: torch's FSDP2 (`fully_shard`).

Each rank keeps a part of every weight, gradient and optimizer slot; weights are gathered for the time of a forward or
backward. To measure, and for a checkpoint to use, rank 0 holds the whole model once more. This file leaves out how
shards are written (`checkpoints`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from stepwell.models import LanguageModel
from stepwell.objectives import Objective
from stepwell.optimization import gather
from stepwell.training.spread import Losses, Spread
from stepwell.training.world import World


class Sharded(Spread):
    """A part of every weight, gradient and optimizer slot on each rank (FSDP2).

    Blocks are gathered one by one where nothing but their forward reads their weights; the rest is one unit. Weights
    and gradients travel in the precision that they are kept in, so the numbers are those of one process.
    """

    is_sharded = True

    def __init__(self, model: LanguageModel, objective: Objective[Any], world: World) -> None:
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
