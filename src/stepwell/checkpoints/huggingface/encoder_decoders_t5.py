"""T5 and mT5: RMS norms before each part, relative positions, no biases (Raffel et al., 2020; Xue et al., 2021).

The first T5 scales its last hidden states and ties the output to the embeddings; later ones do neither. Whether the
output has a table of its own, the config does not say: transformers looks into the weights, and so does this file. It
leaves out dropout inside the MLP, which decides nothing once a model is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stepwell.checkpoints.huggingface.encoder_decoders import (
    read_layers,
    read_targets,
    said_of_targets,
    said_once,
    write_targets,
)
from stepwell.checkpoints.huggingface.exactness import exact
from stepwell.checkpoints.huggingface.family import ForeignConfig, ForeignFamily, Rule
from stepwell.checkpoints.huggingface.layouts import SAME, Stacked
from stepwell.checkpoints.huggingface.spelling import needed, read_activation, refuse
from stepwell.config import build
from stepwell.models import EncoderDecoderConfig, ModelConfig

UNTIED = "lm_head_of_its_own"
"""A field that no file has: whether the output matrix of a T5 is another one than the embeddings."""

OUTPUT = "lm_head.weight"
TABLES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""One table under three names; a file may have each, or any of them."""

T5_SIZES = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
MT5_SIZES = {**T5_SIZES, "vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6}


def _beside_t5(tensors: Mapping[str, Tensor], generation: Mapping[str, Any]) -> dict[str, Any]:
    """The same; and the output is tied to the embeddings unless the weights say otherwise, as transformers has it."""
    said = said_of_targets(tensors, generation)
    tables = [name for name in TABLES if name in tensors]
    if OUTPUT in tensors and tables and not torch.equal(tensors[OUTPUT], tensors[tables[0]]):
        said[UNTIED] = True
    return said


def _read_t5(config: ForeignConfig) -> EncoderDecoderConfig:
    config = {**T5_SIZES, "feed_forward_proj": "relu", **config}
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return _read_t5_like(config, needed(config, "d_model") ** -0.5 if scaled else None)


def _read_mt5(config: ForeignConfig) -> EncoderDecoderConfig:
    return _read_t5_like({**MT5_SIZES, "feed_forward_proj": "gated-gelu", **config}, None)


def _read_t5_like(config: ForeignConfig, head_scale: float | None) -> EncoderDecoderConfig:
    """A config in T5's spelling; its sequences have no end, so their length is that of its training."""
    gated, activation = _read_t5_mlp(config)
    heads, dropout = needed(config, "num_heads"), config.get("dropout_rate", 0.1)
    encoder = needed(config, "num_layers")
    tree: dict[str, Any] = {
        **read_targets(config, default=config.get("pad_token_id") or 0),
        **read_layers(encoder, config.get("num_decoder_layers") or encoder),
        "vocab_size": needed(config, "vocab_size"),
        "max_seq_len": config.get("n_positions") or 512,
        "d_model": needed(config, "d_model"),
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": needed(config, "d_kv"),
        "d_ff": needed(config, "d_ff"),
        "activation": activation,
        "gated": gated,
        "norm": {"kind": "rms", "eps": config.get("layer_norm_epsilon", 1e-6)},
        "qk_norm": "none",
        "attention_scale": 1.0,
        "positions": {
            "kind": "relative",
            "num_buckets": needed(config, "relative_attention_num_buckets"),
            "max_distance": needed(config, "relative_attention_max_distance"),
        },
        "embedding_norm": False,
        "dropout": dropout,
        "attention_dropout": dropout,
        "embedding_dropout": dropout,
        "tie_embeddings": not config.get(UNTIED, False),
        "head_scale": head_scale,
    }
    return build(EncoderDecoderConfig, tree, where="config.json")


def _read_t5_mlp(config: ForeignConfig) -> tuple[bool, str]:
    """Whether the MLP is gated, and its activation.

    Raises:
        CheckpointError: for a projection that is spelled in another way, or an activation that we do not have.
    """
    spelled = str(config["feed_forward_proj"])
    kind, _, name = spelled.rpartition("-")
    if kind not in ("", "gated"):
        raise refuse("feed_forward_proj", spelled, "an activation, or gated- and an activation")
    name = "gelu_new" if spelled == "gated-gelu" else name
    gated = config.get("is_gated_act")
    name = config.get("dense_act_fn") or name
    return kind == "gated" if gated is None else gated, read_activation(name, "feed_forward_proj")


def _write_t5(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, EncoderDecoderConfig)
    written = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", **_spell_t5(config)}
    scaled = config.head_scale is not None
    written["scale_decoder_outputs"] = scaled
    written["tie_word_embeddings"] = scaled or config.tie_embeddings
    return _exact_t5(config, written, _read_t5)


def _write_mt5(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, EncoderDecoderConfig)
    written = {"architectures": ["MT5ForConditionalGeneration"], "model_type": "mt5", **_spell_t5(config)}
    return _exact_t5(config, written | {"tie_word_embeddings": config.tie_embeddings}, _read_mt5)


def _exact_t5(config: EncoderDecoderConfig, written: dict[str, Any], read: Any) -> dict[str, Any]:
    return exact(said_once(config), written, lambda theirs: read({**theirs, UNTIED: not config.tie_embeddings}))


def _spell_t5(config: EncoderDecoderConfig) -> dict[str, Any]:
    positions = config.positions
    activation = {"gelu_tanh": "gelu_new"}.get(config.activation, config.activation)
    if config.gated:
        activation = "gated-gelu" if activation == "gelu_new" else f"gated-{activation}"
    written = {
        **write_targets(config),
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "num_layers": config.encoder_layers,
        "num_decoder_layers": config.num_layers,
        "d_model": config.d_model,
        "num_heads": config.num_heads,
        "d_kv": config.head_dim,
        "d_ff": config.d_ff,
        "feed_forward_proj": activation,
        "layer_norm_epsilon": config.norm.eps,
        "dropout_rate": config.dropout,
    }
    if positions.kind == "relative":
        written["relative_attention_num_buckets"] = positions.num_buckets
        written["relative_attention_max_distance"] = positions.max_distance
    return written


def _t5_rules(config: ModelConfig) -> list[Rule]:
    assert isinstance(config, EncoderDecoderConfig)
    inner, width = config.num_heads * config.head_dim, config.d_ff
    rules = [Rule("embedding.weight", ("shared.weight",), SAME)]
    if not config.tie_embeddings:
        rules.append(Rule("head.weight", (OUTPUT,), SAME))
    for half, num_layers in (("encoder", config.encoder_layers), ("decoder", config.num_layers)):
        first = f"{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        rules.append(Rule(f"{half}.positions.table.weight", (first,), SAME))
        rules.append(Rule(f"{half}.norm.weight", (f"{half}.final_layer_norm.weight",), SAME))
        for layer in range(num_layers):
            ours, theirs = f"{half}.blocks.{layer}.", f"{half}.block.{layer}.layer."
            parts: dict[str, tuple[str, ...]] = {
                "attention_norm": ("0.layer_norm",),
                "attention.qkv": tuple(f"0.SelfAttention.{name}" for name in "qkv"),
                "attention.out": ("0.SelfAttention.o",),
            }
            if half == "decoder":
                parts |= {
                    "cross_norm": ("1.layer_norm",),
                    "cross.query": ("1.EncDecAttention.q",),
                    "cross.memory": ("1.EncDecAttention.k", "1.EncDecAttention.v"),
                    "cross.out": ("1.EncDecAttention.o",),
                }
            last = f"{2 if half == 'decoder' else 1}."
            up = ("wi_0", "wi_1") if config.gated else ("wi",)
            parts |= {
                "mlp_norm": (f"{last}layer_norm",),
                "mlp.up": tuple(f"{last}DenseReluDense.{name}" for name in up),
                "mlp.down": (f"{last}DenseReluDense.wo",),
            }
            for name, names in parts.items():
                rows = width if name == "mlp.up" else inner
                layout = Stacked((rows,) * len(names)) if len(names) > 1 else SAME
                rules.append(Rule(f"{ours}{name}.weight", tuple(f"{theirs}{one}.weight" for one in names), layout))
    return rules


T5 = ForeignFamily(
    kind="encoder_decoder",
    architectures=("T5ForConditionalGeneration",),
    read_config=_read_t5,
    write_config=_write_t5,
    rules=_t5_rules,
    copies=dict.fromkeys((*TABLES[1:], OUTPUT), TABLES[0]),
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    beside=_beside_t5,
)

MT5 = ForeignFamily(
    kind="encoder_decoder",
    architectures=("MT5ForConditionalGeneration",),
    read_config=_read_mt5,
    write_config=_write_mt5,
    rules=_t5_rules,
    copies=T5.copies,
    ignored=T5.ignored,
    beside=_beside_t5,
)
