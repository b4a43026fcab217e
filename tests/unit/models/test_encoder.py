"""What an encoder does in its own way: segments, no first norm, a head, and a mask behind a text."""

from __future__ import annotations

import pytest
import torch

from stepwell.errors import UsageError
from stepwell.models import Encoder, EncoderConfig, build_model

SHAPE = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 2, "head_dim": 8, "d_ff": 24}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def make(**others) -> Encoder:
    """No matrix in it is zero."""
    config = EncoderConfig(**{**SHAPE, "vocab_size": 30, "max_seq_len": 8, "mask_id": 1, **others})
    model = build_model(config, seed=0)
    assert isinstance(model, Encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.eval()


def tokens(*ids: int) -> torch.Tensor:
    return torch.tensor([ids])


@torch.no_grad()
def test_every_token_sees_both_sides():
    model, ids = make(), tokens(3, 4, 5, 6)
    for changed in (tokens(9, 4, 5, 6), tokens(3, 4, 5, 9)):
        moved = (model.hidden(changed) - model.hidden(ids)).abs().amax(-1)[0]
        assert (moved > 1e-4).all()


@torch.no_grad()
def test_a_segment_adds_its_vector():
    model, ids = make(num_segments=2), tokens(3, 4, 5)
    assert torch.equal(model.hidden(ids), model.hidden(ids, segment_ids=torch.zeros_like(ids)))
    both = torch.tensor([[0, 1, 1]])
    table = model.segments.weight
    with_second = model.body(model.embedding(ids) + torch.stack([table[0], table[1], table[1]]))
    torch.testing.assert_close(model.hidden(ids, segment_ids=both), with_second, **CLOSE)
    assert not torch.allclose(model.hidden(ids), with_second, atol=1e-3)


@torch.no_grad()
def test_the_first_attention_may_be_without_a_norm():
    with_norm, without = make(), make(first_attention_norm=False)
    missing = set(dict(with_norm.named_parameters())) - set(dict(without.named_parameters()))
    assert missing == {"body.blocks.0.attention_norm.weight"}
    with_norm.load_state_dict(without.state_dict(), strict=False)
    with_norm.body.blocks[0].attention_norm = torch.nn.Identity()
    assert torch.equal(with_norm.hidden(tokens(3, 4)), without.hidden(tokens(3, 4)))


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_the_head(tied):
    head = {"dense": True, "activation": "gelu", "dense_bias": True, "bias": True}
    model = make(head=head, tie_embeddings=tied, norm={"kind": "layer"})
    model.head.bias.normal_(generator=torch.Generator().manual_seed(0))
    hidden = model.hidden(tokens(3, 4, 5))
    dense = torch.nn.functional.gelu(hidden @ model.head.dense.weight.T + model.head.dense.bias)
    table = model.embedding.weight if tied else model.head.table.weight
    expected = torch.nn.functional.layer_norm(dense, (16,), eps=1e-6) @ table.T + model.head.bias
    torch.testing.assert_close(model.unembed(hidden), expected, **CLOSE)
    assert model.unembed(hidden).dtype == torch.float32


@torch.no_grad()
def test_a_fresh_model_finds_all_tokens_alike():
    config = EncoderConfig(**SHAPE, vocab_size=30, max_seq_len=8, mask_id=1)
    assert not build_model(config)(tokens(3, 4)).any()


@torch.no_grad()
def test_going_on_is_a_mask_behind_the_text():
    model, state = make(), make().start(1)
    for length, token in enumerate([3, 4, 5, 6, 7, 8, 9], start=1):
        logits = model.extend(state, tokens(token))
        read = torch.cat((state.token_ids, tokens(1)), dim=1)
        assert state.length == length
        torch.testing.assert_close(logits, model(read)[:, -1], **CLOSE)


@torch.no_grad()
def test_the_mask_takes_the_place_of_the_first_of_a_full_window():
    model = make()
    state = model.start(1)
    logits = model.extend(state, tokens(3, 4, 5, 6, 7, 8, 9, 10))
    assert state.length == 8
    torch.testing.assert_close(logits, model(tokens(4, 5, 6, 7, 8, 9, 10, 1))[:, -1], **CLOSE)
    with pytest.raises(UsageError, match="longer than the model can read"):
        model.extend(state, tokens(3))
    assert state.length == 8  # nothing was added


def test_a_text_beyond_the_window_is_refused():
    with pytest.raises(UsageError, match="longer than the model can read"):
        make().hidden(torch.zeros(1, 9, dtype=torch.int64))


def test_there_is_nothing_to_go_on_from():
    model = make()
    with pytest.raises(TypeError, match="whole texts"):
        model.hidden(tokens(3), state=model.start(1))


def test_a_model_that_knows_no_mask_does_not_go_on():
    model = make(mask_id=None)
    with pytest.raises(UsageError, match="mask_id"):
        model.extend(model.start(1), tokens(3))


def test_a_model_without_a_head_predicts_nothing():
    with pytest.raises(UsageError, match="predicts no tokens") as caught:
        make(head=None)(tokens(3))
    assert "embed" in (caught.value.do or "")


@torch.no_grad()
def test_without_a_pooler_the_first_state_stands():
    hidden = make().hidden(tokens(3, 4))
    assert torch.equal(make().pooled(hidden), hidden[:, 0])
    model = make(pooler=True)
    hidden = model.hidden(tokens(3, 4))
    expected = torch.tanh(hidden[:, 0] @ model.pooler.weight.T + model.pooler.bias)
    torch.testing.assert_close(model.pooled(hidden), expected, **CLOSE)
