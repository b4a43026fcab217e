"""Decoders of transformers: GPT-2 and Llama.

Each family is its config read and written, and the rules of its parameters. What our decoder can do and a class
cannot (or the other way round) is said by name. This file leaves out encoders and encoder-decoders.
"""

from __future__ import annotations

from typing import Any

from stepwell.checkpoints.huggingface.family import ForeignConfig, ForeignFamily, Rule
from stepwell.checkpoints.huggingface.layouts import SAME, TRANSPOSED, Layout, Stacked
from stepwell.checkpoints.huggingface.spelling import (
    WRITTEN,
    expect,
    needed,
    read_activation,
    read_rotary,
    require,
    write_rotary,
)
from stepwell.config import build
from stepwell.models import DecoderConfig, ModelConfig

WHERE = "config.json"


def _read_llama(config: ForeignConfig) -> DecoderConfig:
    heads, width = needed(config, "num_attention_heads"), needed(config, "hidden_size")
    tree: dict[str, Any] = {
        "vocab_size": needed(config, "vocab_size"),
        "max_seq_len": config.get("max_position_embeddings") or 2048,
        "num_layers": needed(config, "num_hidden_layers"),
        "d_model": width,
        "num_heads": heads,
        "num_kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or width // heads,
        "d_ff": needed(config, "intermediate_size"),
        "activation": read_activation(config.get("hidden_act", "silu")),
        "gated": True,
        "norm": {"kind": "rms", "eps": config.get("rms_norm_eps", 1e-6)},
        "qk_norm": "none",
        "qkv_bias": config.get("attention_bias", False),
        "out_bias": config.get("attention_bias", False),
        "mlp_bias": config.get("mlp_bias", False),
        "positions": read_rotary(config),
        "embedding_norm": False,
        "attention_dropout": config.get("attention_dropout", 0.0),
        "tie_embeddings": config.get("tie_word_embeddings", False),
    }
    return build(DecoderConfig, tree, where=WHERE)


