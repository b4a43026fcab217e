"""Gemma 2 and the text model of Gemma 3.

Both stretch the embeddings, multiply by one plus the weight of a norm, put norms before and on what a block gives, and
let some layers look through a window; Gemma 2 caps its logits, Gemma 3 normalises queries and keys and turns them by
another base where there is a window. This file leaves out images, and the first Gemma.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.checkpoints.huggingface.decoders import (
    decoder_family,
    read_decoder,
    read_layers,
    shared_width,
    spell_rotary,
    write_layers,
)
from stepwell.checkpoints.huggingface.decoders_llama import read_attention_bias
from stepwell.checkpoints.huggingface.family import ForeignConfig
from stepwell.checkpoints.huggingface.spelling import WRITTEN, needed, read_activation, read_rotary, refuse, require
from stepwell.models import DecoderConfig


def _read_gemma(config: ForeignConfig, layer_types: list[str], choices: Mapping[str, Any]) -> DecoderConfig:
    """What both have in common; layer_types where none are told."""
    require(config, {"use_bidirectional_attention": False})
    shared_width(config)
    name = config.get("hidden_activation") or "gelu_pytorch_tanh"
    common = {
        "activation": read_activation(name, "hidden_activation"),
        "norm": {"kind": "rms", "eps": config.get("rms_norm_eps", 1e-6), "unit_offset": True},
        "norm_placement": "sandwich",
        "attention_scale": needed({"query_pre_attn_scalar": 256, **config}, "query_pre_attn_scalar") ** -0.5,
        "embedding_scale": needed(config, "hidden_size") ** 0.5,
        **read_attention_bias(config),
        **read_layers(config, config.get("layer_types") or layer_types, config.get("sliding_window", 4096)),
    }
    return read_decoder({"head_dim": 256, "tie_word_embeddings": True, **config}, {**common, **choices})


def _spell_gemma(config: DecoderConfig) -> dict[str, Any]:
    scale = config.attention_scale or config.head_dim**-0.5
    return {
        "hidden_activation": WRITTEN.get(config.activation, config.activation),
        "attention_bias": config.qkv_bias,
        "query_pre_attn_scalar": max(1, round(scale**-2)),
        "layer_types": write_layers(config),
        "sliding_window": config.window or config.max_seq_len,
        "final_logit_softcapping": config.logit_softcap,
    }


def _read_gemma2(config: ForeignConfig) -> DecoderConfig:
    layers = range(needed(config, "num_hidden_layers"))
    types = ["full_attention" if layer % 2 else "sliding_attention" for layer in layers]
    choices = {
        "attention_softcap": config.get("attn_logit_softcapping", 50.0),
        "logit_softcap": config.get("final_logit_softcapping", 30.0),
    }
    return _read_gemma(config, types, choices)


def _spell_gemma2(config: DecoderConfig) -> dict[str, Any]:
    return {**_spell_gemma(config), "attn_logit_softcapping": config.attention_softcap}


def _read_gemma3(config: ForeignConfig) -> DecoderConfig:
    layers = range(needed(config, "num_hidden_layers"))
    pattern = needed({"sliding_window_pattern": 6, **config}, "sliding_window_pattern")
    types = ["sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in layers]
    choices = {
        "qk_norm": "head",
        "positions": _read_two_rotaries(config),
        "logit_softcap": config.get("final_logit_softcapping"),
    }
    return _read_gemma(config, types, choices)


def _read_two_rotaries(config: ForeignConfig) -> dict[str, Any]:
    """Rotary positions of Gemma 3: of layers that see everything, and of those with a window."""
    both = config.get("rope_parameters") or {}
    full = {**(both.get("full_attention") or {}), **(config.get("rope_scaling") or {})}
    full.pop("truncate", None)  # the class looks for it elsewhere, and does not find it
    window = both.get("sliding_attention") or {}
    length = needed(config, "max_position_embeddings")
    positions = read_rotary(
        {"rope_parameters": full, "max_position_embeddings": length}, theta=config.get("rope_theta") or 1_000_000.0
    )
    local = read_rotary({"rope_parameters": window}, theta=config.get("rope_local_base_freq") or 10_000.0)
    if "scaling" in local:
        raise refuse("rope_parameters.sliding_attention", window["rope_type"], "default")
    return {**positions, "window_theta": local["theta"]}


def _spell_gemma3(config: DecoderConfig) -> dict[str, Any]:
    values, positions = _spell_gemma(config), config.positions
    if positions.kind == "rotary":
        local = positions.window_theta or positions.theta
        both = {
            "full_attention": spell_rotary(config)["rope_parameters"],
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        }
        values |= {"rope_parameters": both, "rope_local_base_freq": local}
    return values


GEMMA2 = decoder_family("gemma2", "Gemma2ForCausalLM", _read_gemma2, _spell_gemma2)
GEMMA3 = decoder_family("gemma3_text", "Gemma3ForCausalLM", _read_gemma3, _spell_gemma3)
