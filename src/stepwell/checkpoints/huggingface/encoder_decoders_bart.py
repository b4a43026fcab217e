"""BART and Marian: norms after each part, biases everywhere (Lewis et al., 2020; Junczys-Dowmunt et al., 2018).

BART learns its positions and normalises the embeddings; Marian adds waves, and may have a table for each half. This
file leaves out dropout inside the MLP and of whole layers, which decides nothing once a model is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.checkpoints.huggingface.encoder_decoders import (
    read_layers,
    read_targets,
    said_of_targets,
    said_once,
    write_targets,
)
from stepwell.checkpoints.huggingface.exactness import exact
from stepwell.checkpoints.huggingface.family import ForeignConfig, ForeignFamily, Rule
from stepwell.checkpoints.huggingface.layouts import SAME, Reshaped, Stacked
from stepwell.checkpoints.huggingface.spelling import WRITTEN, needed, read_activation, refuse, require
from stepwell.config import build
from stepwell.models import EncoderDecoderConfig, ModelConfig

BART_SIZES = {
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "d_model": 1024,
    **{f"{half}_layers": 12 for half in ("encoder", "decoder")},
    **{f"{half}_ffn_dim": 4096 for half in ("encoder", "decoder")},
    **{f"{half}_attention_heads": 16 for half in ("encoder", "decoder")},
}
MARIAN_SIZES = {**BART_SIZES, "vocab_size": 58101}


def _read_bart(config: ForeignConfig) -> EncoderDecoderConfig:
    own = {"positions": {"kind": "learned", "offset": 2}, "embedding_norm": True}
    return _read_bart_like({**BART_SIZES, "decoder_start_token_id": 2, **config}, "BartModel", own)


def _read_marian(config: ForeignConfig) -> EncoderDecoderConfig:
    config = {**MARIAN_SIZES, **config}
    targets = config.get("decoder_vocab_size")
    if targets not in (None, config["vocab_size"]):
        raise refuse("decoder_vocab_size", targets, f"that of the source, {config['vocab_size']}")
    own = {
        "positions": {"kind": "sinusoidal", "layout": "halves"},
        "embedding_norm": False,
        "share_embeddings": config.get("share_encoder_decoder_embeddings", True),
    }
    return _read_bart_like(config, "MarianModel", own)


def _read_bart_like(config: ForeignConfig, headless: str, own: Mapping[str, Any]) -> EncoderDecoderConfig:
    """A config in BART's spelling.

    Args:
        config: theirs.
        headless: the class that has no bias of the output.
        own: fields of ours that the family alone has.
    """
    require(config, {"tie_word_embeddings": True})
    for size in ("ffn_dim", "attention_heads"):
        if config[f"decoder_{size}"] != config[f"encoder_{size}"]:
            raise refuse(
                f"decoder_{size}", config[f"decoder_{size}"], f"that of the encoder, {config[f'encoder_{size}']}"
            )
    heads, width = needed(config, "encoder_attention_heads"), needed(config, "d_model")
    if width % heads:
        raise refuse("encoder_attention_heads", heads, f"a number that divides d_model ({width})")
    dropout = config.get("dropout", 0.1)
    tree: dict[str, Any] = {
        **read_targets(config, default=config.get("pad_token_id") or 0),
        **read_layers(needed(config, "encoder_layers"), needed(config, "decoder_layers")),
        "vocab_size": needed(config, "vocab_size"),
        "max_seq_len": needed(config, "max_position_embeddings"),
        "d_model": width,
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": width // heads,
        "d_ff": needed(config, "encoder_ffn_dim"),
        "activation": read_activation(config.get("activation_function", "gelu"), "activation_function"),
        "norm": {"kind": "layer", "eps": 1e-5},
        "norm_placement": "post",
        "qk_norm": "none",
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "embedding_scale": width**0.5 if config.get("scale_embedding", False) else None,
        "dropout": dropout,
        "attention_dropout": config.get("attention_dropout", 0.0),
        "embedding_dropout": dropout,
        "tie_embeddings": True,
        "head_bias": headless not in (config.get("architectures") or []),
        **own,
    }
    return build(EncoderDecoderConfig, tree, where="config.json")


def _write_bart(config: ModelConfig) -> dict[str, Any]:
    return exact(
        said_once(config), _spell_bart(config, "bart", "BartForConditionalGeneration", "BartModel"), _read_bart
    )


def _write_marian(config: ModelConfig) -> dict[str, Any]:
    written = _spell_bart(config, "marian", "MarianMTModel", "MarianModel")
    assert isinstance(config, EncoderDecoderConfig)
    written["share_encoder_decoder_embeddings"] = config.share_embeddings
    return exact(said_once(config), written, _read_marian)


def _spell_bart(config: ModelConfig, model_type: str, architecture: str, headless: str) -> dict[str, Any]:
    assert isinstance(config, EncoderDecoderConfig)
    halves = {"encoder": config.encoder_layers, "decoder": config.num_layers}
    return {
        "architectures": [architecture if config.head_bias else headless],
        "model_type": model_type,
        **write_targets(config),
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "d_model": config.d_model,
        **{f"{half}_layers": layers for half, layers in halves.items()},
        **{f"{half}_ffn_dim": config.d_ff for half in halves},
        **{f"{half}_attention_heads": config.num_heads for half in halves},
        "activation_function": WRITTEN.get(config.activation, config.activation),
        "scale_embedding": config.embedding_scale is not None,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "tie_word_embeddings": True,
    }


BART_BLOCK: Mapping[str, tuple[str, ...]] = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.out_proj",),
    "attention_norm": ("self_attn_layer_norm",),
    "mlp.up": ("fc1",),
    "mlp.down": ("fc2",),
    "mlp_norm": ("final_layer_norm",),
}
BART_CROSS: Mapping[str, tuple[str, ...]] = {
    "cross.query": ("encoder_attn.q_proj",),
    "cross.memory": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross.out": ("encoder_attn.out_proj",),
    "cross_norm": ("encoder_attn_layer_norm",),
}


def _bart_rules(config: ModelConfig) -> list[Rule]:
    """Every parameter in BART's names; a model without a head is saved without the prefix."""
    assert isinstance(config, EncoderDecoderConfig)
    prefix, rows = "model." if config.head_bias else "", config.vocab_size
    rules: list[Rule] = []
    if config.share_embeddings:
        rules.append(Rule("embedding.weight", (f"{prefix}shared.weight",), SAME))
    else:
        rules.append(Rule("source_embedding.weight", (f"{prefix}encoder.embed_tokens.weight",), SAME))
        rules.append(Rule("embedding.weight", (f"{prefix}decoder.embed_tokens.weight",), SAME))
    if config.head_bias:
        rules.append(Rule("head_bias", ("final_logits_bias",), Reshaped((rows,), (1, rows))))
    for half, num_layers in (("encoder", config.encoder_layers), ("decoder", config.num_layers)):
        if config.positions.kind == "learned":
            rules.append(Rule(f"{half}.positions.weight", (f"{prefix}{half}.embed_positions.weight",), SAME))
        modules: dict[str, tuple[str, ...]] = {}
        if config.embedding_norm:
            modules[f"{half}.embedding_norm"] = (f"{prefix}{half}.layernorm_embedding",)
        block = {**BART_BLOCK, **BART_CROSS} if half == "decoder" else BART_BLOCK
        for layer in range(num_layers):
            for ours, names in block.items():
                modules[f"{half}.blocks.{layer}.{ours}"] = tuple(f"{prefix}{half}.layers.{layer}.{n}" for n in names)
        for ours, names in modules.items():
            layout = Stacked((config.d_model,) * len(names)) if len(names) > 1 else SAME
            rules += [Rule(f"{ours}.{end}", tuple(f"{n}.{end}" for n in names), layout) for end in ("weight", "bias")]
    return rules


BART = ForeignFamily(
    kind="encoder_decoder",
    architectures=("BartForConditionalGeneration", "BartModel"),
    read_config=_read_bart,
    write_config=_write_bart,
    rules=_bart_rules,
    prefix="model.",
    copies={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight",
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    },
    ignored=(r"(model\.)?(encoder|decoder)\.version",),
    beside=said_of_targets,
)

MARIAN = ForeignFamily(
    kind="encoder_decoder",
    architectures=("MarianMTModel", "MarianModel"),
    read_config=_read_marian,
    write_config=_write_marian,
    rules=_bart_rules,
    prefix="model.",
    copies=BART.copies,
    ignored=(r"(model\.)?(encoder|decoder)\.(version|embed_positions\.weight)",),
    beside=said_of_targets,
)
