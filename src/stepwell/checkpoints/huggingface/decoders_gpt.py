"""GPT-2 and GPT-NeoX, whose spelling is older than Llama's.

GPT-2 stores its matrices turned and its positions in a table; GPT-NeoX (Pythia) turns part of the channels, stores
queries, keys and values head by head, and may run attention and MLP side by side. Both have LayerNorms and biases. This
file leaves out everything since Llama.
"""

from __future__ import annotations

from typing import Any

from stepwell.checkpoints.huggingface.decoders import IGNORED, shared_width, spell_rotary
from stepwell.checkpoints.huggingface.exactness import exact
from stepwell.checkpoints.huggingface.family import ForeignConfig, ForeignFamily, Rule
from stepwell.checkpoints.huggingface.layouts import SAME, TRANSPOSED, Layout, PerHead
from stepwell.checkpoints.huggingface.spelling import WRITTEN, needed, read_activation, read_rotary, require
from stepwell.config import build
from stepwell.models import DecoderConfig, ModelConfig


def _read_gpt2(config: ForeignConfig) -> DecoderConfig:
    require(config, {"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False})
    sizes = {"n_head": 12, "n_embd": 768, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257, **config}
    heads, width = needed(sizes, "n_head"), needed(sizes, "n_embd")
    tree: dict[str, Any] = {
        "vocab_size": needed(sizes, "vocab_size"),
        "max_seq_len": needed(sizes, "n_positions"),
        "num_layers": needed(sizes, "n_layer"),
        "d_model": width,
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": shared_width({"num_attention_heads": heads, "hidden_size": width}),
        "d_ff": config.get("n_inner") or 4 * width,
        "activation": read_activation(config.get("activation_function", "gelu_new"), "activation_function"),
        "norm": {"kind": "layer", "eps": config.get("layer_norm_epsilon", 1e-5)},
        "qk_norm": "none",
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "attention_scale": None if config.get("scale_attn_weights", True) else 1.0,
        "positions": {"kind": "learned"},
        "embedding_norm": False,
        "dropout": config.get("resid_pdrop", 0.1),
        "attention_dropout": config.get("attn_pdrop", 0.1),
        "embedding_dropout": config.get("embd_pdrop", 0.1),
        "tie_embeddings": config.get("tie_word_embeddings", True),
    }
    return build(DecoderConfig, tree, where="config.json")


def _write_gpt2(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, DecoderConfig)
    written = {
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
        "scale_attn_weights": config.attention_scale != 1,
        "resid_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "embd_pdrop": config.embedding_dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }
    return exact(config, written, _read_gpt2)


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


def _read_neox(config: ForeignConfig) -> DecoderConfig:
    heads, bias = needed(config, "num_attention_heads"), config.get("attention_bias", True)
    rotary = {"partial_rotary_factor": config.get("rotary_pct", 0.25), "rope_theta": config.get("rotary_emb_base")}
    tree: dict[str, Any] = {
        "vocab_size": needed(config, "vocab_size"),
        "max_seq_len": needed(config, "max_position_embeddings"),
        "num_layers": needed(config, "num_hidden_layers"),
        "d_model": needed(config, "hidden_size"),
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": shared_width(config),
        "d_ff": needed(config, "intermediate_size"),
        "activation": read_activation(config.get("hidden_act", "gelu")),
        "norm": {"kind": "layer", "eps": config.get("layer_norm_eps", 1e-5)},
        "parallel": config.get("use_parallel_residual", True),
        "qk_norm": "none",
        "qkv_bias": bias,
        "out_bias": bias,
        "mlp_bias": True,
        "positions": read_rotary({**config, **rotary}, partial=True),
        "embedding_norm": False,
        "dropout": config.get("hidden_dropout", 0.0),
        "attention_dropout": config.get("attention_dropout", 0.0),
        "embedding_dropout": config.get("hidden_dropout", 0.0),
        "tie_embeddings": config.get("tie_word_embeddings", False),
    }
    return build(DecoderConfig, tree, where="config.json")


def _write_neox(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, DecoderConfig)
    written = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.d_ff,
        "hidden_act": WRITTEN.get(config.activation, config.activation),
        "layer_norm_eps": config.norm.eps,
        "use_parallel_residual": config.parallel,
        "attention_bias": config.qkv_bias,
        **spell_rotary(config),
        "hidden_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }
    if config.positions.kind == "rotary":
        written["rope_parameters"]["partial_rotary_factor"] = config.positions.ratio
        written |= {"rotary_pct": config.positions.ratio, "rotary_emb_base": config.positions.theta}
    return exact(config, written, _read_neox)


def _neox_rules(config: ModelConfig) -> list[Rule]:
    assert isinstance(config, DecoderConfig)
    both, one = ("weight", "bias"), ("weight",)
    parts: dict[str, tuple[str, Layout, tuple[str, ...]]] = {
        "attention_norm": ("input_layernorm", SAME, both),
        "attention.qkv": ("attention.query_key_value", PerHead(config.num_heads), both if config.qkv_bias else one),
        "attention.out": ("attention.dense", SAME, both if config.out_bias else one),
        "mlp_norm": ("post_attention_layernorm", SAME, both),
        "mlp.up": ("mlp.dense_h_to_4h", SAME, both),
        "mlp.down": ("mlp.dense_4h_to_h", SAME, both),
    }
    rules = [Rule("embedding.weight", ("gpt_neox.embed_in.weight",), SAME)]
    for layer in range(config.num_layers):
        for ours, (theirs, layout, ends) in parts.items():
            name, other = f"body.blocks.{layer}.{ours}", f"gpt_neox.layers.{layer}.{theirs}"
            rules += [Rule(f"{name}.{end}", (f"{other}.{end}",), layout) for end in ends]
    rules += [Rule(f"body.norm.{end}", (f"gpt_neox.final_layer_norm.{end}",), SAME) for end in both]
    if not config.tie_embeddings:
        rules.append(Rule("head.weight", ("embed_out.weight",), SAME))
    return rules


GPT_NEOX = ForeignFamily(
    kind="decoder",
    architectures=("GPTNeoXForCausalLM",),
    read_config=_read_neox,
    write_config=_write_neox,
    rules=_neox_rules,
    prefix="gpt_neox.",
    copies={"embed_out.weight": "gpt_neox.embed_in.weight"},
    ignored=(*IGNORED, r".*\.attention\.(masked_)?bias"),
)
