"""Llama and the decoders that changed little in it: Mistral, Qwen 2 and 3, OLMo 2, SmolLM 3.

They differ in biases, in norms of queries and keys, in where the norms stand and in how far which layer looks; SmolLM 2
is a Llama by its own word. Each is a reader, and what it spells beside Llama's fields. This file leaves out experts
(`decoders_moe.py`) and Gemma.
"""

from __future__ import annotations

from typing import Any

from stepwell.checkpoints.huggingface.decoders import (
    decoder_family,
    read_decoder,
    read_layers,
    shared_width,
    write_layers,
)
from stepwell.checkpoints.huggingface.family import ForeignConfig
from stepwell.checkpoints.huggingface.spelling import needed, read_rotary, refuse
from stepwell.models import DecoderConfig


def read_attention_bias(config: ForeignConfig) -> dict[str, Any]:
    """One word for the biases of queries, keys, values and output."""
    bias = config.get("attention_bias", False)
    return {"qkv_bias": bias, "out_bias": bias}


def _read_llama(config: ForeignConfig) -> DecoderConfig:
    shared_width(config)
    return read_decoder(config, {**read_attention_bias(config), "mlp_bias": config.get("mlp_bias", False)})


def _spell_llama(config: DecoderConfig) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}


def _read_mistral(config: ForeignConfig) -> DecoderConfig:
    return read_decoder(config, read_one_window(config, config.get("sliding_window", 4096)))


def read_one_window(config: ForeignConfig, window: int | None) -> dict[str, Any]:
    """A window that all layers have, or none."""
    kind = "full_attention" if window is None else "sliding_attention"
    return read_layers(config, [kind] * needed(config, "num_hidden_layers"), window)


def _spell_mistral(config: DecoderConfig) -> dict[str, Any]:
    return {"sliding_window": config.window}


def _read_windows(config: ForeignConfig) -> dict[str, Any]:
    """The layers of Qwen 2 and 3: told one by one, or the last ones with a window."""
    window = config.get("sliding_window", 4096) if config.get("use_sliding_window") else None
    first = config.get("max_window_layers", 28)
    types = config.get("layer_types") or [
        "sliding_attention" if window is not None and layer >= first else "full_attention"
        for layer in range(needed(config, "num_hidden_layers"))
    ]
    return read_layers(config, types, window)


def _spell_windows(config: DecoderConfig) -> dict[str, Any]:
    layers = write_layers(config)
    windows = [layer for layer, kind in enumerate(layers) if kind == "sliding_attention"]
    return {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": windows[0] if windows else config.num_layers,
        "layer_types": layers,
    }


def _read_qwen2(config: ForeignConfig) -> DecoderConfig:
    return read_decoder(config, {"qkv_bias": True, **_read_windows(config)})


def _read_qwen3(config: ForeignConfig) -> DecoderConfig:
    whole = {"head_dim": 128, **config}
    return read_decoder(whole, {"qk_norm": "head", **read_attention_bias(config), **_read_windows(config)})


def _spell_qwen3(config: DecoderConfig) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias, **_spell_windows(config)}


def _read_olmo2(config: ForeignConfig) -> DecoderConfig:
    choices = {"norm_placement": "output", "qk_norm": "projection", **read_attention_bias(config)}
    return read_decoder({"rms_norm_eps": 1e-5, **config}, choices)


def _spell_olmo2(config: DecoderConfig) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias}


def _read_smollm3(config: ForeignConfig) -> DecoderConfig:
    layers = range(needed(config, "num_hidden_layers"))
    interval = needed({"no_rope_layer_interval": 4, **config}, "no_rope_layer_interval")
    turned = config.get("no_rope_layers") or [(layer + 1) % interval for layer in layers]
    if len(turned) < len(layers):
        raise refuse("no_rope_layers", f"{len(turned)} layers", f"num_hidden_layers = {len(layers)}")
    window = config.get("sliding_window") if config.get("use_sliding_window") else None
    types = config.get("layer_types") or [
        "full_attention" if window is None or turned[layer] else "sliding_attention" for layer in layers
    ]
    if any(kind == "sliding_attention" and not rotary for kind, rotary in zip(types, turned, strict=False)):
        raise refuse("layer_types", "a window in a layer without rotary positions", "a window in other layers only")
    types = [kind if rotary else "unrotated" for kind, rotary in zip(types, turned, strict=False)]
    choices = {
        "mlp_bias": config.get("mlp_bias", False),
        "positions": read_rotary(config, theta=2_000_000.0),
        **read_attention_bias(config),
        **read_layers(config, types, window),
    }
    return read_decoder({"tie_word_embeddings": True, **config}, choices)


def _spell_smollm3(config: DecoderConfig) -> dict[str, Any]:
    return {
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "no_rope_layers": [int(config.layer_kind(layer) != "unrotated") for layer in range(config.num_layers)],
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "layer_types": write_layers(config),
    }


LLAMA = decoder_family("llama", "LlamaForCausalLM", _read_llama, _spell_llama)
MISTRAL = decoder_family("mistral", "MistralForCausalLM", _read_mistral, _spell_mistral)
QWEN2 = decoder_family("qwen2", "Qwen2ForCausalLM", _read_qwen2, _spell_windows)
QWEN3 = decoder_family("qwen3", "Qwen3ForCausalLM", _read_qwen3, _spell_qwen3)
OLMO2 = decoder_family("olmo2", "Olmo2ForCausalLM", _read_olmo2, _spell_olmo2)
SMOLLM3 = decoder_family("smollm3", "SmolLM3ForCausalLM", _read_smollm3, _spell_smollm3)
