"""Decoders with experts: Mixtral, and Qwen 3 with experts.

Mixtral is a Mistral with experts in every layer; Qwen 3 keeps one MLP in some of them. The loss that keeps experts
equally busy has its weight in both configs. This file leaves out experts that every token visits.
"""

from __future__ import annotations

from typing import Any

from stepwell.checkpoints.huggingface.decoders import ExpertNames, decoder_family, read_decoder
from stepwell.checkpoints.huggingface.decoders_llama import read_attention_bias, read_one_window
from stepwell.checkpoints.huggingface.family import ForeignConfig
from stepwell.checkpoints.huggingface.spelling import needed, read_rotary
from stepwell.models import DecoderConfig


def _read_mixtral(config: ForeignConfig) -> DecoderConfig:
    experts = {
        "num_experts": needed({"num_local_experts": 8, **config}, "num_local_experts"),
        "experts_per_token": needed({"num_experts_per_tok": 2, **config}, "num_experts_per_tok"),
        "d_ff": needed(config, "intermediate_size"),
        "normalize_weights": True,
        "balance": config.get("router_aux_loss_coef", 0.001),
    }
    choices = {
        "experts": experts,
        "positions": read_rotary(config, theta=1_000_000.0),
        **read_one_window(config, config.get("sliding_window")),
    }
    return read_decoder({"rms_norm_eps": 1e-5, **config}, choices)


def _spell_mixtral(config: DecoderConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {"sliding_window": config.window}
    experts = config.experts
    if experts is not None:
        fields |= {
            "intermediate_size": experts.d_ff,
            "num_local_experts": experts.num_experts,
            "num_experts_per_tok": experts.experts_per_token,
            "router_aux_loss_coef": experts.balance,
        }
    return fields


def _read_qwen3_moe(config: ForeignConfig) -> DecoderConfig:
    window = config.get("sliding_window", 4096) if config.get("use_sliding_window") else None
    num_experts = config.get("num_experts", config.get("num_local_experts", 128))
    choices = {
        "qk_norm": "head",
        "experts": _read_qwen3_experts({**config, "num_experts": num_experts}) if num_experts else None,
        **read_attention_bias(config),
        **read_one_window(config, window),
    }
    return read_decoder(config, choices)


def _read_qwen3_experts(config: ForeignConfig) -> dict[str, Any]:
    step = needed({"decoder_sparse_step": 1, **config}, "decoder_sparse_step")
    plain = config.get("mlp_only_layers") or []
    layers = range(needed(config, "num_hidden_layers"))
    return {
        "num_experts": needed(config, "num_experts"),
        "experts_per_token": needed({"num_experts_per_tok": 8, **config}, "num_experts_per_tok"),
        "d_ff": needed({"moe_intermediate_size": 768, **config}, "moe_intermediate_size"),
        "normalize_weights": config.get("norm_topk_prob", False),
        "balance": config.get("router_aux_loss_coef", 0.001),
        "dense_layers": [layer for layer in layers if layer in plain or (layer + 1) % step],
    }


def _spell_qwen3_moe(config: DecoderConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "attention_bias": config.qkv_bias,
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "num_experts": 0,
    }
    experts = config.experts
    if experts is not None:
        fields |= {
            "num_experts": experts.num_experts,
            "num_experts_per_tok": experts.experts_per_token,
            "moe_intermediate_size": experts.d_ff,
            "norm_topk_prob": experts.normalize_weights,
            "router_aux_loss_coef": experts.balance,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [layer for layer in range(config.num_layers) if not config.has_experts(layer)],
        }
    return fields


MIXTRAL = decoder_family(
    "mixtral",
    "MixtralForCausalLM",
    _read_mixtral,
    _spell_mixtral,
    experts=ExpertNames("block_sparse_moe", gate="w1", value="w3", down="w2"),
)
QWEN3_MOE = decoder_family(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    _read_qwen3_moe,
    _spell_qwen3_moe,
    experts=ExpertNames("mlp", gate="gate_proj", value="up_proj", down="down_proj"),
)
