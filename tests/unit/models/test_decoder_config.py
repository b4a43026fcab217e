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
}
every_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@every_variant
def test_parameters_are_counted_right(changes):
    config = DecoderConfig(**{**BASE, **changes})
    model = build_model(config)
    assert config.num_parameters == sum(p.numel() for p in model.parameters())
    tables = {id(p) for p in model.lookup_parameters()}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in tables]
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
    blocks_and_head = 6 * (config.num_matrix_parameters + config.vocab_size * config.d_model)
    assert config.train_flops_per_token - blocks_and_head == 3 * forward


def test_the_dial_orders_the_family():
    family = [decoder_sized(depth, vocab_size=1000, max_seq_len=64) for depth in (1, 2, 4, 8)]
    for config in family:
        assert config.d_model == 64 * config.num_layers == config.num_heads * config.head_dim
        assert config.d_ff == 4 * config.d_model
    counts = [config.num_parameters for config in family]
    assert counts == sorted(counts)


@pytest.mark.parametrize(
    "changes", [{"num_kv_heads": 3}, {"head_dim": 5}, {"dropout": 1.0}, {"num_layers": 0}], ids=str
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
