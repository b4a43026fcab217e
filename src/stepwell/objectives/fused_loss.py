"""The last map of a model and the loss of what it predicts, in one pass over a part of the rows at a time.

Logits of all predictions are the largest tensor of a small model's training: N x V numbers, several times over. Here a
part of the rows is multiplied, judged and turned into gradients at once, in the precision of the product, and forgotten
(as in Wijmans et al., 2025, "Cut your losses", and the kernels of Liger): the logits of all rows are never there
together, and nothing is computed twice. `losses.token_losses` is the plain truth that the tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stepwell.models import Output
from stepwell.objectives.config import CrossEntropyConfig, LossConfig, MeanSquaredErrorConfig

CHUNK_LOGITS = 2**23
"""Logits that are there together, about (measured: benchmarks/LOG.md)."""


class Judged(NamedTuple):
    """The loss of each of n rows, and the gradient of it for their logits, which may be those logits' own memory."""

    loss: Tensor
    grad: Tensor


def fused_loss(
    hidden: Tensor, output: Output, targets: Tensor, config: LossConfig, weights: Tensor | None = None
) -> Tensor:
    """The summed loss of predictions, without their logits.

    Args:
        hidden: (N, D), what the last map takes.
        output: the last map.
        targets: (N,) int64, the right tokens.
        config: which loss.
        weights: (N,) how much each counts; None for 1.

    Returns:
        Scalar float32: the sum over the rows, as `losses.token_losses` defines it.
    """
    return fused(hidden, output, lambda logits, rows: judge(logits, targets[rows], config), weights)


def fused(
    hidden: Tensor, output: Output, judged: Callable[[Tensor, slice], Judged], weights: Tensor | None = None
) -> Tensor:
    """The sum of what a function says of the logits of some rows at a time.

    Args:
        hidden: (N, D), what the last map takes.
        output: the last map.
        judged: loss and gradient of the logits (n, V), after their cap, of a slice of the rows; it may give the
            gradient in the memory of the logits.
        weights: (N,) how much each row counts; None for 1.

    Returns:
        Scalar float32.
    """
    half = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else None
    if not torch.is_grad_enabled():
        hidden = hidden.detach()
        bias = None if output.bias is None else output.bias.detach()
        output = Output(output.weight.detach(), bias, output.softcap)
    total: Tensor = _FusedLoss.apply(hidden, *output, judged, half, weights)  # type: ignore[no-untyped-call]
    return total


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        judged: Callable[[Tensor, slice], Judged],
        half: torch.dtype | None,
        weights: Tensor | None,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        x, w = (hidden, weight) if half is None else (hidden.to(half), weight.to(half))
        ctx.dtypes = hidden.dtype, weight.dtype
        x_grad = torch.empty_like(x) if needs_hidden else None
        w_grad = torch.zeros_like(weight) if needs_weight else None
        b_grad = torch.zeros_like(bias) if needs_bias and bias is not None else None
        total = torch.zeros((), dtype=_exact(hidden.dtype), device=hidden.device)
        size = max(1, CHUNK_LOGITS // len(weight))
        for first in range(0, len(x), size):
            rows = slice(first, first + size)
            logits = x[rows] @ w.mT
            if bias is not None:
                logits += bias.to(logits.dtype)
            loss, grad = _under_cap(logits, rows, judged, softcap)
            if weights is not None:
                loss = loss * weights[rows]
                grad = grad * weights[rows, None].to(grad.dtype)
            total += loss.sum()
            if x_grad is not None:
                torch.mm(grad, w, out=x_grad[rows])
            if w_grad is not None:
                w_grad += grad.mT @ x[rows]
            if b_grad is not None:
                b_grad += grad.sum(0)
        ctx.save_for_backward(x_grad, w_grad, b_grad)
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        x_grad, w_grad, b_grad = ctx.saved_tensors
        hidden_grad = None if x_grad is None else (x_grad * scale).to(ctx.dtypes[0])
        weight_grad, bias_grad = (None if grad is None else grad * scale for grad in (w_grad, b_grad))
        return hidden_grad, weight_grad, bias_grad, None, None, None, None


def _exact(dtype: torch.dtype) -> torch.dtype:
    """What sums are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _under_cap(logits: Tensor, rows: slice, judged: Callable[[Tensor, slice], Judged], softcap: float | None) -> Judged:
    """The loss of logits (n, V) before their cap, and its gradient."""
    if softcap is None:
        return judged(logits, rows)
    capped = torch.tanh(logits / softcap)
    loss, grad = judged(softcap * capped, rows)
    return Judged(loss, grad * (1 - capped.square()))


def judge(logits: Tensor, targets: Tensor, config: LossConfig) -> Judged:
    """Losses of predictions and their gradient, which may be in the memory of the logits.

    Args:
        logits: (n, V).
        targets: (n,) int64.
        config: which loss.
    """
    return _JUDGES[config.kind](logits, targets, config)


def _cross_entropy(logits: Tensor, targets: Tensor, config: CrossEntropyConfig) -> Judged:
    rows, exact = torch.arange(len(targets), device=targets.device), _exact(logits.dtype)
    right = logits[rows, targets].to(exact)
    mean = logits.mean(1, dtype=exact) if config.label_smoothing else right
    grad = torch.softmax(logits, 1)  # summed in float32 whatever its precision
    likely = grad[rows, targets].to(exact)
    lse = right - likely.log()  # logarithm of the softmax's denominator
    if not bool((likely > 0).all()):
        lse = torch.where(likely > 0, lse, torch.logsumexp(logits.to(exact), 1))
    kept = 1 - config.label_smoothing
    loss = lse - kept * right - config.label_smoothing * mean
    if config.z_loss:
        loss = loss + config.z_loss * lse.square()
        grad *= (1 + 2 * config.z_loss * lse[:, None]).to(grad.dtype)
    if config.label_smoothing:
        grad -= config.label_smoothing / logits.shape[1]
    grad[rows, targets] -= kept  # not by scatter_add_, which copies the whole of a half-precision tensor
    return Judged(loss, grad)


def _squared_error(logits: Tensor, targets: Tensor, config: MeanSquaredErrorConfig) -> Judged:
    rows, size, exact = torch.arange(len(targets), device=targets.device), logits.shape[1], _exact(logits.dtype)
    right = logits[rows, targets].to(exact)
    error = right - config.right_logit
    squares = torch.linalg.vector_norm(logits, dim=1, dtype=exact).square()
    loss = (config.right_weight * error.square() + squares - right.square()) / size
    grad = logits * (2 / size)
    grad[rows, targets] = (error * (2 * config.right_weight / size)).to(grad.dtype)
    return Judged(loss, grad)


_JUDGES: dict[str, Callable[[Tensor, Tensor, Any], Judged]] = {
    "cross_entropy": _cross_entropy,
    "mean_squared_error": _squared_error,
}
"""kind of a loss -> its value and gradient in closed form."""
