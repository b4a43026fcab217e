"""Tables and biases of positions against those of transformers' models."""

from __future__ import annotations

import pytest
import torch

from stepwell.nn import LearnedPositions, RelativeBias, alibi_bias, alibi_slopes, sinusoidal_positions

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(("length", "width"), [(1, 2), (64, 16), (513, 31)])
def test_sines_first_is_marian(length, width):
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    theirs = MarianSinusoidalPositionalEmbedding(length, width).create_weight()
    torch.testing.assert_close(sinusoidal_positions(length, width, "halves"), theirs, atol=1e-7, rtol=0)


@pytest.mark.parametrize("heads", [*range(1, 18), 40, 112])
def test_alibi_is_bloom(heads):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 30, dtype=torch.int64), heads, torch.float32)
    places = torch.arange(30)
    ours = alibi_bias(alibi_slopes(heads), places, places)[0]
    # theirs counts from the first key: a constant for each query, which the softmax takes out
    torch.testing.assert_close(ours - ours[:, :, :1], theirs.expand(-1, 30, -1), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (16, 1000), (64, 128)])
def test_relative_bias_is_t5(bidirectional, buckets, distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    config = transformers.T5Config(
        d_model=8,
        d_kv=4,
        num_heads=3,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=distance,
        is_decoder=not bidirectional,
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = RelativeBias(buckets, distance, 3, bidirectional=bidirectional)
    ours.table.load_state_dict(theirs.relative_attention_bias.state_dict())
    offsets = torch.arange(-2000, 2001)
    assert torch.equal(
        ours.buckets(offsets), theirs._relative_position_bucket(offsets, bidirectional, buckets, distance)
    )
    assert torch.equal(ours(torch.arange(40), torch.arange(40)), theirs.compute_bias(40, 40))
    assert torch.equal(ours(torch.arange(25, 28), torch.arange(28)), theirs.compute_bias(3, 28, past_seen_tokens=25))


@torch.no_grad()
def test_learned_positions_are_bart():
    from transformers.models.bart.modeling_bart import BartLearnedPositionalEmbedding

    theirs = BartLearnedPositionalEmbedding(20, 6)
    ours = LearnedPositions(20, 6, offset=2)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours(torch.arange(3, 12))[None], theirs(torch.zeros(1, 9), past_key_values_length=3))
