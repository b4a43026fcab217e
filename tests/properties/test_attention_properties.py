"""Attention of any setting against one query, one head and one key at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stepwell.nn import Attention, KeyRange, KeyValueCache, Rotary, key_range

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A setting of attention, and the shape of what it reads."""

    kv_heads: int
    groups: int
    head_dim: int
    rotary: bool
    causal: bool
    qk_norm: str
    unit_offset: bool
    projection_bias: bool
    scale: float | None
    softcap: float | None
    sinks: bool
    window: int | None
    bias: bool
    documents: tuple[int, ...] | None
    length: int
    seed: int

    @property
    def num_heads(self) -> int:
        return self.kv_heads * self.groups


@st.composite
def cases(draw: st.DrawFn) -> Case:
    length = draw(st.integers(1, 9))
    lengths = st.lists(st.integers(1, 4), min_size=1, max_size=5)
    documents = draw(st.none() | lengths)
    ids = None if documents is None else tuple(n for n, size in enumerate(documents) for _ in range(size))
    return Case(
        kv_heads=draw(st.integers(1, 3)),
        groups=draw(st.integers(1, 3)),
        head_dim=draw(st.sampled_from([2, 4, 8])),
        rotary=draw(st.booleans()),
        causal=draw(st.booleans()),
        qk_norm=draw(st.sampled_from(["none", "head", "projection"])),
        unit_offset=draw(st.booleans()),
        projection_bias=draw(st.booleans()),
        scale=draw(st.none() | st.floats(0.1, 2.0)),
        softcap=draw(st.none() | st.floats(0.5, 30.0)),
        sinks=draw(st.booleans()),
        window=draw(st.none() | st.integers(1, 10)),
        bias=draw(st.booleans()),
        documents=ids,
        length=length if ids is None else len(ids),
        seed=draw(st.integers(0, 1000)),
    )


def built(case: Case) -> tuple[Attention, Tensor, Tensor | None]:
    """The layer with weights of all kinds, its input of two rows, and the bias for its logits."""
    generator = torch.Generator().manual_seed(case.seed)
    attention = Attention(
        6,
        case.num_heads,
        case.kv_heads,
        case.head_dim,
        Rotary(case.head_dim, 32, theta=50.0) if case.rotary else None,
        causal=case.causal,
        qk_norm=case.qk_norm,
        unit_offset=case.unit_offset,
        qkv_bias=case.projection_bias,
        out_bias=case.projection_bias,
        scale=case.scale,
        softcap=case.softcap,
        sinks=case.sinks,
    ).requires_grad_(False)
    for parameter in attention.parameters():
        parameter.normal_(generator=generator)
    x = torch.randn(2, case.length, 6, generator=generator)
    shape = (1, case.num_heads, case.length, case.length)
    return attention, x, torch.randn(shape, generator=generator) if case.bias else None


def mask_of(case: Case, num_queries: int, num_keys: int) -> KeyRange | None:
    documents = None if case.documents is None else torch.tensor(case.documents)[None, :num_keys].expand(2, -1)
    return key_range(num_queries, num_keys, CPU, causal=case.causal, window=case.window, documents=documents)


def sees(case: Case, query: int, key: int) -> bool:
    """What the words say: the future, the window and the document."""
    if case.documents is not None and case.documents[query] != case.documents[key]:
        return False
    if not case.causal:
        return case.window is None or abs(query - key) <= case.window // 2
    return key <= query and (case.window is None or query - key < case.window)


def normalized(vector: Tensor, weight: Tensor, unit_offset: bool) -> Tensor:
    return vector / (vector.square().mean() + 1e-6).sqrt() * (weight + 1 if unit_offset else weight)


def turned(vector: Tensor, position: int) -> Tensor:
    """Rotary position, pair by pair."""
    half, result = len(vector) // 2, vector.clone()
    for pair in range(half):
        angle = position * 50.0 ** (-pair / half)
        first, second = float(vector[pair]), float(vector[pair + half])
        result[pair] = first * math.cos(angle) - second * math.sin(angle)
        result[pair + half] = second * math.cos(angle) + first * math.sin(angle)
    return result


