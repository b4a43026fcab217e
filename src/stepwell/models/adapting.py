"""A model with an adapter: frozen weights, perhaps in fewer bits, and what is learned beside them.

`model.adapter` says which one it has. The layers whose matrix is read from outside (a head, which the loss reads part
by part) neither get one nor lose bits; a
head for a task is new, and learns as a whole. This file leaves out training, and files.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from stepwell.models.adapter_config import AdapterConfig
from stepwell.models.language_model import LanguageModel
from stepwell.models.stack import Stack
from stepwell.nn import (
    Prompt,
    Rotary,
    add_bottlenecks,
    add_lora,
    add_prefixes,
    load_adapter,
    quantize_linears,
    remove_adapters,
    without_adapters,
)


def add_adapter(
    model: LanguageModel, config: AdapterConfig, seed: int = 0, tensors: Mapping[str, Tensor] | None = None
) -> None:
    """Freeze a model and give it an adapter, in place.

    Args:
        model: plain, with the weights that are to be frozen.
        config: of the adapter.
        seed: of what the adapter begins with.
        tensors: what the adapter has learned already (`nn.adapter_tensors`); None begins.

    Raises:
        ValueError: when a target names no linear layer of the model, a prefix finds no attention or a prompt no stack,
            there is an adapter already, or the tensors are of another one.
    """
    if model.adapter is not None:
        raise ValueError("the model has an adapter already")
    tables = {id(parameter) for parameter in model.lookup_parameters()}
    besides = {
        name
        for name, part in model.named_modules()
        if name.startswith("task_head") or any(id(one) in tables for one in part.parameters(recurse=False))
    }
    settings = config.model_dump(exclude={"kind", "base_weights"})
    if config.kind == "lora":
        add_lora(model, **settings, seed=seed, besides=besides, ranks=_ranks(tensors))
    elif config.kind == "prefix":
        add_prefixes(model, **settings, seed=seed)
    elif config.kind == "prompt":
        _add_prompt(model, config.num_tokens, seed)
    else:
        add_bottlenecks(model, **settings, seed=seed, besides=besides)
    if config.base_weights != "float32":
        quantize_linears(model, config.base_weights, besides)
    if model.task_head is not None:  # nothing is known of it yet, so all of it learns
        model.task_head.requires_grad_(True)
    model.adapter = config
    if tensors is not None:
        load_adapter(model, tensors)


def _add_prompt(model: LanguageModel, num_tokens: int, seed: int) -> None:
    """Freeze a model, and put vectors of some of its tokens before what its first stack reads."""
    stack = next((part for part in model.modules() if isinstance(part, Stack)), None)
    table = next((part for part in model.modules() if isinstance(part, nn.Embedding)), None)
    if stack is None or table is None:
        raise ValueError("there is no stack of Transformer blocks, and so nothing that reads a prompt")
    model.requires_grad_(False)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randint(len(table.weight), (num_tokens,), generator=generator)
    stack.prompt = Prompt(table.weight[drawn.to(table.weight.device)]).train(stack.training)
    for rotary in (part for part in stack.modules() if isinstance(part, Rotary)):
        rotary.bounded = False


def remove_adapter(model: LanguageModel) -> None:
    """Take the adapter out of a model, in place; its weights stay frozen, and those in few bits stay so."""
    remove_adapters(model)
    model.adapter = None


def without_adapter(model: LanguageModel) -> AbstractContextManager[None]:
    """Within, a model computes with its frozen weights alone."""
    return without_adapters(model)


def _ranks(tensors: Mapping[str, Tensor] | None) -> dict[str, int] | None:
    """The rank of each layer that a LoRA changes, by the layer's name."""
    if tensors is None:
        return None
    return {name.removesuffix(".lora_a"): len(a) for name, a in tensors.items() if name.endswith(".lora_a")}
