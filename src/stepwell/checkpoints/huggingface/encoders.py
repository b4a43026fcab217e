"""Encoders of transformers: BERT, RoBERTa and ModernBERT.

BERT and RoBERTa differ in names, and in where their tables of positions begin; ModernBERT has rotary positions and
windows. Which token hides another one is written in no config: the tokenizer says it. This file leaves out those that
share weights between layers or factorise them (ALBERT), are taught by another model's fakes (ELECTRA), or have a class
of their own for fewer layers (DistilBERT): they are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.checkpoints.huggingface.decoders import read_layers, shared_width, write_layers
from stepwell.checkpoints.huggingface.exactness import exact
from stepwell.checkpoints.huggingface.family import ForeignConfig, ForeignFamily, Rule
from stepwell.checkpoints.huggingface.layouts import SAME, Stacked
from stepwell.checkpoints.huggingface.spelling import (
    WRITTEN,
    needed,
    read_activation,
    read_rotary,
    refuse,
    require,
    write_rotary,
)
from stepwell.config import build
from stepwell.errors import CheckpointError
from stepwell.models import EncoderConfig, ModelConfig

WITH_HEAD = ("BertForMaskedLM", "BertForPreTraining", "RobertaForMaskedLM", "ModernBertForMaskedLM")

BERT_SIZES = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
"""What the classes of BERT and RoBERTa take for what a config leaves out."""

MODERN_SIZES = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
    "max_position_embeddings": 8192,
}

THETAS = {"full_attention": ("global_rope_theta", 160_000.0), "sliding_attention": ("local_rope_theta", 10_000.0)}
"""Kinds of ModernBERT's layers: what older files call their base, and the base when none is given."""


def _has_head(config: ForeignConfig, first: str) -> bool:
    """Whether a config is of a class that predicts tokens; one that names no class is of the first."""
    return bool(set(config.get("architectures") or [first]) & set(WITH_HEAD))


def _shape(config: ForeignConfig) -> dict[str, Any]:
    """Sizes that all encoders spell alike."""
    heads = needed(config, "num_attention_heads")
    return {
        "vocab_size": needed(config, "vocab_size"),
        "num_layers": needed(config, "num_hidden_layers"),
        "d_model": needed(config, "hidden_size"),
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": shared_width(config),
        "d_ff": needed(config, "intermediate_size"),
        "qk_norm": "none",
    }


def _read_bert(config: ForeignConfig) -> EncoderConfig:
    return _read_bert_like(config, "BertForMaskedLM", offset=0)


def _read_roberta(config: ForeignConfig) -> EncoderConfig:
    padding = config.get("pad_token_id", 1)
    if not isinstance(padding, int) or padding < 0:
        raise refuse("pad_token_id", padding, "a token id: positions are counted from behind it")
    return _read_bert_like(config, "RobertaForMaskedLM", offset=padding + 1)


