"""Bengio's model against a window written out, and that it learns."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from stepwell.models import FeedForward, FeedForwardConfig, build_model, feed_forward_sized
from stepwell.models.decoder_config import decoder_sized

BASE = {"vocab_size": 50, "max_seq_len": 16, "context_size": 3, "d_embedding": 4, "d_hidden": 6}


def built(**changes) -> FeedForward:
    model = build_model(FeedForwardConfig(**{**BASE, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    return model


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("context_size", [1, 3, 9])
@torch.no_grad()
def test_it_is_the_formula_of_the_paper(direct, context_size):
    """y = b + W x + U tanh(d + H x), equation 1 of Bengio et al."""
    model = built(direct=direct, context_size=context_size)
    tokens = torch.randint(0, 50, (1, 7), generator=torch.Generator().manual_seed(0))
    logits = model(tokens)[0]
    for at in range(7):
        seen = [model.embedding.weight[tokens[0, place]] if place >= 0 else model.beginning
                for place in range(at - context_size + 1, at + 1)]  # fmt: skip
        x = torch.cat(seen)
        y = model.head_bias + model.head.weight[:, :6] @ (model.up.bias + model.up.weight @ x).tanh()
        if direct:
            y += model.head.weight[:, 6:] @ x
        torch.testing.assert_close(logits[at], y, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_it_sees_its_context_and_nothing_before():
    model, tokens = built(), torch.arange(10)[None]
    changed = tokens.clone()
    changed[0, 4] = 40
    differs = (model(changed) != model(tokens)).any(dim=-1)[0].tolist()
    assert differs == [False] * 4 + [True] * 3 + [False] * 3


@pytest.mark.slow
def test_it_learns_real_text(learned_share):
    config = FeedForwardConfig(vocab_size=256, max_seq_len=64, context_size=5, d_embedding=16, d_hidden=64)
    assert learned_share(build_model(config)) < 0.8


def test_the_dial_has_the_matrices_of_a_decoder():
    for depth in (1, 2, 4):
        decoder = decoder_sized(depth, vocab_size=1000, max_seq_len=64)
        assert feed_forward_sized(depth, vocab_size=1000, max_seq_len=64).num_matrix_parameters == (
            decoder.num_matrix_parameters
        )


@pytest.mark.parametrize("direct", [False, True])
def test_operations_are_two_for_each_weight_that_multiplies(direct):
    config = FeedForwardConfig(**BASE, direct=direct)
    assert config.train_flops_per_token == 6 * (12 * 6 + 50 * (6 + 12 * direct))


@pytest.mark.parametrize("changes", [{"context_size": 0}, {"d_hidden": 0}, {"dropout": 1.0}], ids=str)
def test_shapes_that_cannot_be_are_refused(changes):
    with pytest.raises(ValidationError):
        FeedForwardConfig(**{**BASE, **changes})


def test_another_state_is_refused():
    with pytest.raises(TypeError, match="extends LastTokens, not a list"):
        built().hidden(torch.zeros(1, 1, dtype=torch.int64), state=[])
