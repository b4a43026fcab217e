"""Tiny models of every architecture in the catalog, with weights that matter."""

from __future__ import annotations

import pytest
import torch

from stepwell.config import Config
from stepwell.models import MODELS, DecoderConfig, LanguageModel, build_model

SIZES = {"vocab_size": 257, "max_seq_len": 16, "num_layers": 2, "d_model": 32, "head_dim": 8, "d_ff": 48}

BIASES = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}

TINY: dict[str, dict[str, Config]] = {
    "decoder": {
        "multi-head": DecoderConfig(**SIZES, num_heads=4, num_kv_heads=4),
        "grouped": DecoderConfig(**SIZES, num_heads=4, num_kv_heads=2, activation="silu", gated=True, tie_embeddings=True),
        "multi-query": DecoderConfig(**SIZES, num_heads=4, num_kv_heads=1, qk_norm="none", **BIASES, dropout=0.5),
    },
}
"""For each kind of the catalog its variants. Whoever adds an architecture adds a row, and gets the suite for it."""


@pytest.fixture(
    scope="module",
    params=[f"{kind}/{variant}" for kind in MODELS for variant in TINY.get(kind, {"no row in TINY": None})],
)
def tiny_model(request: pytest.FixtureRequest) -> LanguageModel:
    """A model of the catalog in evaluation mode; no matrix in it is zero or small."""
    kind, _, variant = request.param.partition("/")
    model = build_model(TINY[kind][variant], seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()
