"""The shape of an encoder, and the published models as values of it."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from stepwell.models import EncoderConfig, build_model, decoder_sized, encoder_sized

SHAPE = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 2, "head_dim": 8, "d_ff": 24}
SIZES = {**SHAPE, "vocab_size": 30, "max_seq_len": 8}
BERT_HEAD = {"dense": True, "dense_bias": True, "bias": True}


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"tie_embeddings": True},
        {"head": None, "pooler": True},
        {"head": BERT_HEAD, "tie_embeddings": True, "num_segments": 2, "positions": {"kind": "learned", "offset": 2}},
        {"head": {"dense": True}, "first_attention_norm": False, "norm": {"kind": "layer", "bias": False}},
        {"norm": {"kind": "layer"}, "norm_placement": "sandwich", "first_attention_norm": False, "qkv_bias": True},
        {"positions": {"kind": "relative"}, "head": BERT_HEAD},
    ],
)
def test_parameters_are_foretold(choices):
    config = EncoderConfig(**{**SIZES, **choices})
    with torch.device("meta"):
        model = build_model(config)
    assert config.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    tables = {id(parameter) for parameter in model.lookup_parameters()}
    matrices = [one for one in model.parameters() if one.ndim > 1 and id(one) not in tables]
    assert config.num_matrix_parameters == sum(matrix.numel() for matrix in matrices)


@pytest.mark.parametrize("choices", [{}, {"head": BERT_HEAD, "tie_embeddings": True, "gated": True}])
def test_operations_are_counted_right(choices):
    """torch counts every product of the built module, those of attention aside."""
    config = EncoderConfig(**{**SIZES, **choices})
    model, tokens = build_model(config), torch.zeros(2, 8, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(tokens).sum().backward()
    counts = counter.get_flop_counts()["Global"]
    products = sum(count for name, count in counts.items() if "attention" not in str(name))
    attention = 12 * config.num_layers * config.num_heads * config.head_dim * config.max_seq_len
    assert config.train_flops_per_token == products / tokens.numel() + attention


def test_the_dial_gives_the_encoder_of_a_decoder():
    encoder, decoder = (sized(3, vocab_size=500, max_seq_len=64) for sized in (encoder_sized, decoder_sized))
    shared = set(type(decoder).model_fields) & set(type(encoder).model_fields) - {"kind", "tie_embeddings"}
    assert {name: getattr(encoder, name) for name in shared} == {name: getattr(decoder, name) for name in shared}
    assert encoder.num_parameters == decoder.num_parameters - 500 * 192  # one table for both ends
    assert encoder_sized(1, vocab_size=500, max_seq_len=64, mask_id=7).mask_id == 7


def test_it_looks_at_twice_as_much_as_a_decoder():
    encoder, decoder = (sized(3, vocab_size=500, max_seq_len=64) for sized in (encoder_sized, decoder_sized))
    attention = decoder.attention_flops(3, causal=True)
    assert encoder.train_flops_per_token == decoder.train_flops_per_token + attention


def test_a_state_holds_the_token_ids():
    assert EncoderConfig(**SIZES).state_bytes(3) == 3 * 8 * 8
    assert EncoderConfig(**SIZES).state_bytes(3, 5) == 3 * 5 * 8


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"mask_id": 30}, "mask_id below vocab_size"),
        ({"positions": {"kind": "alibi"}}, "other than alibi"),
        ({"norm_placement": "post", "first_attention_norm": False}, "no norm stands before attention"),
    ],
)
def test_what_does_not_fit_is_refused(choices, message):
    with pytest.raises(ValidationError, match=message):
        EncoderConfig(**{**SIZES, **choices})
