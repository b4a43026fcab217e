"""Adapters in the layout of peft: `adapter_config.json` and `adapter_model.safetensors`, both ways.

peft names the layers of transformers, so the rules of a model's family say which of ours is meant. Our queries, keys
and values (and gate and value) are rows of one matrix with one A; theirs have an A each. Ours become theirs by sharing
A and cutting B; theirs become ours by stacking the As and giving each its own columns of B. Nothing is rounded. Prompts
have the same vectors in both. This file leaves out other methods of peft, which are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stepwell.checkpoints.adapter_files import Adapter
from stepwell.checkpoints.huggingface.families import FAMILIES
from stepwell.checkpoints.huggingface.family import Rule
from stepwell.checkpoints.huggingface.layouts import Layout, Transposed
from stepwell.errors import CheckpointError
from stepwell.models import LanguageModel, LoRAConfig, ModelConfig, PromptTuningConfig

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Of the names of all tensors."""

TASK_TYPES = {"decoder": "CAUSAL_LM", "encoder_decoder": "SEQ_2_SEQ_LM"}
"""Kind of model -> what peft calls what it is for; None for the others."""

PROMPT_TENSOR = "prompt_embeddings"

REFUSED = ("layer_replication", "modules_to_save", "target_parameters", "trainable_token_indices", "lora_bias")
"""Settings of peft's LoRA that change more than the matrices of linear layers."""


class _Part(NamedTuple):
    """Where a layer of transformers stands in one of ours.

    Attributes:
        ours: name of our layer.
        rows: (rows of theirs,) int64, which row of ours each of theirs is.
        place: which of the parts of ours, from 0.
    """

    ours: str
    rows: Tensor
    place: int


