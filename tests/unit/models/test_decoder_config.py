"""What the config foretells is what the built module has and does."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from stepwell.models import DecoderConfig, build_model, decoder_sized

BASE = {"vocab_size": 50, "max_seq_len": 16, "num_layers": 3, "d_model": 24, "num_heads": 4, "num_kv_heads": 2}
BASE |= {"head_dim": 6, "d_ff": 40}
BIASES = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
VARIANTS = {
    "default": {},
    "swiglu": {"activation": "silu", "gated": True},
    "biases": BIASES,
    "swiglu, biases": {"activation": "silu", "gated": True, **BIASES},
    "tied": {"tie_embeddings": True},
    "no qk-norm": {"qk_norm": "none"},
    "multi-query": {"num_kv_heads": 1},
    "one layer": {"num_layers": 1, "num_kv_heads": 4},
    "learned positions, layer norms": {"positions": {"kind": "learned", "offset": 2}, "norm": {"kind": "layer"}},
    "layer norms without biases": {"norm": {"kind": "layer", "bias": False}, "embedding_norm": False},
    "side by side": {"parallel": True, "positions": {"kind": "rotary", "ratio": 1 / 3}, **BIASES},
    "post-norm": {"norm_placement": "post", "positions": {"kind": "sinusoidal"}},
    "sandwich": {"norm_placement": "sandwich", "norm": {"unit_offset": True}, "embedding_scale": 5.0},
    "output norms": {"norm_placement": "output", "qk_norm": "projection"},
    "experts": {"experts": {"num_experts": 5, "experts_per_token": 2, "d_ff": 16}, "positions": {"kind": "none"}},
    "experts, but in one layer": {
        "experts": {"num_experts": 3, "experts_per_token": 3, "d_ff": 8, "dense_layers": (1,)},
        "gated": True,
        "mlp_bias": True,
    },
}
WINDOWS = {"window": 4, "layer_pattern": ("window", "window", "full")}
UNFUSED = {
    "sinks, windows": {"sinks": True, **WINDOWS},
    "soft-caps": {"attention_softcap": 5.0, "logit_softcap": 5.0, "attention_scale": 1.0},
    "relative": {"positions": {"kind": "relative", "num_buckets": 8}},
    "alibi": {"positions": {"kind": "alibi"}},
}
"""Variants whose attention torch counts in other ways."""

every_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@pytest.mark.parametrize("changes", [*VARIANTS.values(), *UNFUSED.values()], ids=[*VARIANTS, *UNFUSED])
def test_parameters_are_counted_right(changes):
    config = DecoderConfig(**{**BASE, **changes})
    model = build_model(config)
    assert config.num_parameters == sum(p.numel() for p in model.parameters())
    tables = {id(p) for p in model.lookup_parameters()}
    matrices = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in tables]
    assert config.num_matrix_parameters == sum(p.numel() for p in matrices)


@every_variant
def test_operations_are_counted_right(changes):
    """torch counts every product of the built module; of attention it counts both halves, we count the causal one."""
    config = DecoderConfig(**{**BASE, **changes})
    model, rows = build_model(config), 2
    tokens = torch.zeros(rows, config.max_seq_len, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(tokens).sum().backward()
    counts = counter.get_flop_counts()["Global"]
    products = sum(count for name, count in counts.items() if "attention" not in str(name))
    per_token = products / tokens.numel()
    attention = 6 * config.num_layers * config.num_heads * config.head_dim * config.max_seq_len
    assert config.train_flops_per_token == per_token + attention


@every_variant
def test_attention_operations_are_half_of_the_full_square(changes):
    config = DecoderConfig(**{**BASE, **changes})
    queries = torch.zeros(1, config.num_heads, config.max_seq_len, config.head_dim)
    with FlopCounterMode(display=False) as counter:
        (queries @ queries.mT) @ queries
    forward = config.num_layers * counter.get_total_flops() / config.max_seq_len / 2
    active = sum(config.block_matrices(layer, active=True) for layer in range(config.num_layers))
    blocks_and_head = 6 * (active + config.vocab_size * config.d_model)
    assert config.train_flops_per_token - blocks_and_head == 3 * forward


def test_a_window_makes_attention_cheaper():
    """Queries of a layer with a window see 4 keys instead of 16 / 2, in two layers of three."""
    whole, windowed = DecoderConfig(**BASE), DecoderConfig(**BASE, **WINDOWS)
    assert whole.train_flops_per_token - windowed.train_flops_per_token == 2 * 12 * 4 * 6 * (8 - 4)


def test_experts_that_a_token_does_not_visit_cost_memory_alone():
    few, many = ({"experts": {"num_experts": number, "d_ff": 16}} for number in (2, 6))
    few, many = DecoderConfig(**BASE, **few), DecoderConfig(**BASE, **many)
    routers = 3 * 4 * 24
    assert many.num_parameters - few.num_parameters == 3 * 4 * 2 * 24 * 16 + routers
    assert many.train_flops_per_token - few.train_flops_per_token == 6 * routers


def test_the_dial_orders_the_family():
    family = [decoder_sized(depth, vocab_size=1000, max_seq_len=64) for depth in (1, 2, 4, 8)]
    for config in family:
        assert config.d_model == 64 * config.num_layers == config.num_heads * config.head_dim
        assert config.d_ff == 4 * config.d_model
    counts = [config.num_parameters for config in family]
    assert counts == sorted(counts)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_kv_heads": 3},
        {"head_dim": 5},
        {"dropout": 1.0},
        {"num_layers": 0},
        {"positions": {"kind": "rotary", "ratio": 0.5}},
        {"window": 4},
        {"layer_pattern": ("window",)},
        {"layer_pattern": ()},
        {"parallel": True, "norm_placement": "output"},
        {"experts": {"num_experts": 2, "experts_per_token": 3, "d_ff": 4}},
    ],
    ids=str,
)
def test_shapes_that_cannot_be_are_refused(changes):
    with pytest.raises(ValidationError):
        DecoderConfig(**{**BASE, **changes})


def test_a_seed_decides_the_weights():
    first, same, other = (build_model(DecoderConfig(**BASE), seed) for seed in (1, 1, 2))
    assert torch.equal(first.embedding.weight, same.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_the_first_prediction_is_uniform_and_every_block_begins_as_the_identity():
    model = build_model(DecoderConfig(**BASE))
    tokens = torch.arange(16)[None]
    assert not model(tokens).any()
    embedded = model.body.embedding_norm(model.embedding(tokens))
    torch.testing.assert_close(model.hidden(tokens), model.body.norm(embedded))
