"""Log-probabilities of single tokens with their gradient, without the logits of all of them.

A loss of whole answers knows only at the end what each of its tokens is worth. So the gradient of each token for what
goes into the last map is kept (N x D numbers), and scaled when that is known; the gradient of the map itself, where it
learns, takes the logits a second time. This file leaves out what is made of the log-probabilities (`preference.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.models import LanguageModel, Output
from stepwell.objectives.fused_loss import CHUNK_LOGITS


class Answered(NamedTuple):
    """A prompt with an answer.

    Attributes:
        token_ids: (T,) of both.
        begin: where the answer begins, from 1.
    """

    token_ids: NDArray[np.int64]
    begin: int


def token_logprobs(hidden: Tensor, output: Output, targets: Tensor) -> Tensor:
    """Log-probability of each of some tokens.

    Logits are made in float32, whatever the precision around: what is asked is how two sums over hundreds of tokens
    differ.

    Args:
        hidden: (N, D), what the last map takes.
        output: the last map.
        targets: (N,) int64, the tokens.

    Returns:
        (N,) float32, nats, with a gradient for `hidden` and the map.
    """
    weight, bias, softcap = output
    with torch.autocast(hidden.device.type, enabled=False):
        exact = torch.promote_types(hidden.dtype, torch.float32)
        told: Tensor = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
            hidden.to(exact), weight.to(exact), None if bias is None else bias.to(exact), softcap, targets
        )
    return told


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None, targets: Tensor
    ) -> Tensor:
        told = hidden.new_empty(len(hidden))
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None  # of each row for itself
        for rows in _parts(len(hidden), len(weight)):
            logits, slope = _logits(hidden[rows], Output(weight, bias, softcap))
            right = logits.gather(1, targets[rows, None]).squeeze(1)
            told[rows] = right - torch.logsumexp(logits, 1)
            if slopes is not None:
                slopes[rows] = _gradient(logits, slope, targets[rows]) @ weight
        ctx.save_for_backward(slopes, *((hidden, weight, bias, targets) if any(ctx.needs_input_grad[1:3]) else ()))
        ctx.softcap = softcap
        return told

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        slopes, *again = ctx.saved_tensors
        hidden_grad = None if slopes is None else slopes * scale[:, None]
        if not again:
            return hidden_grad, None, None, None, None
        hidden, weight, bias, targets = again
        weight_grad = torch.zeros_like(weight)
        bias_grad = None if bias is None else torch.zeros_like(bias)
        for rows in _parts(len(hidden), len(weight)):
            logits, slope = _logits(hidden[rows], Output(weight, bias, ctx.softcap))
            grad = _gradient(logits, slope, targets[rows]) * scale[rows, None]
            weight_grad += grad.mT @ hidden[rows]
            if bias_grad is not None:
                bias_grad += grad.sum(0)
        return hidden_grad, weight_grad, bias_grad, None, None


def _parts(num_rows: int, vocab_size: int) -> Iterator[slice]:
    size = max(1, CHUNK_LOGITS // vocab_size)
    return (slice(first, first + size) for first in range(0, num_rows, size))


def _logits(hidden: Tensor, output: Output) -> tuple[Tensor, Tensor | None]:
    """(n, V) logits, and where there is a cap the slope of it at each."""
    logits = hidden @ output.weight.mT
    if output.bias is not None:
        logits += output.bias
    if output.softcap is None:
        return logits, None
    capped = torch.tanh(logits / output.softcap)
    return output.softcap * capped, 1 - capped.square()


def _gradient(logits: Tensor, slope: Tensor | None, targets: Tensor) -> Tensor:
    """(n, V): of the log-probabilities of the targets, for the logits before their cap."""
    grad = -torch.softmax(logits, 1)
    grad[torch.arange(len(targets), device=targets.device), targets] += 1
    return grad if slope is None else grad * slope


@torch.no_grad()
def answer_logprobs(model: LanguageModel, answered: Sequence[Answered]) -> list[Tensor]:
    """Log-probabilities of the tokens of answers, each computed for itself.

    What is beside an answer in a batch moves the last bits of its numbers; alone, the same model says the same of it
    whenever it is asked.

    Args:
        model: a causal language model; dropout is left out.
        answered: N prompts with answers.

    Returns:
        For each answer (tokens,) float32, nats.
    """
    with at_rest(model):
        told = []
        for token_ids, begin in answered:
            ids = torch.from_numpy(token_ids).to(model.device)
            hidden = model.hidden(ids[None, :-1])[0, begin - 1 :]
            told.append(token_logprobs(model.before_output(hidden), model.output(), ids[begin:]))
        return told


@contextmanager
def at_rest(model: LanguageModel) -> Iterator[None]:
    """Within, a model leaves dropout out; afterwards it is in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
