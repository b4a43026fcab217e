"""An adapter on disk: what it is (`adapter.json`) and what it has learned (`adapter.safetensors`).

Both stand in every checkpoint of a run that trains one. A LoRA is merged into the weights beside it, so there the files
are for taking it elsewhere; what cannot be merged is put into the model when the checkpoint is read. This file leaves
out the layout of peft (`peft.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stepwell.errors import CheckpointError
from stepwell.models import AdapterConfig, LanguageModel, add_adapter
from stepwell.nn import adapter_tensors
from stepwell.runs import to_json

ADAPTER, ADAPTER_WEIGHTS = "adapter.json", "adapter.safetensors"

MERGED = ("lora",)
"""Kinds that a checkpoint has in its weights already."""


class Adapter(NamedTuple):
    """An adapter apart from its model.

    Attributes:
        config: which one it is.
        tensors: what it has learned, by name (`nn.adapter_tensors`).
    """

    config: AdapterConfig
    tensors: Mapping[str, Tensor]


def adapter_of(model: LanguageModel) -> Adapter | None:
    """The adapter of a model, sharing memory with it; None where there is none."""
    return None if model.adapter is None else Adapter(model.adapter, adapter_tensors(model))


def write_adapter(folder: Path, adapter: Adapter) -> None:
    """Write the two files of an adapter into a folder.

    Raises:
        SafetensorError: when they cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.tensors.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS)
    (folder / ADAPTER).write_text(to_json(adapter.config.model_dump(), indent=2), encoding="utf-8")


def read_adapter(folder: Path) -> Adapter | None:
    """The adapter in a folder; None where there is none.

    Raises:
        CheckpointError: when its files are damaged.
    """
    if not (folder / ADAPTER).exists():
        return None
    try:
        tree = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
        config: AdapterConfig = TypeAdapter(AdapterConfig).validate_python(tree)
        return Adapter(config, load_file(folder / ADAPTER_WEIGHTS))
    except (OSError, ValueError, SafetensorError, ValidationError) as error:
        raise CheckpointError(f"{folder / ADAPTER}: is damaged", got=str(error).splitlines()[0]) from None


def put_in(model: LanguageModel, adapter: Adapter, where: Path) -> None:
    """Give a plain model an adapter, in place.

    Raises:
        CheckpointError: when it is that of another model.
    """
    try:
        add_adapter(model, adapter.config, tensors=adapter.tensors)
    except ValueError as error:
        raise CheckpointError(f"{where}: is the adapter of another model", got=str(error)) from None
