"""The settings of a GGUF file as a config in the spelling of transformers.

Most settings only change their name. Rotary scaling is spelled in another way, and Llama 3 stores it as a tensor of
factors: the three numbers it came from are found again, or the file is refused. So is every setting that would change
what the model computes and is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stepwell.checkpoints.foreign import listed
from stepwell.checkpoints.gguf.architectures import ARCHITECTURES, LLAMA_WITH_EXPERTS, Architecture, Shapes
from stepwell.errors import CheckpointError

ROPE_TYPE, ROPE_FACTOR, ROPE_WINDOW = (f"rope.scaling.{name}" for name in ("type", "factor", "original_context_length"))
YARN_FIELDS = {"rope.scaling.yarn_beta_fast": "beta_fast", "rope.scaling.yarn_beta_slow": "beta_slow"}

READ_HERE = ("rope.freq_base", "rope.dimension_count", "attention.value_length", ROPE_TYPE, ROPE_FACTOR, ROPE_WINDOW)
HARMLESS = ("vocab_size", "rope.scaling.finetuned", "tensor_data_layout", "size_label")
"""Settings that say what the tensors say, or nothing that the model computes."""

OPTIONAL = ("attention.head_count_kv", "attention.key_length", "attn_logit_softcapping", "final_logit_softcapping")
"""Fields that some files leave out; transformers has the same values for them."""

SPECIAL_TOKENS = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "padding_token_id": "pad_token_id"}

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""The numbers that every published Llama 3 has, beside its factor."""


def find_architecture(metadata: Mapping[str, Any], *, where: str) -> tuple[str, Architecture]:
    """What the settings of a file begin with, and the row of its architecture.

    Raises:
        CheckpointError: when it has none that is known.
    """
    prefix = str(metadata.get("general.architecture"))
    experts = prefix == "llama" and metadata.get("llama.expert_count", 0) > 0
    row = LLAMA_WITH_EXPERTS if experts else prefix
    if row not in ARCHITECTURES:
        raise CheckpointError(
            f"{where}: has an architecture that is not known here", got=prefix, wanted=", ".join(ARCHITECTURES)
        )
    return prefix, ARCHITECTURES[row]


def read_config(
    metadata: Mapping[str, Any], shapes: Shapes, factors: np.ndarray[Any, Any] | None, *, tied: bool, where: str
) -> dict[str, Any]:
    """The config of a file.

    Args:
        metadata: all that the file says.
        shapes: of its tensors.
        factors: (E / 2,) what rotary wavelengths are multiplied by; None when the file has no such tensor.
        tied: the output matrix is the embedding.
        where: the file, for errors.

    Raises:
        CheckpointError: naming each setting that is missing, or that cannot be represented.
    """
    prefix, architecture = find_architecture(metadata, where=where)
    settings = {
        name.removeprefix(f"{prefix}."): _plain(value)
        for name, value in metadata.items()
        if name.startswith(f"{prefix}.")
    }
    _check(architecture, settings, prefix, where)
    config: dict[str, Any] = {"model_type": architecture.model_type}
    for name, theirs in architecture.fields.items():
        if name in settings:
            config[theirs] = _one_for_all_layers(settings[name], f"{where}: {prefix}.{name}")
    config |= architecture.fixed
    config["vocab_size"] = shapes["token_embd.weight"][0]
    config["tie_word_embeddings"] = tied
    _settle_heads(config, settings, where)
    config["rope_parameters"] = _rotary(config, settings, factors, where)
    architecture.finish(config, settings, shapes)
    for name, theirs in SPECIAL_TOKENS.items():
        config[theirs] = metadata.get(f"tokenizer.ggml.{name}")
    return config


def _check(architecture: Architecture, settings: Mapping[str, Any], prefix: str, where: str) -> None:
    known = {*architecture.fields, *architecture.also, *READ_HERE, *YARN_FIELDS, *HARMLESS}
    unknown = [f"{prefix}.{name} = {settings[name]}" for name in settings if name not in known]
    if unknown:
        raise CheckpointError(f"{where}: has settings that cannot be represented", got=listed(unknown))
    missing = [f"{prefix}.{name}" for name in architecture.fields if name not in settings and name not in OPTIONAL]
    if missing:
        raise CheckpointError(f"{where}: lacks settings", wanted=listed(missing))