def projected(case: Case, attention: Attention, token: Tensor, position: int) -> tuple[list[Tensor], ...]:
    """Queries of each head, keys and values of each key head, of one token."""
    rows = attention.qkv.weight @ token
    if case.projection_bias:
        rows = rows + attention.qkv.bias
    sizes = (case.num_heads, case.kv_heads, case.kv_heads)
    parts = rows.split([size * case.head_dim for size in sizes])
    if case.qk_norm == "projection":
        weights = (attention.query_norm.weight, attention.key_norm.weight)
        normed = [normalized(part, weight, case.unit_offset) for part, weight in zip(parts, weights, strict=False)]
        parts = (*normed, parts[2])
    queries, keys, values = (list(part.split(case.head_dim)) for part in parts)
    if case.qk_norm == "head":
        queries = [normalized(query, attention.query_norm.weight, case.unit_offset) for query in queries]
        keys = [normalized(key, attention.key_norm.weight, case.unit_offset) for key in keys]
    if case.rotary:
        queries, keys = ([turned(vector, position) for vector in vectors] for vectors in (queries, keys))
    return queries, keys, values


def one_by_one(case: Case, attention: Attention, x: Tensor, bias: Tensor | None) -> Tensor:
    """Attention written out for a query of a head, key by key, in plain numbers."""
    output = torch.empty_like(x)
    for row, tokens in enumerate(x.double()):
        memory = [projected(case, attention, token, position) for position, token in enumerate(tokens)]
        for query in range(case.length):
            heads = [head_output(case, attention, memory, query, head, bias) for head in range(case.num_heads)]
            answer = attention.out.weight @ torch.cat(heads)
            output[row, query] = answer + attention.out.bias if case.projection_bias else answer
    return output


def head_output(case: Case, attention: Attention, memory: list, query: int, head: int, bias: Tensor | None) -> Tensor:
    group = head // case.groups
    weights = {}
    for key in range(case.length):
        if not sees(case, query, key):
            continue
        logit = float(memory[query][0][head] @ memory[key][1][group])
        logit *= case.head_dim**-0.5 if case.scale is None else case.scale
        if case.softcap is not None:
            logit = case.softcap * math.tanh(logit / case.softcap)
        weights[key] = math.exp(logit + (0.0 if bias is None else float(bias[0, head, query, key])))
    total = sum(weights.values()) + (math.exp(float(attention.sinks[head])) if case.sinks else 0.0)
    return sum(weight / total * memory[key][2][group] for key, weight in weights.items())


def assert_same(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected.to(ours.dtype), atol=2e-4, rtol=1e-4)


@given(cases())
def test_attention_is_one_query_at_a_time(case):
    attention, x, bias = built(case)
    ours = attention(x, mask_of(case, case.length, case.length), bias=bias)
    assert_same(ours, one_by_one(case, attention.double(), x, bias))


@given(cases(), st.data())
def test_a_cache_changes_nothing_whatever_the_pieces(case, data):
    case = replace(case, causal=True)
    attention, x, bias = built(case)
    whole = attention(x, mask_of(case, case.length, case.length), bias=bias)
    cache = KeyValueCache(1, 2, case.kv_heads, case.length, case.head_dim, CPU, torch.float32)
    parts = []
    while cache.length < case.length:
        stop = data.draw(st.integers(cache.length + 1, case.length), label="stop")
        start = cache.length
        piece_bias = None if bias is None else bias[:, :, start:stop, :stop]
        parts.append(attention(x[:, start:stop], mask_of(case, stop - start, stop), cache, bias=piece_bias))
        cache.advance(stop - start)
    assert_same(torch.cat(parts, dim=1), whole)


@given(cases(), st.integers(0, 8))
def test_what_a_query_cannot_see_does_not_move_it(case, place):
    place = min(place, case.length - 1)
    attention, x, bias = built(case)
    mask = mask_of(case, case.length, case.length)
    moved = x.clone()
    moved[:, place] += 1
    before, after = attention(x, mask, bias=bias), attention(moved, mask, bias=bias)
    for query in range(case.length):
        if not sees(case, query, place):
            assert_same(after[:, query], before[:, query])
