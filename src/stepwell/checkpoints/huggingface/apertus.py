"""Apertus (Swiss AI Initiative, 2025): what our own default decoder is called in transformers.

It is the one class there with an MLP that is not gated between RMS norms and normalised queries and keys, and its
activation is free, so a decoder of stepwell's defaults is exactly an Apertus with `relu2`. The published Apertus
weights use an activation of their own (xIELU), which is refused by name. This file leaves out every other decoder.
"""

from __future__ import annotations

from typing import Any

from stepwell.checkpoints.huggingface.family import ForeignConfig, ForeignFamily, Rule
from stepwell.checkpoints.huggingface.layouts import SAME, Stacked
from stepwell.checkpoints.huggingface.spelling import (
    WRITTEN,
    expect,
    needed,
    read_activation,
    read_rotary,
    write_rotary,
)
from stepwell.config import build
from stepwell.models import DecoderConfig, ModelConfig

PUBLISHED_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 12_000_000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
"""What the class takes when a config says nothing of rotary positions."""


def _read(config: ForeignConfig) -> DecoderConfig:
    heads, width = needed(config, "num_attention_heads"), needed(config, "hidden_size")
    bias = config.get("attention_bias", False)
    spoken = config.get("rope_parameters") or config.get("rope_theta") or config.get("rope_scaling")
    tree: dict[str, Any] = {
        "vocab_size": needed(config, "vocab_size"),
        "max_seq_len": config.get("max_position_embeddings", 65536),
        "num_layers": needed(config, "num_hidden_layers"),
        "d_model": width,
        "num_heads": heads,
        "num_kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or width // heads,
        "d_ff": needed(config, "intermediate_size"),
        "activation": read_activation(config.get("hidden_act", "xielu")),
        "gated": False,
        "norm": {"kind": "rms", "eps": config.get("rms_norm_eps", 1e-5)},
        "qk_norm": "head",
        "qkv_bias": bias,
        "out_bias": bias,
        "positions": read_rotary(config if spoken else {**config, "rope_parameters": PUBLISHED_ROPE}),
        "embedding_norm": False,
        "attention_dropout": config.get("attention_dropout", 0.0),
        "tie_embeddings": config.get("tie_word_embeddings", False),
    }
    return build(DecoderConfig, tree, where="config.json")


def _write(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, DecoderConfig)
    expect(
        config,
        {
            "gated": False,
            "norm.kind": "rms",
            "norm.unit_offset": False,
            "norm_placement": "pre",
            "parallel": False,
            "qk_norm": "head",
            "out_bias": config.qkv_bias,
            "mlp_bias": False,
            "attention_scale": None,
            "attention_softcap": None,
            "sinks": False,
            "layer_pattern": ("full",),
            "positions.kind": "rotary",
            "experts": None,
            "embedding_scale": None,
            "embedding_norm": False,
            "logit_softcap": None,
        },
        "ApertusForCausalLM",
    )
    return {
        "architectures": ["ApertusForCausalLM"],
        "model_type": "apertus",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "hidden_act": WRITTEN.get(config.activation, config.activation),
        "rms_norm_eps": config.norm.eps,
        "attention_bias": config.qkv_bias,
        "rope_parameters": write_rotary(config.positions),
        "attention_dropout": config.attention_dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }


LAYER = {
    "attention_norm.weight": "attention_layernorm.weight",
    "attention.query_norm.weight": "self_attn.q_norm.weight",
    "attention.key_norm.weight": "self_attn.k_norm.weight",
    "attention.out.weight": "self_attn.o_proj.weight",
    "attention.out.bias": "self_attn.o_proj.bias",
    "mlp_norm.weight": "feedforward_layernorm.weight",
    "mlp.up.weight": "mlp.up_proj.weight",
    "mlp.down.weight": "mlp.down_proj.weight",
}


def _rules(config: ModelConfig) -> list[Rule]:
    assert isinstance(config, DecoderConfig)
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    biased = ("weight", "bias") if config.qkv_bias else ("weight",)
    rules = [Rule("embedding.weight", ("model.embed_tokens.weight",), SAME)]
    for layer in range(config.num_layers):
        ours, theirs = f"body.blocks.{layer}.", f"model.layers.{layer}."
        for end in biased:
            parts = tuple(f"{theirs}self_attn.{name}_proj.{end}" for name in "qkv")
            rules.append(Rule(f"{ours}attention.qkv.{end}", parts, Stacked((query, key, key))))
        rules += [
            Rule(ours + one, (theirs + other,), SAME)
            for one, other in LAYER.items()
            if config.out_bias or not one.endswith("bias")
        ]
    rules.append(Rule("body.norm.weight", ("model.norm.weight",), SAME))
    if not config.tie_embeddings:
        rules.append(Rule("head.weight", ("lm_head.weight",), SAME))
    return rules


APERTUS = ForeignFamily(
    kind="decoder",
    architectures=("ApertusForCausalLM",),
    read_config=_read,
    write_config=_write,
    rules=_rules,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=(r".*\.rotary_emb\.inv_freq",),
)