def _read_bert_like(config: ForeignConfig, first: str, offset: int) -> EncoderConfig:
    """A config in BERT's spelling.

    Args:
        config: theirs.
        first: the class of a config that names none.
        offset: rows of the table of positions before that of the first token.
    """
    require(config, {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"})
    require(config, {"tie_word_embeddings": True})  # else there are two biases, one of which does nothing
    config = {**BERT_SIZES, **config}
    activation, has_head = read_activation(config.get("hidden_act", "gelu")), _has_head(config, first)
    dropout = config.get("hidden_dropout_prob", 0.1)
    tree: dict[str, Any] = {
        **_shape(config),
        "max_seq_len": needed(config, "max_position_embeddings") - offset,
        "num_segments": needed(config, "type_vocab_size"),
        "activation": activation,
        "norm": {"kind": "layer", "eps": config.get("layer_norm_eps", 1e-12)},
        "norm_placement": "post",
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "positions": {"kind": "learned", "offset": offset},
        "dropout": dropout,
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
        "embedding_dropout": dropout,
        "head": None,
        "tie_embeddings": True,
        "pooler": not has_head,
    }
    if has_head:
        theirs = "gelu" if first.startswith("Roberta") else activation
        tree["head"] = {"dense": True, "activation": theirs, "dense_bias": True, "bias": True}
    return build(EncoderConfig, tree, where="config.json")


def _write_bert(config: ModelConfig) -> dict[str, Any]:
    return exact(config, _spell_bert_like(config, "Bert") | {"model_type": "bert"}, _read_bert)


def _write_roberta(config: ModelConfig) -> dict[str, Any]:
    written = _spell_bert_like(config, "Roberta")
    assert isinstance(config, EncoderConfig)
    offset = config.positions.offset if config.positions.kind == "learned" else 0
    if offset < 1 or config.mask_id == offset - 1:
        token = f"positions.offset is {offset}: token {offset - 1}, which is then padding, is "
        raise CheckpointError(
            f"{written['architectures'][0]}: does not fit", got=token + ("no token" if offset < 1 else "the mask")
        )
    written |= {"model_type": "roberta", "pad_token_id": offset - 1}
    written["max_position_embeddings"] += offset
    return exact(config, written, _read_roberta)


def _spell_bert_like(config: ModelConfig, name: str) -> dict[str, Any]:
    assert isinstance(config, EncoderConfig)
    return {
        "architectures": [f"{name}Model" if config.head is None else f"{name}ForMaskedLM"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.d_ff,
        "type_vocab_size": max(1, config.num_segments),
        "hidden_act": WRITTEN.get(config.activation, config.activation),
        "layer_norm_eps": config.norm.eps,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
    }


def _read_modern(config: ForeignConfig) -> EncoderConfig:
    require(config, {"attention_dropout": 0.0, "mlp_dropout": 0.0})
    config = {**MODERN_SIZES, **config}
    every, layers = config.get("global_attn_every_n_layers") or 3, needed(config, "num_hidden_layers")
    types = config.get("layer_types") or [
        "sliding_attention" if layer % every else "full_attention" for layer in range(layers)
    ]
    attention_bias = config.get("attention_bias", False)
    tree: dict[str, Any] = {
        **_shape(config),
        **read_layers(config, types, config.get("local_attention", 128)),
        "max_seq_len": needed(config, "max_position_embeddings"),
        "activation": read_activation(config.get("hidden_activation", "gelu"), "hidden_activation"),
        "gated": True,
        "norm": {"kind": "layer", "eps": config.get("norm_eps", 1e-5), "bias": config.get("norm_bias", False)},
        "first_attention_norm": False,
        "qkv_bias": attention_bias,
        "out_bias": attention_bias,
        "mlp_bias": config.get("mlp_bias", False),
        "positions": _read_modern_positions(config),
        "embedding_dropout": config.get("embedding_dropout", 0.0),
        "head": None,
        "tie_embeddings": config.get("tie_word_embeddings", True),
    }
    if _has_head(config, "ModernBertForMaskedLM"):
        tree["head"] = {
            "dense": True,
            "activation": read_activation(config.get("classifier_activation", "gelu"), "classifier_activation"),
            "dense_bias": config.get("classifier_bias", False),
            "bias": config.get("decoder_bias", True),
        }
    return build(EncoderConfig, tree, where="config.json")


def _read_modern_positions(config: ForeignConfig) -> dict[str, Any]:
    """One base for layers that see everything, another for those with a window."""
    given = config.get("rope_parameters") or {}
    both: dict[str, dict[str, Any]] = {}
    for kind, (older, theta) in THETAS.items():
        scaled = {**(given.get(kind) or {}), **(config.get("rope_scaling") or {})}
        alone = {**config, "rope_scaling": None, "rope_parameters": scaled}
        both[kind] = read_rotary(alone, theta=config.get(older) or theta)
    window = both["sliding_attention"]
    if "scaling" in window:
        raise refuse("rope_parameters.sliding_attention", window["scaling"]["kind"], "default")
    return {**both["full_attention"], "window_theta": window["theta"]}


def _write_modern(config: ModelConfig) -> dict[str, Any]:
    assert isinstance(config, EncoderConfig)
    window_theta = getattr(config.positions, "window_theta", None)
    full = write_rotary(config.positions)
    head = config.head
    written: dict[str, Any] = {
        "architectures": ["ModernBertModel" if head is None else "ModernBertForMaskedLM"],
        "model_type": "modernbert",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.d_ff,
        "hidden_activation": WRITTEN.get(config.activation, config.activation),
        "norm_eps": config.norm.eps,
        "norm_bias": config.norm.bias,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "layer_types": write_layers(config),
        "embedding_dropout": config.embedding_dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }
    if full:
        sliding = {"rope_type": "default", "rope_theta": window_theta or full["rope_theta"]}
        written["rope_parameters"] = {"full_attention": full, "sliding_attention": sliding}
        written |= {"global_rope_theta": full["rope_theta"], "local_rope_theta": sliding["rope_theta"]}
    if config.window is not None:
        written["local_attention"] = config.window
    every = len(config.layer_pattern)
    if config.layer_pattern == ("full", *["window"] * (every - 1)):  # as versions before layer_types say it
        written["global_attn_every_n_layers"] = every
    if head is not None:
        written |= {
            "classifier_activation": WRITTEN.get(head.activation, head.activation),
            "classifier_bias": head.dense_bias,
            "decoder_bias": head.bias,
        }
    return exact(config, written, _read_modern)


BERT_BLOCK: Mapping[str, tuple[str, ...]] = {
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.out": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "mlp.up": ("intermediate.dense",),
    "mlp.down": ("output.dense",),
    "mlp_norm": ("output.LayerNorm",),
}


def _bert_rules(config: ModelConfig) -> list[Rule]:
    head = {"head.dense": "cls.predictions.transform.dense", "head.norm": "cls.predictions.transform.LayerNorm"}
    return _bert_like_rules(config, "bert.", head, "cls.predictions.bias")


def _roberta_rules(config: ModelConfig) -> list[Rule]:
    head = {"head.dense": "lm_head.dense", "head.norm": "lm_head.layer_norm"}
    return _bert_like_rules(config, "roberta.", head, "lm_head.bias")


def _bert_like_rules(config: ModelConfig, prefix: str, head: Mapping[str, str], bias: str) -> list[Rule]:
    """Every parameter in BERT's names; a model without a head is saved without the prefix.

    Args:
        config: ours.
        prefix: of everything but the head.
        head: our modules of the head, and theirs.
        bias: theirs of the head.
    """
    assert isinstance(config, EncoderConfig)
    prefix = prefix if config.head is not None else ""
    tables = {"embedding": "word", "body.positions": "position", "segments": "token_type"}
    rules = [
        Rule(f"{ours}.weight", (f"{prefix}embeddings.{name}_embeddings.weight",), SAME) for ours, name in tables.items()
    ]
    modules: dict[str, tuple[str, ...]] = {"body.embedding_norm": (f"{prefix}embeddings.LayerNorm",)}
    for layer in range(config.num_layers):
        for ours, names in BERT_BLOCK.items():
            modules[f"body.blocks.{layer}.{ours}"] = tuple(f"{prefix}encoder.layer.{layer}.{name}" for name in names)
    if config.head is not None:
        modules |= {ours: (name,) for ours, name in head.items()}
        rules.append(Rule("head.bias", (bias,), SAME))
    if config.pooler:
        modules["pooler"] = (f"{prefix}pooler.dense",)
    for ours, names in modules.items():
        layout = Stacked((config.d_model,) * 3) if len(names) > 1 else SAME
        rules += [Rule(f"{ours}.{end}", tuple(f"{n}.{end}" for n in names), layout) for end in ("weight", "bias")]
    return rules


def _modern_rules(config: ModelConfig) -> list[Rule]:
    assert isinstance(config, EncoderConfig)
    prefix = "model." if config.head is not None else ""
    norm, attention = config.norm.bias, config.qkv_bias
    modules = {  # ours -> theirs, and whether it has a bias
        "embedding": (f"{prefix}embeddings.tok_embeddings", False),
        "body.embedding_norm": (f"{prefix}embeddings.norm", norm),
        "body.norm": (f"{prefix}final_norm", norm),
    }
    for layer in range(config.num_layers):
        ours, theirs = f"body.blocks.{layer}.", f"{prefix}layers.{layer}."
        if layer:
            modules[f"{ours}attention_norm"] = (f"{theirs}attn_norm", norm)
        modules |= {
            f"{ours}attention.qkv": (f"{theirs}attn.Wqkv", attention),
            f"{ours}attention.out": (f"{theirs}attn.Wo", attention),
            f"{ours}mlp_norm": (f"{theirs}mlp_norm", norm),
            f"{ours}mlp.up": (f"{theirs}mlp.Wi", config.mlp_bias),
            f"{ours}mlp.down": (f"{theirs}mlp.Wo", config.mlp_bias),
        }
    rules: list[Rule] = []
    if config.head is not None:
        modules |= {"head.dense": ("head.dense", config.head.dense_bias), "head.norm": ("head.norm", norm)}
        if config.head.bias:
            rules.append(Rule("head.bias", ("decoder.bias",), SAME))
        if not config.tie_embeddings:
            rules.append(Rule("head.table.weight", ("decoder.weight",), SAME))
    for ours, (theirs, has_bias) in modules.items():
        ends = ("weight", "bias") if has_bias else ("weight",)
        rules += [Rule(f"{ours}.{end}", (f"{theirs}.{end}",), SAME) for end in ends]
    return rules


OLDER = {r"LayerNorm\.gamma$": "LayerNorm.weight", r"LayerNorm\.beta$": "LayerNorm.bias"}

UNUSED = (
    r"(.*\.)?embeddings\.(position|token_type)_ids",
    r"(bert\.|roberta\.)pooler\..*",
    r"cls\.seq_relationship\..*",
)
"""Numbers of places; and what BERT was trained with beside its masks, which predicts no token."""

BERT = ForeignFamily(
    kind="encoder",
    architectures=("BertForMaskedLM", "BertModel", "BertForPreTraining"),
    read_config=_read_bert,
    write_config=_write_bert,
    rules=_bert_rules,
    prefix="bert.",
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    ignored=UNUSED,
    older=OLDER,
)

ROBERTA = ForeignFamily(
    kind="encoder",
    architectures=("RobertaForMaskedLM", "RobertaModel"),
    read_config=_read_roberta,
    write_config=_write_roberta,
    rules=_roberta_rules,
    prefix="roberta.",
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    ignored=UNUSED,
    older=OLDER,
)

MODERN_BERT = ForeignFamily(
    kind="encoder",
    architectures=("ModernBertForMaskedLM", "ModernBertModel"),
    read_config=_read_modern,
    write_config=_write_modern,
    rules=_modern_rules,
    prefix="model.",
    copies={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
)
