"""Tensors that several ranks write and read together, each its own shards: safetensors again, never pickle.

torch's distributed checkpoint writes one file a rank, whose header says where in the whole tensor each shard lies, so
any number of ranks can read them, one process alone too. This file leaves out the rest of a checkpoint (`store.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from stepwell.errors import CheckpointError
from stepwell.runs import disk_error


def write_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what each rank has of some tensors; all ranks of the process group must call it.

    Args:
        folder: one that all ranks see; gets a file of each rank.
        tensors: shards (DTensor), or whole ones that are the same on every rank and written once.

    Raises:
        DiskError: on every rank, when one cannot write.
    """
    with _quietly():
        try:
            save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
        except CheckpointException as error:
            first = next(iter(error.failures.values()))[0]
            fault = first if isinstance(first, OSError) else OSError(str(first))
            raise disk_error(folder, fault) from error


def read_shards(folder: Path, into: Mapping[str, Tensor]) -> None:
    """Fill tensors from a checkpoint's files, however they were sharded when they were written.

    Args:
        folder: of a checkpoint, in shards or in whole files.
        into: whole tensors, or shards of them (DTensor: then all ranks must call it), by the names in the files.

    Raises:
        CheckpointError: when a file does not hold what its header says.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    with _quietly():
        try:
            load(dict(into), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=not distributed)
        except (CheckpointException, ValueError, KeyError) as error:
            raise CheckpointError(f"{folder}: its shards cannot be read", got=str(error).splitlines()[0]) from error


def sizes_in(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """The whole size and the type of every tensor in a checkpoint's files, by name."""
    found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: (entry.size, entry.properties.dtype)
        for name, entry in found.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def read_whole(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint's files, put together by this process alone."""
    whole = {name: torch.empty(size, dtype=dtype) for name, (size, dtype) in sizes_in(folder).items()}
    with _quietly():
        load(dict(whole), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return whole


@contextmanager
def _quietly() -> Iterator[None]:
    """Torch warns that a process alone does what it was told to do alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
