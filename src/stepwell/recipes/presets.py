"""Recipes with a name: what a published architecture looks like, its size left to the budget where it can be.

A preset lies below everything that the user says: `defaults < preset < recipe file < flags < --set`. Those that say no
size take the one that is derived. What they leave out is how the originals were trained: optimizer, schedule and
initial weights stay stepwell's own, which were measured (benchmarks/LOG.md).
"""

from __future__ import annotations

from typing import Any

from stepwell.errors import ConfigError
from stepwell.models import ModelConfig, lstm_textbook, transformer_base


def _shape_of(config: ModelConfig) -> dict[str, Any]:
    """What a model is, text and window aside."""
    values = config.stated()
    return {"kind": config.kind, **{name: values[name] for name in values if name not in ("vocab_size", "max_seq_len")}}


_LLAMA = {
    "kind": "decoder",
    "activation": "silu",
    "gated": True,
    "norm": {"kind": "rms", "eps": 1e-5},
    "qk_norm": "none",
    "embedding_norm": False,
}
_BIASES = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
_LAYER_NORM = {"kind": "layer", "eps": 1e-5}

PRESETS: dict[str, dict[str, Any]] = {
    "llama": {"model": _LLAMA},
    "qwen3": {"model": {**_LLAMA, "norm": {"kind": "rms", "eps": 1e-6}, "qk_norm": "head"}},
    "gpt2": {
        "model": {
            "kind": "decoder",
            "activation": "gelu_tanh",
            "norm": _LAYER_NORM,
            "qk_norm": "none",
            "embedding_norm": False,
            "positions": {"kind": "learned"},
            "tie_embeddings": True,
            **_BIASES,
        }
    },
    "bert": {
        "model": {
            "kind": "encoder",
            "activation": "gelu",
            "norm": {"kind": "layer", "eps": 1e-12},
            "norm_placement": "post",
            "qk_norm": "none",
            "embedding_norm": True,
            "positions": {"kind": "learned"},
            "num_segments": 2,
            "head": {"dense": True, "activation": "gelu", "dense_bias": True, "bias": True},
            "tie_embeddings": True,
            **_BIASES,
        }
    },
    "t5": {
        "model": {
            "kind": "encoder_decoder",
            "activation": "gelu_tanh",
            "gated": True,
            "qk_norm": "none",
            "embedding_norm": False,
            "positions": {"kind": "relative"},
            "attention_scale": 1.0,
            "prompt": "source",
        },
        "training": {"objective": {"kind": "span_corruption"}},
    },
    "transformer-base": {
        "model": {**_shape_of(transformer_base()), "prompt": "continue"},
        "training": {"objective": {"kind": "causal", "loss": {"kind": "cross_entropy", "label_smoothing": 0.1}}},
    },
    "lstm-textbook": {
        "tokenizer": {"kind": "word", "vocab_size": lstm_textbook().vocab_size},
        "model": _shape_of(lstm_textbook()),
    },
    "bengio-2003": {
        "model": {"kind": "feed_forward", "context_size": 5, "d_embedding": 60, "d_hidden": 100, "direct": True}
    },
}
"""Name -> values of the recipe; a new preset is one row."""


def preset_values(name: str) -> dict[str, Any]:
    """The values of a preset.

    Raises:
        ConfigError: when there is none of this name.
    """
    if name not in PRESETS:
        raise ConfigError("preset: there is none of this name", got=name, wanted=f"one of {', '.join(PRESETS)}")
    return PRESETS[name]
