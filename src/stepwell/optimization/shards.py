"""Whole tensors and the shards of them that ranks hold (FSDP2), where an update needs the other form.

Both functions ask a tensor what it is, so that a plain one costs nothing: torch takes a second to load what shards are
made of. This file leaves out how a model is cut (`training/sharding.py`).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor


def gather(tensor: Tensor) -> Tensor:
    """A whole tensor from the shards of all ranks (every rank must ask); a plain one as it is."""
    shards = getattr(tensor, "full_tensor", None)  # asked like this, because torch takes a second to load DTensor
    return tensor if shards is None else cast(Tensor, shards())


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor that all ranks hold, where another one is in shards."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
