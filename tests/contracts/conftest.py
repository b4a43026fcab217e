"""Tiny models of every architecture in the catalog, with weights that matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stepwell.models import (
    MODELS,
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    FeedForwardConfig,
    LanguageModel,
    ModelConfig,
    NGram,
    NGramConfig,
    RecurrentConfig,
    RecurrentEncoderDecoderConfig,
    build_model,
)
from stepwell.models.catalog import model_class
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

MASK_ID = 1

SIZES = {"vocab_size": 258, "max_seq_len": 16, "num_layers": 2, "d_model": 32, "head_dim": 8, "d_ff": 48}

SMALL = {"vocab_size": 258, "max_seq_len": 16}

RECURRENT = {**SMALL, "num_layers": 2, "d_model": 64, "d_embedding": 64}

BIASES = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}

HALVES = {**SIZES, "num_heads": 4, "num_kv_heads": 4, "qk_norm": "none", "embedding_norm": False}

T5 = {"positions": {"kind": "relative", "num_buckets": 8, "max_distance": 12}, "attention_scale": 1.0}

POST_NORM = {"norm": {"kind": "layer"}, "norm_placement": "post", "activation": "silu"}

MARIAN = {**POST_NORM, "positions": {"kind": "sinusoidal", "layout": "halves"}}

BART = {**POST_NORM, "positions": {"kind": "learned", "offset": 2}, "head_bias": True}

BERT = {"positions": {"kind": "learned", "offset": 2}, "num_segments": 2, "qk_norm": "none", "tie_embeddings": True}

BERT_HEAD = {"dense": True, "dense_bias": True, "bias": True}

MODERN_BERT = {
    "layer_pattern": ("full", "window"),
    "window": 6,
    "positions": {"kind": "rotary", "theta": 160_000.0, "window_theta": 10_000.0},
    "first_attention_norm": False,
}

GPT = {"norm": {"kind": "layer"}, "activation": "gelu", **BIASES}

GPT_NEOX = {
    **GPT,
    "parallel": True,
    "positions": {"kind": "rotary", "ratio": 0.5},
    "layer_pattern": ("full", "unrotated"),
}

GEMMA = {
    "norm": {"unit_offset": True},
    "norm_placement": "sandwich",
    "activation": "gelu_tanh",
    "gated": True,
    "window": 5,
    "layer_pattern": ("window", "full"),
    "positions": {"kind": "rotary", "window_theta": 100.0},
    "attention_scale": 0.25,
    "attention_softcap": 5.0,
    "logit_softcap": 20.0,
    "embedding_scale": 32**0.5,
    "embedding_norm": False,
}

OLMO = {"norm_placement": "output", "qk_norm": "projection", "embedding_norm": False, "gated": True}

EXPERTS = {"experts": {"num_experts": 4, "d_ff": 24, "dense_layers": (0,)}, "positions": {"kind": "alibi"}}

TINY: dict[str, dict[str, ModelConfig]] = {
    "decoder": {
        "multi-head": DecoderConfig(**SIZES, num_heads=4, num_kv_heads=4),
        "grouped": DecoderConfig(
            **SIZES, num_heads=4, num_kv_heads=2, activation="silu", gated=True, tie_embeddings=True
        ),
        "multi-query": DecoderConfig(**SIZES, num_heads=4, num_kv_heads=1, qk_norm="none", **BIASES, dropout=0.5),
        "as GPT-2": DecoderConfig(**HALVES, **GPT, positions={"kind": "learned"}, tie_embeddings=True),
        "as GPT-NeoX": DecoderConfig(**HALVES, **GPT_NEOX),
        "as Gemma": DecoderConfig(**SIZES, num_heads=4, num_kv_heads=2, **GEMMA),
        "as OLMo, experts": DecoderConfig(**SIZES, num_heads=4, num_kv_heads=2, **OLMO, **EXPERTS),
        "post-norm": DecoderConfig(**HALVES, **POST_NORM, gated=True, positions={"kind": "sinusoidal"}),
        "sinks, no positions": DecoderConfig(
            **SIZES, num_heads=4, num_kv_heads=2, sinks=True, positions={"kind": "none"}
        ),
    },
    "encoder": {
        "plain": EncoderConfig(**SIZES, num_heads=4, num_kv_heads=2, mask_id=MASK_ID),
        "as BERT": EncoderConfig(
            **SIZES, num_heads=4, num_kv_heads=4, mask_id=MASK_ID, **POST_NORM, **BERT, **BIASES, head=BERT_HEAD
        ),
        "as ModernBERT": EncoderConfig(
            **SIZES, num_heads=4, num_kv_heads=4, mask_id=MASK_ID, **MODERN_BERT, gated=True, dropout=0.5
        ),
    },
    "encoder_decoder": {
        "uneven": EncoderDecoderConfig(
            **SIZES, num_heads=4, num_kv_heads=2, num_encoder_layers=1, tie_embeddings=True, activation="gelu"
        ),
        "as Marian": EncoderDecoderConfig(**HALVES, **MARIAN),
        "as T5": EncoderDecoderConfig(**HALVES, **T5, head_scale=0.5),
        "as BART": EncoderDecoderConfig(**HALVES, **BART, **BIASES, dropout=0.5),
    },
    "lstm": {
        "tied": RecurrentConfig(kind="lstm", **RECURRENT, tie_embeddings=True, dropout=0.5),
        "one layer": RecurrentConfig(kind="lstm", **{**RECURRENT, "num_layers": 1, "d_embedding": 24}, head_bias=False),
    },
    "gru": {"plain": RecurrentConfig(kind="gru", **{**RECURRENT, "d_embedding": 24}, dropout=0.5)},
    "recurrent_encoder_decoder": {
        "additive": RecurrentEncoderDecoderConfig(**RECURRENT, attention="additive"),
        "general": RecurrentEncoderDecoderConfig(**RECURRENT, attention="general", tie_embeddings=True, dropout=0.5),
    },
    "feed_forward": {  # contexts that reach back to the beginning of the window
        "plain": FeedForwardConfig(**SMALL, context_size=16, d_embedding=16, d_hidden=64),
        "direct": FeedForwardConfig(**SMALL, context_size=20, d_embedding=16, d_hidden=64, direct=True, dropout=0.5),
    },
    "ngram": {"long": NGramConfig(**SMALL, order=17)},
}
"""For each kind of the catalog its variants. Whoever adds an architecture adds a row, and gets the suite for it."""


VARIANTS = [f"{kind}/{variant}" for kind in MODELS for variant in TINY.get(kind, {"no row in TINY": None})]


def build_tiny(name: str) -> LanguageModel:
    """A variant in evaluation mode; no matrix in it is zero or small, and what counts has counted."""
    kind, _, variant = name.partition("/")
    model = build_model(TINY[kind][variant], seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3, generator=generator)
    if isinstance(model, NGram):
        texts = torch.randint(0, 258, (300, 16), generator=generator)
        met = torch.randint(0, 258, (1, 16), generator=torch.Generator().manual_seed(0))  # as test_decoding makes them
        model.fit([*texts.numpy(), torch.cat((met, met[:, :1]), dim=1).numpy()])
    return model.eval()


@pytest.fixture(scope="module", params=VARIANTS)
def tiny_model(request: pytest.FixtureRequest) -> LanguageModel:
    """A model of the catalog."""
    return build_tiny(request.param)


@pytest.fixture(scope="module", params=[name for name in VARIANTS if model_class(name.partition("/")[0]).is_causal])
def causal_model(request: pytest.FixtureRequest) -> LanguageModel:
    """A model of the catalog that predicts the next token from those before it."""
    return build_tiny(request.param)


@pytest.fixture(
    scope="module", params=[name for name in VARIANTS if MODELS[name.partition("/")[0]].learns == "gradient"]
)
def learner(request: pytest.FixtureRequest) -> LanguageModel:
    """A model of the catalog that learns by gradients."""
    return build_tiny(request.param)


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    """258 tokens: the end of text, the mask and the bytes."""
    return train_tokenizer([], ByteBPEConfig(vocab_size=258, special_tokens=("<|mask|>",)))


@pytest.fixture(scope="session")
def tiny_config() -> Callable[[str], ModelConfig]:
    """A function from a kind to the config of its first variant."""
    return lambda kind: next(iter(TINY[kind].values()))


RATES: dict[str, dict[str, float]] = {
    "sgd": {"learning_rate": 0.3},
    "adam": {"learning_rate": 0.01},
    "adamw": {"learning_rate": 0.01},
    "adafactor": {"learning_rate": 0.03},
    "lion": {"learning_rate": 0.002},
    "muon": {"learning_rate": 0.02, "adamw_learning_rate": 0.01},
    "schedule_free_adamw": {"learning_rate": 0.01},
}
"""For each kind of optimizer the rates of a tiny run. Whoever adds an optimizer adds a row."""


@pytest.fixture(scope="session")
def rates_of() -> Callable[[str], dict[str, str | float]]:
    """A function from a kind of optimizer to what the training section says of it, by dotted path."""

    def rates(kind: str) -> dict[str, str | float]:
        return {"optimizer.kind": kind, **{f"optimizer.{name}": rate for name, rate in RATES[kind].items()}}

    return rates
