"""Each layer against a plain version that says what it means."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stepwell.nn import MLP, Attention, KeyValueCache, RMSNorm, Rotary, key_range

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def turned(x: Tensor, start: int, theta: float) -> Tensor:
    """Rotary position as what it is: multiplication by exp(i * position * frequency)."""
    half = x.shape[-1] // 2
    frequencies = torch.tensor([theta ** (-2 * n / x.shape[-1]) for n in range(half)], dtype=torch.float64)
    positions = torch.arange(start, start + x.shape[-2], dtype=torch.float64)
    angles = positions[:, None] * frequencies
    numbers = torch.complex(x[..., :half].double(), x[..., half:].double())
    product = numbers * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((product.real, product.imag), dim=-1).float()


@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("theta", [100.0, 10_000.0])
def test_rotary_is_complex_multiplication(start, theta):
    x = drawn(2, 3, 9, 8)
    torch.testing.assert_close(Rotary(8, 16, theta)(x, start), turned(x, start, theta), **CLOSE)


def test_rotary_products_depend_on_the_distance_alone():
    rotary, query, key = Rotary(8, 64), drawn(1, 1, 1, 8), drawn(1, 1, 1, 8, seed=1)
    for distance in (0, 1, 5):
        products = [float((rotary(query, at + distance) * rotary(key, at)).sum()) for at in (0, 3, 40)]
        assert products == pytest.approx([products[0]] * 3, abs=1e-4)


def test_rotary_keeps_lengths_and_precision():
    x = drawn(1, 1, 16, 8)
    torch.testing.assert_close(Rotary(8, 16)(x).norm(dim=-1), x.norm(dim=-1), **CLOSE)
    assert Rotary(8, 16)(x.bfloat16()).dtype == torch.bfloat16


def test_rms_norm_is_its_formula():
    norm = RMSNorm(5, eps=0.1)
    with torch.no_grad():
        norm.weight.copy_(drawn(5, seed=3))
    x = drawn(2, 3, 5)
    torch.testing.assert_close(norm(x), x / ((x**2).mean(-1, keepdim=True) + 0.1).sqrt() * norm.weight, **CLOSE)


def test_rms_norm_is_computed_in_float32():
    x = (1 + drawn(4, 4096) / 100).bfloat16()
    norm = RMSNorm(4096)
    with torch.no_grad():
        norm.weight.copy_(drawn(4096, seed=1))
    assert norm(x).dtype == torch.bfloat16
    assert torch.equal(norm(x), norm(x.float()).bfloat16())


def explicit(attention: Attention, x: Tensor, allowed: Tensor) -> Tensor:
    """Attention written out: a softmax for each query of each head, over the keys that it may see."""
    heads, kv_heads, width = attention.num_heads, attention.num_kv_heads, attention.head_dim
    projected = attention.qkv(x)
    sizes = (heads * width, kv_heads * width, kv_heads * width)
    queries, keys, values = (part.unflatten(-1, (-1, width)) for part in projected.split(sizes, dim=-1))
    if attention.qk_norm == "head":
        queries, keys = attention.query_norm(queries), attention.key_norm(keys)
    elif attention.qk_norm == "projection":
        queries = attention.query_norm(queries.flatten(2)).unflatten(-1, (-1, width))
        keys = attention.key_norm(keys.flatten(2)).unflatten(-1, (-1, width))
    rows = []
    for row in range(x.shape[0]):
        outputs = []
        for head in range(heads):
            group = head // (heads // kv_heads)
            query = turned(queries[row, :, head], 0, 10_000.0)
            key = turned(keys[row, :, group], 0, 10_000.0)
            scores = (query @ key.T / math.sqrt(width)).masked_fill(~allowed[row], -math.inf)
            outputs.append(scores.softmax(-1) @ values[row, :, group])
        rows.append(torch.cat(outputs, dim=-1))
    return attention.out(torch.stack(rows))


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (6, 2), (4, 1), (1, 1)])
@pytest.mark.parametrize("qk_norm", ["head", "projection", "none"])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_attention_is_the_explicit_softmax(heads, kv_heads, qk_norm, bias):
    torch.manual_seed(0)
    attention = Attention(12, heads, kv_heads, 8, Rotary(8, 16), qk_norm=qk_norm, qkv_bias=bias, out_bias=bias)
    x, causal = drawn(3, 10, 12), torch.ones(10, 10, dtype=torch.bool).tril().expand(3, 10, 10)
    torch.testing.assert_close(attention(x), explicit(attention, x, causal), **CLOSE)
    documents = torch.tensor([[0] * 10, [0] * 4 + [1] * 6, [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]])
    allowed = torch.stack([causal[0] & (ids[:, None] == ids[None, :]) for ids in documents])
    mask = key_range(10, 10, x.device, causal=True, documents=documents)
    torch.testing.assert_close(attention(x, mask), explicit(attention, x, allowed), **CLOSE)


@pytest.mark.parametrize("chunks", [[10], [1] * 10, [4, 1, 5]], ids=str)
@torch.no_grad()
def test_attention_with_a_cache_is_attention_without(chunks):
    torch.manual_seed(0)
    attention = Attention(12, 4, 2, 8, Rotary(8, 16))
    x, cache = drawn(2, 10, 12), KeyValueCache(1, 2, 2, 12, 8, torch.device("cpu"), torch.float32)
    parts = []
    for piece in x.split(chunks, dim=1):
        parts.append(attention(piece, cache=cache))
        cache.advance(piece.shape[1])
    torch.testing.assert_close(torch.cat(parts, dim=1), attention(x), **CLOSE)


def test_attention_drops_weights_in_training_only():
    attention = Attention(12, 4, 2, 8, Rotary(8, 16), dropout=0.5)
    x = drawn(2, 10, 12)
    assert not torch.equal(attention.train()(x), attention(x))
    assert torch.equal(attention.eval()(x), attention(x))


def test_a_full_cache_says_so():
    cache = KeyValueCache(1, 1, 1, 4, 2, torch.device("cpu"), torch.float32)
    cache.append(0, drawn(1, 1, 3, 2), drawn(1, 1, 3, 2))
    cache.advance(3)
    with pytest.raises(IndexError, match="holds 4 positions, 5 were asked for"):
        cache.append(0, drawn(1, 1, 2, 2), drawn(1, 1, 2, 2))


@torch.no_grad()
def test_mlps_are_their_formulas():
    torch.manual_seed(0)
    x = drawn(2, 3, 6)
    relu2, swiglu = MLP(6, 10, "relu2", bias=True), MLP(6, 10, "silu", gated=True)
    up = x @ relu2.up.weight.T + relu2.up.bias
    torch.testing.assert_close(relu2(x), up.clamp(min=0) ** 2 @ relu2.down.weight.T + relu2.down.bias, **CLOSE)
    gate, value = x @ swiglu.up.weight[:10].T, x @ swiglu.up.weight[10:].T
    torch.testing.assert_close(swiglu(x), (gate * gate.sigmoid() * value) @ swiglu.down.weight.T, **CLOSE)
