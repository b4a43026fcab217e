"""Attention for half precision on a CPU, block by block.

torch's own kernel does its products in float32 there; this one leaves them to the bfloat16 matrix units. A block of
queries of a few heads sees all its keys at once, so the weights of one block are the only quadratic thing that is ever
held, and backward computes them again: memory grows with T + S (Rabe and Staats, 2021). It is one operator, so
`torch.compile` sees nothing of its loops. `scaled_dot_product_attention` is the truth that tests compare it with; this
file leaves out dropout, biases, soft-caps and sinks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

BLOCK_WEIGHTS = 24 * 128 * 256
"""Weights of a block, about: what the second-level cache of a core takes (measured: benchmarks/LOG.md)."""

BLOCK_QUERIES = 128


class _Plan(NamedTuple):
    """How the work is cut: whole heads of some rows at a time, and within them some queries at a time."""

    rows: int
    heads: int
    queries: int


def _plan(queries: Tensor, keys: Tensor) -> _Plan:
    """Blocks of about `BLOCK_WEIGHTS`."""
    num_heads, num_queries = queries.shape[1:3]
    num_kv_heads, num_keys = keys.shape[1:3]
    wide = min(num_queries, BLOCK_QUERIES, max(16, BLOCK_WEIGHTS // num_keys))
    heads = max(1, BLOCK_WEIGHTS // (wide * num_keys * (num_heads // num_kv_heads)))
    return _Plan(max(1, heads // num_kv_heads), min(heads, num_kv_heads), wide)


def _chunks(queries: Tensor, keys: Tensor, plan: _Plan) -> Iterator[tuple[slice, slice]]:
    """Rows and key heads of each chunk."""
    for row in range(0, len(queries), plan.rows):
        for head in range(0, keys.shape[1], plan.heads):
            yield slice(row, row + plan.rows), slice(head, head + plan.heads)


def _grouped(x: Tensor, keys: Tensor) -> Tensor:
    """(B, H, T, E) with the query heads of one key head together: (B, K, G, T, E)."""
    return x.unflatten(1, (keys.shape[1], -1))


def _weights(queries: Tensor, keys: Tensor, first: int, hidden: Tensor | None, triangle: Tensor) -> Tensor:
    """Weights of some queries.

    Args:
        queries: (N, G, t, E), scaled; N heads of keys, G query heads for each.
        keys: (N, s, E).
        first: the first of these queries.
        hidden: (b, 1, t, s) added to the logits of b rows, or None.
        triangle: added where nothing else hides the future; empty where it is not hidden.

    Returns:
        (N, G t, s).
    """
    groups, wide = queries.shape[1:3]
    logits = torch.bmm(queries.flatten(1, 2), keys.mT)
    if hidden is not None:
        logits.view(len(hidden), -1, groups, wide, logits.shape[-1]).add_(hidden[:, :, None])
    elif len(triangle):
        logits.view(-1, wide, logits.shape[-1])[..., first:].add_(triangle[:wide, :wide])
    return torch.softmax(logits, -1)


def _steps(plan: _Plan, num_queries: int, num_keys: int, causal: bool) -> Iterator[tuple[slice, slice]]:
    """Queries of each step, and the keys that they may see."""
    for first in range(0, num_queries, plan.queries):
        last = min(first + plan.queries, num_queries)
        yield slice(first, last), slice(0, last if causal else num_keys)


def _additive(mask: Tensor | None, queries: Tensor) -> Tensor | None:
    """(B or 1, 1, T, S) bool as what is added to logits."""
    return None if mask is None else queries.new_zeros(mask.shape).masked_fill_(~mask, float("-inf"))


def _triangle(queries: Tensor, causal: bool, mask: Tensor | None) -> Tensor:
    """What hides the future from the queries of one step, added to their logits; empty where a mask does."""
    size = min(queries.shape[2], BLOCK_QUERIES) if causal and mask is None else 0
    return queries.new_full((size, size), float("-inf")).triu_(1)


@torch.library.custom_op("stepwell::block_attention", mutates_args=())
def block_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """Weighted means of values.

    Args:
        queries: (B, H, T, E), bfloat16 on the CPU.
        keys: (B, K, S, E); K divides H.
        values: (B, K, S, E).
        mask: (B or 1, 1, T, S) bool, True where a query may look; each query sees something.
        causal: T = S and nothing after a query is seen. With a mask: the mask hides the future already.
        scale: multiplies the logits.

    Returns:
        (B, H, T, E), laid out as (B, T, H, E).
    """
    plan, hidden, triangle = _plan(queries, keys), _additive(mask, queries), _triangle(queries, causal, mask)
    attended = _like_queries(queries)
    grouped, out = _grouped(queries, keys), _grouped(attended, keys)
    for rows, heads in _chunks(queries, keys, plan):
        q = (grouped[rows, heads] * scale).flatten(0, 1)
        k, v = (x[rows, heads].flatten(0, 1) for x in (keys, values))
        for at, seen in _steps(plan, q.shape[2], k.shape[1], causal):
            part = None if hidden is None else hidden[rows if len(hidden) > 1 else slice(None), :, at, seen]
            weights = _weights(q[:, :, at], k[:, seen], at.start, part, triangle)
            place = out[rows, heads, :, at]
            place.copy_(torch.bmm(weights, v[:, seen]).view(place.shape))
    return attended


def _like_queries(queries: Tensor) -> Tensor:
    """Room for (B, H, T, E) whose heads of a position stand together, as the output projection reads them."""
    num_rows, num_heads, num_queries, width = queries.shape
    return queries.new_empty(num_rows, num_queries, num_heads, width).transpose(1, 2)


@torch.library.custom_op("stepwell::block_attention_backward", mutates_args=())
def _backward(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values; the weights are computed again."""
    plan, hidden, triangle = _plan(queries, keys), _additive(mask, queries), _triangle(queries, causal, mask)
    query_grad, key_grad, value_grad = _like_queries(queries), torch.empty_like(keys), torch.empty_like(values)
    grouped, grads, out = (_grouped(x, keys) for x in (queries, grad, query_grad))
    for rows, heads in _chunks(queries, keys, plan):
        q = (grouped[rows, heads] * scale).flatten(0, 1)
        g, k, v = (x[rows, heads].flatten(0, 1) for x in (grads, keys, values))
        into_k, into_v = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
        for at, seen in _steps(plan, q.shape[2], k.shape[1], causal):
            part = None if hidden is None else hidden[rows if len(hidden) > 1 else slice(None), :, at, seen]
            weights = _weights(q[:, :, at], k[:, seen], at.start, part, triangle)
            given, asked = g[:, :, at].flatten(1, 2), q[:, :, at].flatten(1, 2)
            into_v[:, seen] += torch.bmm(weights.mT, given)
            logit_grad = torch._softmax_backward_data(torch.bmm(given, v[:, seen].mT), weights, -1, weights.dtype)
            into_k[:, seen] += torch.bmm(logit_grad.mT, asked)
            place = out[rows, heads, :, at]
            torch.mul(torch.bmm(logit_grad, k[:, seen]).view(place.shape), scale, out=place)
        key_grad[rows, heads] = into_k.view(key_grad[rows, heads].shape)
        value_grad[rows, heads] = into_v.view(value_grad[rows, heads].shape)
    return query_grad, key_grad, value_grad


@block_attention.register_fake
def _(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    return _like_queries(queries)


@_backward.register_fake
def _(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _like_queries(queries), torch.empty_like(keys), torch.empty_like(values)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    queries, keys, values, mask, ctx.causal, ctx.scale = inputs
    ctx.save_for_backward(queries, keys, values, mask)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    queries, keys, values, mask = ctx.saved_tensors
    return *_backward(grad, queries, keys, values, mask, ctx.causal, ctx.scale), None, None, None


block_attention.register_autograd(_gradients, setup_context=_keep)
