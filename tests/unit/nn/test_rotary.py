"""Rotary positions: tables on demand, part of the channels, and what every scaling promises."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from stepwell.nn import DynamicScaling, LinearScaling, Llama3Scaling, Rotary, RotaryScaling, YarnScaling
from stepwell.nn.rotary_scaling import plain_frequencies


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole_tables(x: Tensor, start: int, max_seq_len: int, theta: float) -> Tensor:
    """The turning with tables of all positions made at once."""
    size = x.shape[-1]
    frequencies = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float64), frequencies)[start : start + x.shape[-2]]
    cos, sin = angles.cos().float().to(x.dtype), angles.sin().float().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("width", "max_seq_len", "theta"), [(8, 16, 100.0), (64, 300, 10_000.0), (16, 3000, 5e5)])
def test_tables_on_demand_change_no_bit(width, max_seq_len, theta, precision):
    rotary = Rotary(width, max_seq_len, theta)
    for start, length in ((0, 5), (3, 9), (0, max_seq_len), (max_seq_len - 1, 1), (0, 5)):
        x = drawn(2, 3, length, width).to(precision)
        assert torch.equal(rotary(x, start), whole_tables(x, start, max_seq_len, theta))


def test_a_long_window_costs_nothing_until_it_is_used():
    rotary = Rotary(128, 131_072)
    assert not list(rotary.buffers())
    rotary(drawn(1, 1, 300, 128))
    assert sum(table.numel() for table in rotary._tables) == 2 * 512 * 64  # type: ignore[union-attr]
    rotary(drawn(1, 1, 1, 128), start=131_071)
    assert rotary._tables[0].shape[0] == 131_072  # type: ignore[index]


def test_past_the_last_position_says_so():
    rotary = Rotary(8, 16)
    rotary(drawn(1, 1, 4, 8), start=12)
    with pytest.raises(IndexError, match="reach 16 tokens, 17 were asked for"):
        rotary(drawn(1, 1, 5, 8), start=12)


@pytest.mark.parametrize(("width", "ratio"), [(7, 1.0), (8, 0.4), (8, 0.1)])
def test_only_pairs_can_be_turned(width, ratio):
    with pytest.raises(ValueError, match=r"turn pairs of channels.* choose an even number"):
        Rotary(width, 16, ratio=ratio)


def test_a_ratio_turns_the_first_channels_only():
    x = drawn(2, 3, 9, 16)
    turned = Rotary(16, 32, ratio=0.25)(x, start=2)
    assert torch.equal(turned[..., :4], Rotary(4, 32)(x[..., :4], start=2))
    assert torch.equal(turned[..., 4:], x[..., 4:])


def test_tables_made_while_predicting_serve_training():
    rotary = Rotary(8, 16)
    with torch.inference_mode():
        rotary(drawn(1, 1, 4, 8))
    x = drawn(1, 1, 4, 8).requires_grad_()
    rotary(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())  # turning keeps lengths


def test_a_model_without_memory_and_a_cast_one_have_exact_tables():
    x = drawn(1, 1, 9, 8)
    with torch.device("meta"):
        rotary = Rotary(8, 16)
        assert rotary(torch.empty(1, 1, 9, 8)).is_meta
    assert torch.equal(rotary.to_empty(device="cpu")(x), Rotary(8, 16)(x))
    assert torch.equal(copy.deepcopy(rotary).bfloat16().float()(x), Rotary(8, 16)(x))


@pytest.mark.slow
def test_a_compiled_one_is_the_same_while_its_tables_grow():
    rotary = Rotary(8, 10_000)
    compiled = torch.compile(rotary, backend="aot_eager", fullgraph=True)
    for length, start in ((5, 0), (300, 1), (1100, 7), (5, 0)):
        x = drawn(1, 2, length, 8)
        torch.testing.assert_close(compiled(x, start), Rotary(8, 10_000)(x, start))


SCALINGS: list[RotaryScaling] = [
    LinearScaling(4.0),
    DynamicScaling(4.0, 1024),
    Llama3Scaling(8.0, 1.0, 4.0, 1024),
    YarnScaling(4.0, 1024),
]


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: type(scaling).__name__)
def test_scalings_slow_down_and_not_beyond_the_factor(scaling):
    plain, scaled = plain_frequencies(64, 10_000.0), scaling.frequencies(64, 10_000.0, 4096)
    assert bool((scaled <= plain).all())
    assert bool((scaled.diff() < 0).all())
    if not isinstance(scaling, DynamicScaling):  # it reaches further than its factor
        assert bool((scaled >= plain / scaling.factor * (1 - 1e-12)).all())


@pytest.mark.parametrize(
    "scaling", [Llama3Scaling(8.0, 1.0, 4.0, 1024), YarnScaling(8.0, 1024)], ids=["llama3", "yarn"]
)
def test_ramps_keep_the_fast_and_slow_the_slow(scaling):
    plain, scaled = plain_frequencies(64, 10_000.0), scaling.frequencies(64, 10_000.0, 8192)
    assert scaled[0] == plain[0]
    assert float(scaled[-1]) == pytest.approx(float(plain[-1]) / 8)
    assert ((scaled > plain / 8 * 1.001) & (scaled < plain * 0.999)).sum() > 2


def test_dynamic_scaling_is_none_within_the_original_length():
    assert torch.equal(DynamicScaling(4.0, 1024).frequencies(64, 1e4, 1024), plain_frequencies(64, 1e4))
    assert float(DynamicScaling(4.0, 1024).frequencies(64, 1e4, 1025)[-1]) < float(plain_frequencies(64, 1e4)[-1])
    assert torch.equal(DynamicScaling(4.0, 1024).frequencies(2, 1e4, 4096), torch.ones(1, dtype=torch.float64))


def test_linear_scaling_is_positions_divided():
    x = drawn(1, 1, 1, 8)
    scaled = Rotary(8, 64, scaling=LinearScaling(4.0))
    torch.testing.assert_close(scaled(x, start=20), Rotary(8, 64)(x, start=5))


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (YarnScaling(1.0, 1024), 1.0),
        (YarnScaling(4.0, 1024), 0.1 * math.log(4) + 1),
        (YarnScaling(4.0, 1024, attention_factor=1.5), 1.5),
        (YarnScaling(4.0, 1024, mscale=2.0, mscale_all_dim=1.0), (0.2 * math.log(4) + 1) / (0.1 * math.log(4) + 1)),
        (LinearScaling(4.0), 1.0),
    ],
)
def test_the_length_factor_lengthens_what_is_turned(scaling, expected):
    x = drawn(1, 1, 5, 8)
    lengths = Rotary(8, 16, scaling=scaling)(x).norm(dim=-1) / x.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, expected))
