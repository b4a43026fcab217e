"""LoRA in a training run: how a model gets it, and how a checkpoint keeps it.

The weights that a checkpoint writes have the change merged into them (`LanguageModel.tensors`), so any verb reads a
plain model. To go on, A and B stand apart beside the optimizer's state, and the frozen weights are those that the run
began from: a digest says whether they are the same. This file leaves out the layers (`nn/lora.py`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from stepwell.errors import TrainingError
from stepwell.models import LanguageModel
from stepwell.nn import add_lora, lora_tensors
from stepwell.seeding import derive_seed
from stepwell.training.lora_config import LoRAConfig


def adapt(model: LanguageModel, config: LoRAConfig | None, seed: int) -> None:
    """Freeze a model and give it the LoRA of a config, in place; None leaves it as it is.

    Args:
        model: whole, with the weights that are to be frozen.
        config: of the LoRA.
        seed: of the run.

    Raises:
        TrainingError: when a target names no linear layer of the model.
    """
    if config is None or lora_tensors(model):  # a second updater of one model finds it there
        return
    try:
        add_lora(model, **config.model_dump(), seed=derive_seed(seed, "lora"))
    except ValueError as error:
        raise TrainingError(
            "training.lora.targets: the model has no such layers",
            got=str(error),
            do="name layers that there are, or leave training.lora out",
        ) from None


def frozen_identity(model: LanguageModel, config: LoRAConfig | None) -> dict[str, Any]:
    """What must be the same for a run with LoRA to go on: its settings, and a digest of the frozen weights."""
    if config is None:
        return {}
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if not parameter.requires_grad:
            plain = parameter.detach().cpu().contiguous().flatten()
            digest.update(name.encode())
            digest.update(plain.view(torch.uint8).numpy().data)
    return {"lora": config.model_dump(mode="json"), "frozen_weights_sha256": digest.hexdigest()}