def to_peft(
    adapter: Adapter, rules: Sequence[Rule], model: ModelConfig, base: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An adapter as peft has it.

    Args:
        adapter: a LoRA, or a prompt.
        rules: of the family that the model is written as.
        model: shape of the model.
        base: what its base model is called.

    Returns:
        What `adapter_config.json` says, and the tensors of `adapter_model.safetensors`.

    Raises:
        CheckpointError: when peft has no such adapter, or transformers has no such layers.
    """
    config = adapter.config
    if isinstance(config, PromptTuningConfig):
        return _prompt_to_peft(adapter, model, base)
    if not isinstance(config, LoRAConfig):
        raise CheckpointError(
            "the adapter has no counterpart in peft",
            got=f"kind {config.kind}",
            wanted="lora (also with dora), or prompt",
        )
    out_features = {_layer(name): len(b) for name, b in adapter.tensors.items() if name.endswith(".lora_b")}
    parts = _parts(rules, out_features)
    left = sorted(out_features.keys() - {part.ours for part in parts.values()})
    if left:
        raise CheckpointError("transformers has no linear layers for those of the adapter", got=", ".join(left[:3]))
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, part in parts.items():
        a, b = (adapter.tensors[f"{part.ours}.{last}"] for last in ("lora_a", "lora_b"))
        b = b[part.rows]
        if len(a) != config.rank:  # columns of other parts, which are zero in this one
            own = b.any(0)
            if not bool(own.any()):
                continue
            a, b = a[own], b[:, own]
        ranks[name] = len(a)
        tensors[f"{PREFIX}{name}.lora_A.weight"], tensors[f"{PREFIX}{name}.lora_B.weight"] = a, b
        if config.dora:
            tensors[f"{PREFIX}{name}.lora_magnitude_vector"] = adapter.tensors[f"{part.ours}.lora_magnitude"][part.rows]
    turned = [_layer(rule.ours) in out_features and isinstance(rule.layout, Transposed) for rule in rules]
    told: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": TASK_TYPES.get(model.kind),
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rank_stabilized,
        "use_dora": config.dora,
        "bias": "none",
        "fan_in_fan_out": any(turned),
        "target_modules": _targets(ranks, rules),
    }
    others = {name: rank for name, rank in ranks.items() if rank != config.rank}
    if others:
        told["rank_pattern"] = others
        told["alpha_pattern"] = {
            name: config.alpha * ((rank / config.rank) ** (0.5 if config.rank_stabilized else 1.0))
            for name, rank in others.items()
        }
    return told, {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def _prompt_to_peft(adapter: Adapter, model: ModelConfig, base: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    _check_prompted(model)
    (vectors,) = adapter.tensors.values()
    told = {
        "peft_type": "PROMPT_TUNING",
        "task_type": TASK_TYPES[model.kind],
        "base_model_name_or_path": base,
        "inference_mode": True,
        "num_virtual_tokens": len(vectors),
        "token_dim": vectors.shape[1],
        "num_transformer_submodules": 1,
        "prompt_tuning_init": "RANDOM",
    }
    return told, {PROMPT_TENSOR: vectors.contiguous().clone()}


def _check_prompted(model: ModelConfig) -> None:
    """See that a prompt means the same here and in peft.

    Raises:
        CheckpointError: when it does not.
    """
    positions = getattr(model, "positions", None)
    if model.kind != "decoder" or positions is None or positions.kind not in ("rotary", "alibi", "relative", "none"):
        raise CheckpointError(
            "peft reads a prompt of this model in another way: it gives the vectors positions, segments or a memory",
            got=f"a model of kind {model.kind}"
            + ("" if positions is None else f" with positions of kind {positions.kind}"),
            wanted="a decoder with rotary positions, or biases",
        )


def read_peft(folder: Path, model: LanguageModel) -> Adapter:
    """An adapter that peft has written, for one of our models.

    Args:
        folder: holds the two files.
        model: the model that it is for, without an adapter.

    Raises:
        CheckpointError: when a file is missing or damaged, the method or a setting is not known here, or the layers are
            not those of the model.
    """
    told = _read_config(folder / PEFT_CONFIG)
    if told["peft_type"] == "PROMPT_TUNING":
        _check_prompted(model.config)
    try:
        tensors = load_file(folder / PEFT_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / PEFT_WEIGHTS}: cannot be read", got=str(error).splitlines()[0]) from None
    if told["peft_type"] == "PROMPT_TUNING":
        return _read_prompt(folder, tensors)
    layers, weights = _by_layer(folder, tensors), model.tensors()
    parts = _find_parts(folder, model, {name: tuple(tensor.shape) for name, tensor in weights.items()}, layers)
    config = LoRAConfig(
        rank=told["r"],
        alpha=told["lora_alpha"],
        targets=tuple(sorted({_last(parts[name].ours) for name in layers})),
        rank_stabilized=bool(told.get("use_rslora")),
        dora=bool(told.get("use_dora")),
    )
    scale = config.alpha / config.rank ** (0.5 if config.rank_stabilized else 1.0)
    ours: dict[str, list[str]] = {}
    for name in sorted(layers, key=lambda name: parts[name].place):
        ours.setdefault(parts[name].ours, []).append(name)
    joined: dict[str, Tensor] = {}
    for layer, names in ours.items():
        scales = [_scale(told, name, len(layers[name]["a"])) / scale for name in names]
        whole = _join([layers[name] for name in names], [parts[name].rows for name in names], scales, layer, weights)
        joined |= {f"{layer}.{last}": tensor for last, tensor in whole.items()}
    return Adapter(config, joined)


def _read_prompt(folder: Path, tensors: Mapping[str, Tensor]) -> Adapter:
    if tensors.keys() != {PROMPT_TENSOR} or tensors[PROMPT_TENSOR].ndim != 2:
        raise CheckpointError(
            f"{folder / PEFT_WEIGHTS}: holds other tensors than those of a prompt",
            got=", ".join(tensors) or "nothing",
            wanted=f"{PROMPT_TENSOR}, a matrix",
        )
    vectors = tensors[PROMPT_TENSOR].float()
    return Adapter(PromptTuningConfig(num_tokens=len(vectors)), {"body.prompt.prompt_vectors": vectors})


def _join(
    layers: list[dict[str, Tensor]], rows: list[Tensor], scales: list[float], name: str, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A, B and magnitude of one layer of ours, of those that its parts have; one A where all have the same."""
    weight = weights[f"{name}.weight"]
    if all(torch.equal(layer["a"], layers[0]["a"]) for layer in layers):
        a = layers[0]["a"]
        columns = [slice(0, len(a))] * len(layers)
    else:
        a = torch.cat([layer["a"] for layer in layers])
        ends = torch.tensor([len(layer["a"]) for layer in layers]).cumsum(0).tolist()
        columns = [slice(end - len(layer["a"]), end) for end, layer in zip(ends, layers, strict=True)]
    b = a.new_zeros(len(weight), len(a))
    for layer, at, block, scale in zip(layers, rows, columns, scales, strict=True):
        b[at, block] = layer["b"] if scale == 1 else layer["b"] * scale
    if "magnitude" not in layers[0]:
        return {"lora_a": a, "lora_b": b}
    magnitude = torch.linalg.vector_norm(weight.detach().float(), dim=1)  # of rows that peft leaves alone
    for layer, at in zip(layers, rows, strict=True):
        magnitude[at] = layer["magnitude"]
    return {"lora_a": a, "lora_b": b, "lora_magnitude": magnitude}


def _scale(told: Mapping[str, Any], name: str, rank: int) -> float:
    """What peft multiplies the change of a layer by."""
    pattern = told.get("alpha_pattern") or {}
    alpha = next((value for key, value in pattern.items() if _named(name, key)), told["lora_alpha"])
    return float(alpha / (rank**0.5 if told.get("use_rslora") else rank))


def _named(name: str, pattern: str) -> bool:
    """Whether a key of peft's patterns, a name or its end, means a layer."""
    return name == pattern or name.endswith(f".{pattern}")


def _read_config(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise ValueError(type(told).__name__)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read", got=str(error), wanted="an adapter that peft wrote") from None
    if told.get("peft_type") == "PROMPT_TUNING":
        return told
    if told.get("peft_type") != "LORA":
        wanted = "peft_type LORA or PROMPT_TUNING"
        raise CheckpointError(f"{file}: another method", got=str(told.get("peft_type")), wanted=wanted)
    strange = [name for name in REFUSED if told.get(name)]
    if told.get("bias", "none") != "none":
        strange.append("bias")
    if strange:
        got = ", ".join(f"{name}: {told[name]}" for name in strange)
        raise CheckpointError(f"{file}: changes more than matrices", got=got, wanted="these settings left out")
    if not isinstance(told.get("r"), int) or not isinstance(told.get("lora_alpha"), (int, float)):
        raise CheckpointError(f"{file}: is damaged", wanted='"r" and "lora_alpha", numbers')
    return told


ENDS = {".lora_A.weight": "a", ".lora_B.weight": "b", ".lora_magnitude_vector": "magnitude"}


def _by_layer(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors of each layer of transformers, in float32: `a`, `b` and perhaps `magnitude`."""
    layers: dict[str, dict[str, Tensor]] = {}
    strange: list[str] = []
    for name, tensor in tensors.items():
        end = next((end for end in ENDS if name.endswith(end)), None)
        if end is None or not name.startswith(PREFIX):
            strange.append(name)
        else:
            layers.setdefault(name.removeprefix(PREFIX).removesuffix(end), {})[ENDS[end]] = tensor.float()
    strange += [name for name, layer in layers.items() if "a" not in layer or "b" not in layer]
    if strange or not layers:
        raise CheckpointError(
            f"{folder / PEFT_WEIGHTS}: holds other tensors than those of a LoRA over linear layers",
            got=", ".join(strange[:5]) or "nothing",
            wanted=f"{PREFIX}LAYER.lora_A.weight and its lora_B",
        )
    return layers


def _find_parts(
    folder: Path,
    model: LanguageModel,
    shapes: Mapping[str, tuple[int, ...]],
    layers: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, _Part]:
    """Where the layers of an adapter stand in a model, by the first family that has them all.

    Raises:
        CheckpointError: when none has, or their sizes are others.
    """
    missing = sorted(layers)
    for family in FAMILIES.values():
        if family.kind != model.config.kind:
            continue
        try:
            family.write_config(model.config)
        except CheckpointError:
            continue
        rules = family.rules(model.config)
        names = {one for rule in rules for one in rule.theirs}
        absent = sorted(name for name in layers if f"{name}.weight" not in names)
        if absent:
            missing = min(missing, absent, key=len)
            continue
        touched = [rule for rule in rules if any(_layer(one) in layers for one in rule.theirs)]
        parts = _parts(touched, {_layer(rule.ours): shapes[rule.ours][0] for rule in touched})
        _check_sizes(folder, parts, shapes, layers)
        return parts
    raise CheckpointError(
        f"{folder}: is an adapter of another model", got=", ".join(missing[:3]), wanted="layers of the base model"
    )


def _check_sizes(
    folder: Path,
    parts: Mapping[str, _Part],
    shapes: Mapping[str, tuple[int, ...]],
    layers: Mapping[str, Mapping[str, Tensor]],
) -> None:
    for name, layer in layers.items():
        width, rows = shapes[f"{parts[name].ours}.weight"][1], len(parts[name].rows)
        if layer["a"].shape[1] != width or len(layer["b"]) != rows or layer["b"].shape[1] != len(layer["a"]):
            raise CheckpointError(
                f"{folder}: is an adapter of a model of another size",
                got=f"{name}: A {tuple(layer['a'].shape)}, B {tuple(layer['b'].shape)}",
                wanted=f"A (rank, {width}), B ({rows}, rank)",
            )


def _parts(rules: Iterable[Rule], out_features: Mapping[str, int]) -> dict[str, _Part]:
    """The layers of transformers that some of ours are made of, by name."""
    return {
        _layer(theirs): _Part(_layer(rule.ours), rows, place)
        for rule in rules
        if rule.ours.endswith(".weight") and _layer(rule.ours) in out_features
        for place, (theirs, rows) in enumerate(
            zip(rule.theirs, _rows(rule.layout, out_features[_layer(rule.ours)]), strict=True)
        )
    }


def _rows(layout: Layout, size: int) -> list[Tensor]:
    """Which of our rows each row of theirs is, for each of theirs."""
    places = torch.arange(size)[:, None]
    return [places[:, 0]] if isinstance(layout, Transposed) else [part[:, 0] for part in layout.split(places)]


def _targets(names: Iterable[str], rules: Iterable[Rule]) -> list[str]:
    """Last parts of names where they mean no other layer, else whole names."""
    chosen = set(names)
    others = {_layer(one) for rule in rules for one in rule.theirs if one.endswith(".weight")} - chosen
    short = {_last(name) for name in chosen}
    return sorted(short if not short & {_last(name) for name in others} else chosen)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
