"""The recurrent encoder-decoder: running text by chunks, and pairs with padding on whichever side."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from stepwell.models import RecurrentEncoderDecoder, RecurrentEncoderDecoderConfig, build_model
from stepwell.models.decoder_config import decoder_sized
from stepwell.models.recurrent_encoder_decoder_config import recurrent_encoder_decoder_sized
from stepwell.nn import RecurrentState

BASE = {"vocab_size": 50, "max_seq_len": 10, "d_embedding": 12, "d_model": 8, "num_layers": 2}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 50, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["additive", "general", "dot"])
def model(request: pytest.FixtureRequest) -> RecurrentEncoderDecoder:
    model = build_model(RecurrentEncoderDecoderConfig(**BASE, attention=request.param)).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


@torch.no_grad()
def test_running_text_is_read_chunk_by_chunk(model):
    """Each chunk of five tokens is a target whose source is the chunk before; the first has nothing to look up."""
    token_ids = tokens(1, 13)
    hidden = model.hidden(token_ids)
    first, _ = model.decoder(model.embedding(token_ids[:, :5]))
    expected = [model.joint(torch.cat((torch.zeros_like(first), first), dim=-1)).tanh()]
    expected += [model.decode(token_ids[:, at : at + 5], model.encode(token_ids[:, at - 5 : at])) for at in (5, 10)]
    torch.testing.assert_close(hidden, torch.cat(expected, dim=1), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_of_a_source_changes_nothing(model, side):
    source, target = tokens(1, 4), tokens(1, 6, seed=1)
    alone = model.unembed(model.decode(target, model.encode(source)))
    before, after = {"left": (3, 0), "right": (0, 3), "both": (2, 1)}[side]
    padded = torch.cat((tokens(1, before, seed=2), source, tokens(1, after, seed=3)), dim=1)
    mask = torch.tensor([[False] * before + [True] * 4 + [False] * after])
    other = tokens(1, 7, seed=4)
    batch = model.encode(torch.cat((padded, other)), torch.cat((mask, torch.ones(1, 7, dtype=torch.bool))))
    together = model.unembed(model.decode(torch.cat((target, tokens(1, 6, seed=5))), batch))
    torch.testing.assert_close(together[:1], alone, **CLOSE)


@torch.no_grad()
def test_a_target_written_step_by_step_is_the_target_at_once(model):
    source = model.encode(tokens(2, 4))
    target = tokens(2, 6, seed=1)
    state = RecurrentState(source.memory)
    steps = [model.decode(target[:, at : at + 1], source, state) for at in range(6)]
    torch.testing.assert_close(torch.cat(steps, dim=1), model.decode(target, source), **CLOSE)
    assert state.length == 6


@torch.no_grad()
def test_the_source_matters_beyond_what_the_decoder_begins_with(model):
    """Otherwise the attention could be dead."""
    source, target = model.encode(tokens(1, 4)), tokens(1, 3)
    other = source._replace(values=source.values.flip(2))
    assert not torch.allclose(model.decode(target, source), model.decode(target, other), **CLOSE)


@pytest.mark.slow
def test_it_learns_real_text(learned_share):
    config = RecurrentEncoderDecoderConfig(vocab_size=256, max_seq_len=32, d_embedding=48, d_model=48, num_layers=1)
    assert learned_share(build_model(config)) < 0.8


def test_the_dial_has_the_matrices_of_a_decoder():
    for depth in (1, 2, 4, 8):
        decoder = decoder_sized(depth, vocab_size=1000, max_seq_len=64)
        sized = recurrent_encoder_decoder_sized(depth, vocab_size=1000, max_seq_len=64)
        assert sized.num_matrix_parameters == pytest.approx(decoder.num_matrix_parameters, rel=0.1)


def test_operations_are_two_for_each_weight_that_multiplies_and_for_the_attention():
    config = RecurrentEncoderDecoderConfig(**BASE)
    encoder = 2 * 4 * 4 * ((12 + 4) + (8 + 4))
    decoder = 4 * 8 * ((12 + 8) + (8 + 8))
    attention, joint = 8 * 8, 2 * 8 * 8
    assert config.num_matrix_parameters == encoder + decoder + attention + joint
    lookups = 2 * 5 * 8  # scores and mean over the five tokens before
    assert config.train_flops_per_token == 6 * (config.num_matrix_parameters + 50 * 8 + lookups)


@pytest.mark.parametrize("changes", [{"d_model": 7}, {"attention": "hard"}, {"max_seq_len": 3}], ids=str)
def test_shapes_that_cannot_be_are_refused(changes):
    with pytest.raises(ValidationError):
        RecurrentEncoderDecoderConfig(**{**BASE, **changes})


def test_tied_embeddings_of_another_width_are_refused_by_name():
    with pytest.raises(ValidationError, match="d_embedding that is d_model where tie_embeddings"):
        RecurrentEncoderDecoderConfig(**BASE, tie_embeddings=True)


def test_another_state_is_refused(model):
    with pytest.raises(TypeError, match="extends a ChunkState, not a list"):
        model.hidden(tokens(1, 1), state=[])