def _write_llama(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, DecoderConfig)
    expect(
        config,
        {
            "gated": True,
            "norm.kind": "rms",
            "norm.unit_offset": False,
            "norm_placement": "pre",
            "parallel": False,
            "qk_norm": "none",
            "out_bias": config.qkv_bias,
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
        "LlamaForCausalLM",
    )
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
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
        "mlp_bias": config.mlp_bias,
        "rope_parameters": write_rotary(config.positions),
        "attention_dropout": config.attention_dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _llama_rules(config: ModelConfig) -> list[Rule]:
    assert isinstance(config, DecoderConfig)
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    rules = [Rule("embedding.weight", ("model.embed_tokens.weight",), SAME)]
    for layer in range(config.num_layers):
        ours, theirs = f"body.blocks.{layer}.", f"model.layers.{layer}."
        for end, present in (("weight", True), ("bias", config.qkv_bias)):
            if present:
                parts = tuple(f"{theirs}self_attn.{name}_proj.{end}" for name in "qkv")
                rules.append(Rule(f"{ours}attention.qkv.{end}", parts, Stacked((query, key, key))))
                rules.append(Rule(f"{ours}attention.out.{end}", (f"{theirs}self_attn.o_proj.{end}",), SAME))
        for end, present in (("weight", True), ("bias", config.mlp_bias)):
            if present:
                parts = (f"{theirs}mlp.gate_proj.{end}", f"{theirs}mlp.up_proj.{end}")
                rules.append(Rule(f"{ours}mlp.up.{end}", parts, Stacked((config.d_ff, config.d_ff))))
                rules.append(Rule(f"{ours}mlp.down.{end}", (f"{theirs}mlp.down_proj.{end}",), SAME))
        rules.append(Rule(f"{ours}attention_norm.weight", (f"{theirs}input_layernorm.weight",), SAME))
        rules.append(Rule(f"{ours}mlp_norm.weight", (f"{theirs}post_attention_layernorm.weight",), SAME))
    rules.append(Rule("body.norm.weight", ("model.norm.weight",), SAME))
    if not config.tie_embeddings:
        rules.append(Rule("head.weight", ("lm_head.weight",), SAME))
    return rules


LLAMA = ForeignFamily(
    kind="decoder",
    architectures=("LlamaForCausalLM",),
    read_config=_read_llama,
    write_config=_write_llama,
    rules=_llama_rules,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=(r".*\.rotary_emb\.inv_freq",),
)


def _read_gpt2(config: ForeignConfig) -> DecoderConfig:
    require(
        config,
        {
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "reorder_and_upcast_attn": False,
            "add_cross_attention": False,
        },
    )
    heads, width = config.get("n_head", 12), config.get("n_embd", 768)
    tree: dict[str, Any] = {
        "vocab_size": config.get("vocab_size", 50257),
        "max_seq_len": config.get("n_positions", 1024),
        "num_layers": config.get("n_layer", 12),
        "d_model": width,
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": width // heads,
        "d_ff": config.get("n_inner") or 4 * width,
        "activation": read_activation(config.get("activation_function", "gelu_new"), "activation_function"),
        "gated": False,
        "norm": {"kind": "layer", "eps": config.get("layer_norm_epsilon", 1e-5), "bias": True},
        "qk_norm": "none",
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "positions": {"kind": "learned"},
        "embedding_norm": False,
        "dropout": config.get("resid_pdrop", 0.1),
        "attention_dropout": config.get("attn_pdrop", 0.1),
        "embedding_dropout": config.get("embd_pdrop", 0.1),
        "tie_embeddings": config.get("tie_word_embeddings", True),
    }
    return build(DecoderConfig, tree, where=WHERE)


def _write_gpt2(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, DecoderConfig)
    expect(
        config,
        {
            "num_kv_heads": config.num_heads,
            "head_dim": config.d_model // config.num_heads,
            "gated": False,
            "norm.kind": "layer",
            "norm.bias": True,
            "norm_placement": "pre",
            "parallel": False,
            "qk_norm": "none",
            "qkv_bias": True,
            "out_bias": True,
            "mlp_bias": True,
            "attention_scale": None,
            "attention_softcap": None,
            "sinks": False,
            "layer_pattern": ("full",),
            "positions.kind": "learned",
            "experts": None,
            "embedding_scale": None,
            "embedding_norm": False,
            "logit_softcap": None,
        },
        "GPT2LMHeadModel",
    )
    expect(config, {"positions.offset": 0}, "GPT2LMHeadModel")
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "n_layer": config.num_layers,
        "n_embd": config.d_model,
        "n_head": config.num_heads,
        "n_inner": config.d_ff,
        "activation_function": {"gelu_tanh": "gelu_new"}.get(config.activation, config.activation),
        "layer_norm_epsilon": config.norm.eps,
        "resid_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "embd_pdrop": config.embedding_dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }


GPT2_LAYER: dict[str, tuple[str, Layout]] = {
    "attention_norm": ("ln_1", SAME),
    "attention.qkv": ("attn.c_attn", TRANSPOSED),
    "attention.out": ("attn.c_proj", TRANSPOSED),
    "mlp_norm": ("ln_2", SAME),
    "mlp.up": ("mlp.c_fc", TRANSPOSED),
    "mlp.down": ("mlp.c_proj", TRANSPOSED),
}


def _gpt2_rules(config: ModelConfig) -> list[Rule]:
    assert isinstance(config, DecoderConfig)
    rules = [
        Rule("embedding.weight", ("transformer.wte.weight",), SAME),
        Rule("body.positions.weight", ("transformer.wpe.weight",), SAME),
    ]
    for layer in range(config.num_layers):
        for ours, (theirs, layout) in GPT2_LAYER.items():
            name, other = f"body.blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}"
            rules.append(Rule(f"{name}.weight", (f"{other}.weight",), layout))
            rules.append(Rule(f"{name}.bias", (f"{other}.bias",), SAME))
    rules += [Rule(f"body.norm.{end}", (f"transformer.ln_f.{end}",), SAME) for end in ("weight", "bias")]
    if not config.tie_embeddings:
        rules.append(Rule("head.weight", ("lm_head.weight",), SAME))
    return rules


GPT2 = ForeignFamily(
    kind="decoder",
    architectures=("GPT2LMHeadModel", "GPT2Model"),
    read_config=_read_gpt2,
    write_config=_write_gpt2,
    rules=_gpt2_rules,
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
    ignored=(r".*\.attn\.(masked_)?bias",),
)