def _plain(value: Any) -> Any:
    """A number as its makers wrote it: 1e-5 is stored in float32, which is 9.99999974e-06."""
    if isinstance(value, float):
        return float(str(np.float32(value)))
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _one_for_all_layers(value: Any, where: str) -> Any:
    """A setting that may be given for each layer.

    Raises:
        CheckpointError: when the layers differ.
    """
    if not isinstance(value, list):
        return value
    if len(set(value)) != 1:
        raise CheckpointError(f"{where}: differs from layer to layer", got=str(value), wanted="one value")
    return value[0]


def _settle_heads(config: dict[str, Any], settings: Mapping[str, Any], where: str) -> None:
    """Head sizes that the file leaves to be worked out; only families with a separate head size name it.

    Raises:
        CheckpointError: when keys and values have heads of different sizes.
    """
    if "num_attention_heads" not in config:
        return
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim", config["hidden_size"] // heads)
    if "attention.head_count" in settings and config["model_type"] != "gpt_neox":
        config.setdefault("num_key_value_heads", heads)
        config["head_dim"] = head_dim
        if settings.get("rope.dimension_count", head_dim) != head_dim:
            raise CheckpointError(
                f"{where}: turns a part of each head",
                got=f"{settings['rope.dimension_count']} of {head_dim} channels",
                wanted="all",
            )
    if settings.get("attention.value_length", head_dim) != head_dim:
        raise CheckpointError(
            f"{where}: has values of another size than keys",
            got=f"{settings['attention.value_length']} channels",
            wanted=str(head_dim),
        )


def _rotary(
    config: Mapping[str, Any], settings: Mapping[str, Any], factors: np.ndarray[Any, Any] | None, where: str
) -> dict[str, Any]:
    """`rope_parameters`.

    Raises:
        CheckpointError: for a scaling that cannot be represented.
    """
    theta = settings.get("rope.freq_base", 10_000.0)
    kind = settings.get(ROPE_TYPE, "none")
    rotary: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if factors is not None:
        if kind != "none":
            raise CheckpointError(f"{where}: scales its rotary positions twice", got=f"factors and {kind}")
        return rotary | _llama3(factors, theta, where)
    if kind == "none" or settings.get(ROPE_FACTOR, 1.0) == 1.0:
        return rotary
    if kind not in ("linear", "yarn"):
        raise CheckpointError(
            f"{where}: scales its rotary positions in a way that is not known here",
            got=str(kind),
            wanted="none, linear or yarn",
        )
    rotary |= {"rope_type": kind, "factor": settings[ROPE_FACTOR]}
    if kind == "yarn":
        rotary["original_max_position_embeddings"] = settings.get(ROPE_WINDOW, config["max_position_embeddings"])
        rotary |= {theirs: settings[name] for name, theirs in YARN_FIELDS.items() if name in settings}
    return rotary


def _llama3(factors: np.ndarray[Any, Any], theta: float, where: str) -> dict[str, Any]:
    """The numbers that a table of factors was made from (Llama 3.1).

    Args:
        factors: (E / 2,) by which wavelengths are multiplied, short ones first.
        theta: base of the wavelengths.
        where: the file, for errors.

    Raises:
        CheckpointError: when the usual numbers do not give this table.
    """
    factor = float(factors[-1])
    wavelengths = 2 * np.pi * theta ** (np.arange(len(factors)) / len(factors))
    turns = LLAMA3["original_max_position_embeddings"] / wavelengths
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    if not np.allclose(factors, 1 / ((1 - kept) / factor + kept), rtol=1e-4):
        raise CheckpointError(
            f"{where}: rope_freqs.weight: scales rotary positions in a way that is not known here",
            got=", ".join(f"{one:g}" for one in factors),
            wanted=f"the table of Llama 3 ({', '.join(f'{name} {value:g}' for name, value in LLAMA3.items())})",
        )
    return {"rope_type": "llama3", "factor": factor, **LLAMA3}
