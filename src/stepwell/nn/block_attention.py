"""Attention on a CPU, block by block.

torch's own kernel does its products in float32 there; this one leaves them to the matrix units of the precision it is
given. A block of queries of a few heads sees all its keys at once, so the weights of one block are the only quadratic
thing that is ever held, and backward computes them again: memory grows with T + S (Rabe and Staats, 2021). Where a
query has few keys their weights are kept for it instead. Keys that no query of a block may see are left out of it. It
is one operator, so `torch.compile` sees nothing of its loops. `scaled_dot_product_attention` is the truth that tests
compare with; this file leaves out dropout, biases, soft-caps and sinks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

BLOCK_WEIGHTS = 24 * 128 * 256
"""Weights of a block, about: what the second-level cache of a core takes (measured: benchmarks/LOG.md)."""

BLOCK_QUERIES = 128

KEPT_KEYS = 256
"""Weights are kept for the backward where a query has at most so many keys (measured: benchmarks/LOG.md)."""


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


class _Sight:
    """What the queries of a step may see.

    Args:
        queries: (B, H, T, E).
        num_keys: S.
        causal: hide the future; only without a range.
        first: (1 or B, T) or None, as in `KeyRange`.
        last: likewise.
    """

    def __init__(self, queries: Tensor, num_keys: int, causal: bool, first: Tensor | None, last: Tensor | None) -> None:
        self.num_queries, self.num_keys, self.causal = queries.shape[2], num_keys, causal
        if first is not None and last is not None and _is_causal(first, last, num_keys):
            first, last, self.causal = None, None, True
        self.first, self.last = first, last
        size = min(self.num_queries, BLOCK_QUERIES) if self.causal and first is None else 0
        self.future = queries.new_full((size, size), float("-inf")).triu_(1)

    def steps(self, plan: _Plan, rows: slice) -> Iterator[tuple[slice, slice, Tensor | None]]:
        """Queries of each step, the keys that they see between them, and which of those a query does not.

        The last is (1 or b, t, s) bool, or None where `hide` knows by itself.
        """
        for begin in range(0, self.num_queries, plan.queries):
            at = slice(begin, min(begin + plan.queries, self.num_queries))
            if self.first is None or self.last is None:
                yield at, slice(0, at.stop if self.causal else self.num_keys), None
                continue
            rows = rows if len(self.first) > 1 else slice(None)
            first, last = self.first[rows, at, None], self.last[rows, at, None]
            seen = slice(int(first.min()), int(last.max()) + 1)
            keys = torch.arange(seen.start, seen.stop)
            yield at, seen, (keys < first) | (keys > last)

    def hide(self, logits: Tensor, at: slice, hidden: Tensor | None) -> None:
        """Let logits (N, G t, s) of a step be minus infinity where a query may not look."""
        wide = at.stop - at.start
        if hidden is not None:
            logits.view(len(hidden), -1, wide, logits.shape[-1]).masked_fill_(hidden[:, None], float("-inf"))
        elif self.causal:
            logits.view(-1, wide, logits.shape[-1])[..., at].add_(self.future[:wide, :wide])


def _is_causal(first: Tensor, last: Tensor, num_keys: int) -> bool:
    """Whether the ranges hide nothing but the future: each row is one text."""
    if first.shape[1] != num_keys or bool(first.any()):
        return False
    return torch.equal(last, torch.arange(num_keys).expand_as(last))


def block_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    causal: bool,
    scale: float,
) -> Tensor:
    """Weighted means of values.

    Args:
        queries: (B, H, T, E) on the CPU.
        keys: (B, K, S, E); K divides H.
        values: (B, K, S, E).
        first: (1 or B, T) int64, the first key that a query sees (`KeyRange`), or None.
        last: (1 or B, T) int64, the last one, or None.
        causal: without a range, T = S: hide the future.
        scale: multiplies the logits.

    Returns:
        (B, H, T, E), laid out as (B, T, H, E).
    """
    learns = torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad or values.requires_grad)
    keeps = learns and keys.shape[2] <= KEPT_KEYS
    attended: Tensor = _forward(queries, keys, values, first, last, causal, scale, keeps)[0]
    return attended


@torch.library.custom_op("stepwell::block_attention", mutates_args=())
def _forward(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    causal: bool,
    scale: float,
    keeps: bool,
) -> tuple[Tensor, Tensor]:
    """The means, and the weights of the steps one after another in at most (B H T S,), or (0,) if it keeps none."""
    plan, sight = _plan(queries, keys), _Sight(queries, keys.shape[2], causal, first, last)
    attended, kept = _like_queries(queries), _room_for_weights(queries, keys, keeps)
    grouped, out = _grouped(queries, keys), _grouped(attended, keys)
    done = 0
    for rows, heads in _chunks(queries, keys, plan):
        q = (grouped[rows, heads] * scale).flatten(0, 1)
        k, v = (x[rows, heads].flatten(0, 1) for x in (keys, values))
        for at, seen, hidden in sight.steps(plan, rows):
            logits = torch.bmm(q[:, :, at].flatten(1, 2), k[:, seen].mT)
            sight.hide(logits, at, hidden)
            weights = kept[done : done + logits.numel()].view(logits.shape) if keeps else torch.empty_like(logits)
            torch.softmax(logits, -1, out=weights)
            done += logits.numel()
            place = out[rows, heads, :, at]
            place.copy_(torch.bmm(weights, v[:, seen]).view(place.shape))
    return attended, kept


def _room_for_weights(queries: Tensor, keys: Tensor, keeps: bool) -> Tensor:
    num_rows, num_heads, num_queries = queries.shape[:3]
    return queries.new_empty(num_rows * num_heads * num_queries * keys.shape[2] if keeps else 0)


def _like_queries(queries: Tensor) -> Tensor:
    """Room for (B, H, T, E) whose heads of a position stand together, as the output projection reads them."""
    num_rows, num_heads, num_queries, width = queries.shape
    return queries.new_empty(num_rows, num_queries, num_heads, width).transpose(1, 2)


@torch.library.custom_op("stepwell::block_attention_backward", mutates_args=())
def _backward(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    kept: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values; weights that were not kept are computed again."""
    plan, sight = _plan(queries, keys), _Sight(queries, keys.shape[2], causal, first, last)
    query_grad, key_grad, value_grad = _like_queries(queries), torch.empty_like(keys), torch.empty_like(values)
    grouped, grads, out = (_grouped(x, keys) for x in (queries, grad, query_grad))
    done = 0
    for rows, heads in _chunks(queries, keys, plan):
        q = (grouped[rows, heads] * scale).flatten(0, 1)
        g, k, v = (x[rows, heads].flatten(0, 1) for x in (grads, keys, values))
        exact = torch.promote_types(k.dtype, torch.float32)
        into_k, into_v = torch.zeros_like(k, dtype=exact), torch.zeros_like(v, dtype=exact)
        for at, seen, hidden in sight.steps(plan, rows):
            asked, given = q[:, :, at].flatten(1, 2), g[:, :, at].flatten(1, 2)
            if len(kept):
                shape = len(asked), asked.shape[1], seen.stop - seen.start
                weights = kept[done : done + math.prod(shape)].view(shape)
                done += math.prod(shape)
            else:
                logits = torch.bmm(asked, k[:, seen].mT)
                sight.hide(logits, at, hidden)
                weights = torch.softmax(logits, -1)
            into_v[:, seen] += torch.bmm(weights.mT, given)
            logit_grad = torch._softmax_backward_data(torch.bmm(given, v[:, seen].mT), weights, -1, weights.dtype)
            into_k[:, seen] += torch.bmm(logit_grad.mT, asked)
            place = out[rows, heads, :, at]
            torch.mul(torch.bmm(logit_grad, k[:, seen]).view(place.shape), scale, out=place)
        key_grad[rows, heads] = into_k.view(key_grad[rows, heads].shape)
        value_grad[rows, heads] = into_v.view(value_grad[rows, heads].shape)
    return query_grad, key_grad, value_grad


@_forward.register_fake
def _(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    causal: bool,
    scale: float,
    keeps: bool,
) -> tuple[Tensor, Tensor]:
    return _like_queries(queries), _room_for_weights(queries, keys, keeps)


@_backward.register_fake
def _(
    grad: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    kept: Tensor,
    first: Tensor | None,
    last: Tensor | None,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return _like_queries(queries), torch.empty_like(keys), torch.empty_like(values)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    queries, keys, values, first, last, ctx.causal, ctx.scale, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # no zeros for the weights, which nobody asks a gradient of
    ctx.save_for_backward(queries, keys, values, output[1], first, last)


def _gradients(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return *_backward(grad, *ctx.saved_tensors, ctx.causal, ctx.scale), None, None, None, None, None


_forward.register_autograd(_gradients, setup_context=_keep)
