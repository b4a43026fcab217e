"""What the config of an encoder-decoder foretells is what the built module has and does."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from stepwell.models import (
    EncoderDecoder,
    EncoderDecoderConfig,
    build_model,
    decoder_sized,
    encoder_decoder_sized,
    transformer_base,
)

BASE = {"vocab_size": 50, "max_seq_len": 16, "num_layers": 3, "d_model": 24, "num_heads": 4, "num_kv_heads": 2}
BASE |= {"head_dim": 6, "d_ff": 40}
POST_NORM = {"norm": {"kind": "layer"}, "norm_placement": "post", "embedding_norm": False}
VARIANTS = {
    "default": {},
    "uneven": {"num_encoder_layers": 1},
    "T5": {"positions": {"kind": "relative"}, "qk_norm": "none", "gated": True, "tie_embeddings": True},
    "BART": {**POST_NORM, "positions": {"kind": "learned", "offset": 2}, "qkv_bias": True, "out_bias": True,
             "mlp_bias": True, "head_bias": True},
    "two tables": {**POST_NORM, "positions": {"kind": "sinusoidal"}, "share_embeddings": False},
    "sandwich": {"norm_placement": "sandwich", "qk_norm": "projection", "sinks": True},
}  # fmt: skip
every_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@every_variant
def test_parameters_are_counted_right(changes):
    config = EncoderDecoderConfig(**{**BASE, **changes})
    model = build_model(config)
    assert config.num_parameters == sum(p.numel() for p in model.parameters())
    tables = {id(p) for p in model.lookup_parameters()}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in tables]
    assert config.num_matrix_parameters == sum(p.numel() for p in matrices)
    assert all(p.ndim == 2 for p in model.lookup_parameters())


@every_variant
def test_operations_are_counted_right(changes):
    """torch counts every product of chunks that are read and written; all but the last one of a text are read."""
    config = EncoderDecoderConfig(**{**BASE, **changes})
    model, rows = build_model(config), 2
    assert isinstance(model, EncoderDecoder)
    chunk = torch.zeros(rows, config.chunk_len, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model.unembed(model.decode(chunk, model.encode(chunk))).sum().backward()
    counts = counter.get_flop_counts()["Global"]
    products = sum(count for name, count in counts.items() if "attention" not in str(name) and "bmm" not in str(name))
    keys = config.chunk_len * (config.encoder_layers + config.num_layers) + config.chunk_len // 2 * config.num_layers
    attention = 12 * config.num_heads * config.head_dim * keys
    assert config.train_flops_per_token == products / chunk.numel() + attention


@every_variant
def test_activations_are_foretold_roughly(changes):
    config = EncoderDecoderConfig(**{**BASE, **changes, "max_seq_len": 64, "d_model": 96, "head_dim": 24, "d_ff": 384})
    model, kept = build_model(config), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point() and not isinstance(tensor, torch.nn.Parameter) and tensor.numel() > 96 * 384:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    tokens = torch.zeros(16, 64, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.hidden(tokens)
    measured = sum(kept.values()) / tokens.numel()
    assert 0.4 < measured / config.activations_per_token < 1


def test_the_dial_is_comparable_with_the_decoder_of_the_same_depth():
    for depth in range(1, 17):
        sizes = {"vocab_size": 1000, "max_seq_len": 64}
        config, decoder = encoder_decoder_sized(depth, **sizes), decoder_sized(depth, **sizes)
        assert config.num_matrix_parameters == pytest.approx(decoder.num_matrix_parameters, rel=0.12)
        assert config.encoder_layers + config.num_layers == max(2, depth)
        assert config.d_model == config.num_heads * config.head_dim


def test_the_base_model_has_the_size_of_the_paper():
    """Table 3 of "Attention Is All You Need": 65 million parameters."""
    assert transformer_base().num_parameters == pytest.approx(65e6, rel=0.04)


@pytest.mark.parametrize(
    "changes",
    [
        {"parallel": True},
        {"experts": {"num_experts": 2, "d_ff": 8}},
        {"start_ids": ()},
        {"start_ids": (50,)},
        {"num_encoder_layers": 0},
    ],
    ids=str,
)
def test_shapes_that_cannot_be_are_refused(changes):
    with pytest.raises(ValidationError):
        EncoderDecoderConfig(**{**BASE, **changes})
