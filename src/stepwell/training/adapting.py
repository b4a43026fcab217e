"""What learns in a training run: an adapter beside frozen weights, or a model of which parts are frozen.

The weights that a checkpoint writes have a LoRA merged into them (`LanguageModel.tensors`), so any verb reads a plain
model; what cannot be merged stands beside them. To go on, what an adapter has learned stands apart beside the
optimizer's state, and the frozen weights are those that the run began from: a digest says whether they are the same.
This file leaves out the layers (`nn`), and files (`checkpoints/adapters.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch

from stepwell.errors import ConfigError, TrainingError
from stepwell.models import AdapterConfig, LanguageModel, add_adapter
from stepwell.seeding import derive_seed


def adapt(model: LanguageModel, config: AdapterConfig | None, seed: int) -> None:
    """Freeze a model and give it the adapter of a config, in place; None leaves it as it is.

    Args:
        model: whole, with the weights that are to be frozen.
        config: of the adapter.
        seed: of the run.

    Raises:
        TrainingError: when a target names no linear layer of the model, or it has another adapter.
    """
    if config is None or model.adapter == config:  # a second updater of one model finds it there
        return
    try:
        add_adapter(model, config, derive_seed(seed, config.kind))
    except ValueError as error:
        raise TrainingError(
            "training.adapter: does not fit the model",
            got=str(error),
            do="name layers that there are in training.adapter.targets, or leave training.adapter out",
        ) from None


def freeze(model: LanguageModel, patterns: Sequence[str]) -> None:
    """Keep parameters as they are, in place.

    A pattern is some neighbouring parts of a parameter's name: `embedding`, `blocks.0-3` (the first four), `mlp.up`,
    `*norm`. A name of several parts may stand anywhere in the parameter's.

    Args:
        model: whose parameters are frozen.
        patterns: of those that are.

    Raises:
        ConfigError: when a pattern fits no parameter, or nothing is left to learn.
    """
    names = dict(model.named_parameters())
    for pattern in patterns:
        found = [name for name in names if fits(name, pattern)]
        if not found:
            raise ConfigError(
                "training.freeze: fits nothing in the model",
                got=pattern,
                wanted=f"parts of names as {', '.join(_examples(list(names)))}; a range of blocks as blocks.0-3",
            )
        for name in found:
            names[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in names.values()):
        raise ConfigError("training.freeze: nothing is left to learn", got=", ".join(patterns), do="freeze less")


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern (see `freeze`) names a parameter, or a part of the model that it is in."""
    parts, wanted = name.split("."), pattern.split(".")
    places = range(len(parts) - len(wanted) + 1)
    return any(all(map(_part_fits, parts[at : at + len(wanted)], wanted)) for at in places)


def _part_fits(part: str, wanted: str) -> bool:
    numbers = re.fullmatch(r"(\d+)-(\d+)", wanted)
    if numbers is not None and part.isdecimal():
        return int(numbers[1]) <= int(part) <= int(numbers[2])
    return fnmatchcase(part, wanted)


def _examples(names: Sequence[str]) -> list[str]:
    """What stands at the head of names, and in the first block, once each."""
    short = dict.fromkeys(re.sub(r"\.(weight|bias)$", "", re.sub(r"^.*\.(\w+)\.0\.", r"\1.0.", name)) for name in names)
    return [name for name in short if not re.search(r"\.[1-9]\d*\.", name)][:12]


def frozen_identity(model: LanguageModel, config: AdapterConfig | None, frozen: Sequence[str] | None) -> dict[str, Any]:
    """What must be the same for a run that freezes weights to go on: its settings; for an adapter also a digest of the
    frozen weights, which its checkpoints do not hold as they were.
    """
    told: dict[str, Any] = {} if not frozen else {"freeze": list(frozen)}
    if config is None:
        return told
    digest = hashlib.sha256()
    tensors: dict[str, torch.Tensor] = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    tensors |= {name: codes for name, codes in model.named_buffers() if name.endswith((".codes", ".scales"))}
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous().flatten()
        digest.update(name.encode())
        digest.update(plain.view(torch.uint8).numpy().data)
    return {**told, "adapter": config.model_dump(mode="json"), "frozen_weights_sha256": digest.hexdigest()}
