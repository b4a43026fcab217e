"""From logits to the few tokens that may be drawn.

Each rule is a plain function from logits to logits in the meaning of transformers; a token that may not be drawn has a
logit of -inf. Rules run over a (B, V) tensor, and what a row becomes is the same to the bit whatever stands beside it:
so sums go over one row after another (`cumsum`), and what is not exact by itself is left to row kernels (`softmax`).

A rule that keeps the likeliest tokens needs no sorted vocabulary: the few hundred likeliest are tried first, and all of
them only for rows where that is not enough. This file leaves out what is done to logits before (`adjusting.py`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stepwell.inference.params import SamplingParams

GREEDY_BELOW = 1e-4
"""A temperature below this takes the likeliest token: division would overflow and could change nothing else."""

WIDTH = 256
"""How many of the likeliest tokens are looked at before all are."""

ROWS_AT_ONCE = 4
"""Rows that are drawn together: what is computed on the way stays in the processor's cache."""


class Rules(NamedTuple):
    """What keeps tokens, as in `SamplingParams`; None for no rule. Rows with equal rules are treated together."""

    temperature: float
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    mirostat: bool = False

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature < GREEDY_BELOW


def rules_of(params: SamplingParams) -> Rules:
    """The rules that a request asks for; those that keep everything are left out."""
    if params.temperature < GREEDY_BELOW:
        return Rules(0.0)
    return Rules(
        params.temperature,
        params.top_k,
        None if params.top_p == 1 else params.top_p,
        params.min_p or None,
        None if params.typical_p == 1 else params.typical_p,
        params.epsilon_cutoff or None,
        params.eta_cutoff or None,
        bool(params.mirostat),
    )


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature, above 0. The largest logit is taken off first, so nothing overflows."""
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """Keep the k largest logits of a row, and those equal to the k-th."""
    smallest = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(logits: Tensor, top_p: float, probabilities: Tensor | None = None) -> Tensor:
    """Keep the fewest tokens whose probabilities sum to at least p, one or more (Holtzman et al., 2020).

    Args:
        logits: (B, V) float32.
        top_p: in (0, 1).
        probabilities: (B, V), where the columns are not the whole vocabulary.
    """
    probabilities = logits.softmax(-1) if probabilities is None else probabilities
    descending = _ascending(probabilities).flip(-1)
    last = (descending.cumsum(-1, dtype=torch.float64) < top_p).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    least = descending.gather(-1, last)
    removed = probabilities < least
    if bool(((~removed).sum(-1, keepdim=True) > last + 1).any()):  # of equal ones the first are kept
        equal = probabilities == least
        room = last + 1 - (probabilities > least).sum(-1, keepdim=True)
        removed |= equal & (equal.cumsum(-1) > room)
    return logits.masked_fill(removed, -torch.inf)


def keep_min_p(logits: Tensor, min_p: float, probabilities: Tensor | None = None) -> Tensor:
    """Keep tokens that are at least `min_p` times as likely as the likeliest (Nguyen et al., 2024)."""
    probabilities = logits.softmax(-1) if probabilities is None else probabilities
    return logits.masked_fill(probabilities < min_p * probabilities.amax(-1, keepdim=True), -torch.inf)


def keep_typical(logits: Tensor, typical_p: float) -> Tensor:
    """Keep tokens whose surprise is nearest to the entropy, until they sum to p (Meister et al., 2023)."""
    logprobs, probabilities = logits.log_softmax(-1), logits.softmax(-1)
    distance = (-logprobs - _entropy(logprobs, probabilities)).abs()
    order = _order(distance)
    ascending = distance.gather(-1, order)
    reached = probabilities.gather(-1, order).cumsum(-1, dtype=torch.float64)
    last = (reached < typical_p).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    removed = ascending > ascending.gather(-1, last)
    return logits.masked_fill(torch.zeros_like(removed).scatter(-1, order, removed), -torch.inf)


def keep_epsilon(logits: Tensor, epsilon: float, probabilities: Tensor | None = None) -> Tensor:
    """Keep tokens of at least this probability, and the likeliest (Hewitt et al., 2022)."""
    probabilities = logits.softmax(-1) if probabilities is None else probabilities
    removed = (probabilities < epsilon) & (logits < logits.amax(-1, keepdim=True))
    return logits.masked_fill(removed, -torch.inf)


def keep_eta(logits: Tensor, epsilon: float) -> Tensor:
    """Keep tokens of at least min(epsilon, sqrt(epsilon) exp(-entropy)), and the likeliest (Hewitt et al., 2022)."""
    probabilities = logits.softmax(-1)
    entropy = _entropy(logits.log_softmax(-1), probabilities)
    least = [min(epsilon, math.sqrt(epsilon) * math.exp(-one)) for one in entropy.flatten().tolist()]
    thresholds = torch.tensor(least, dtype=torch.float32, device=logits.device)[:, None]
    removed = (probabilities < thresholds) & (logits < logits.amax(-1, keepdim=True))
    return logits.masked_fill(removed, -torch.inf)


def keep_surprises(logits: Tensor, most: Tensor, probabilities: Tensor | None = None) -> Tensor:
    """Keep tokens that surprise by no more than so many bits, and the likeliest (Basu et al., 2021).

    Args:
        logits: (B, V) float32.
        most: (B,) float64.
        probabilities: (B, V), where the columns are not the whole vocabulary.
    """
    probabilities = logits.softmax(-1) if probabilities is None else probabilities
    least = torch.tensor([2.0**-one for one in most.tolist()], dtype=torch.float64, device=logits.device)[:, None]
    removed = (probabilities < least) & (logits < logits.amax(-1, keepdim=True))
    return logits.masked_fill(removed, -torch.inf)


def shape_distribution(logits: Tensor, rules: Rules, surprises: Tensor | None = None) -> Tensor:
    """All rules of the whole vocabulary, one after another.

    Args:
        logits: (B, V) float32, after what is done to single tokens.
        rules: not greedy.
        surprises: (B,) float64, the thresholds of mirostat in bits; None without it.

    Returns:
        (B, V) float32, logits of the distribution that is drawn from.
    """
    return _keep(apply_temperature(logits, rules.temperature), rules, surprises, None)


def _keep(logits: Tensor, rules: Rules, surprises: Tensor | None, probabilities: Tensor | None) -> Tensor:
    """The rules that truncate; the probabilities are those before the first of them, where columns are left out."""
    if surprises is not None:
        return keep_surprises(logits, surprises, probabilities)
    if rules.top_k is not None:
        logits, probabilities = keep_top_k(logits, rules.top_k), None
    if rules.top_p is not None:
        logits, probabilities = keep_top_p(logits, rules.top_p, probabilities), None
    if rules.min_p is not None:
        logits, probabilities = keep_min_p(logits, rules.min_p, probabilities), None
    if rules.typical_p is not None:
        logits, probabilities = keep_typical(logits, rules.typical_p), None
    if rules.epsilon_cutoff is not None:
        logits = keep_epsilon(logits, rules.epsilon_cutoff, probabilities)
    if rules.eta_cutoff is not None:
        logits = keep_eta(logits, rules.eta_cutoff)
    return logits


def _first(rules: Rules) -> Rules | None:
    """The first rule alone, where it keeps the likeliest tokens; None where it does not, or there is none."""
    for name in ("top_k", "top_p", "min_p"):
        if (value := getattr(rules, name)) is not None:
            return Rules(1.0)._replace(**{name: value})
    if rules.typical_p is None and rules.epsilon_cutoff is not None:
        return Rules(1.0, epsilon_cutoff=rules.epsilon_cutoff)
    return None


def draw_tokens(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Invert each row's cumulative distribution.

    Args:
        logits: (B, V) float32.
        uniforms: (B,) float64 in [0, 1).

    Returns:
        (B,) int64, never a token of zero probability; (B,) float64, how likely each was.
    """
    probabilities = logits.double().softmax(-1)
    cumulative = probabilities.cumsum(-1)
    cumulative = cumulative / cumulative[:, -1:]  # the end is exactly 1, so a uniform number below 1 falls inside
    tokens = torch.searchsorted(cumulative, uniforms[:, None], right=True)
    return tokens.squeeze(1), probabilities.gather(1, tokens).squeeze(1)


def draw_shaped(
    logits: Tensor, rules: Rules, uniforms: Tensor, surprises: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw from what the rules keep: what `draw_tokens` of `shape_distribution` gives, without sorting all tokens.

    Args:
        logits: (B, V) float32, after what is done to single tokens.
        rules: not greedy.
        uniforms: (B,) float64 in [0, 1).
        surprises: as for `shape_distribution`.

    Returns:
        As `draw_tokens`.
    """
    found = [
        _draw_few(logits[at], rules, uniforms[at], None if surprises is None else surprises[at])
        for at in (slice(first, first + ROWS_AT_ONCE) for first in range(0, len(logits), ROWS_AT_ONCE))
    ]
    return torch.cat([tokens for tokens, _ in found]), torch.cat([likely for _, likely in found])


def _draw_few(logits: Tensor, rules: Rules, uniforms: Tensor, surprises: Tensor | None) -> tuple[Tensor, Tensor]:
    """`draw_shaped` for a few rows."""
    logits = apply_temperature(logits, rules.temperature)
    first, width, size = _first(rules), WIDTH, logits.shape[-1]
    if first is not None and first.top_k is not None:
        width = first.top_k + 1  # one more shows whether others are as likely as the k-th
    if (first is None and surprises is None) or 4 * width > size:
        return draw_tokens(_keep(logits, rules, surprises, None), uniforms)
    values, ids = logits.topk(width)
    probabilities = logits.softmax(-1).gather(1, ids)
    enough = _are_enough(values, probabilities, first or rules, surprises)
    tokens, likelihoods = torch.empty_like(ids[:, 0]), torch.empty_like(uniforms)
    for rows, are_few in ((enough, True), (~enough, False)):
        if not bool(rows.any()):
            continue
        before = None if surprises is None else surprises[rows]
        if are_few:  # drawn in the order of the vocabulary, as when all are looked at
            by_number, order = ids[rows].sort(dim=1)
            few, likely = values[rows].gather(1, order), probabilities[rows].gather(1, order)
            places, likelihoods[rows] = draw_tokens(_keep(few, rules, before, likely), uniforms[rows])
            tokens[rows] = by_number.gather(1, places[:, None]).squeeze(1)
        else:
            tokens[rows], likelihoods[rows] = draw_tokens(_keep(logits[rows], rules, before, None), uniforms[rows])
    return tokens, likelihoods


def _are_enough(values: Tensor, probabilities: Tensor, first: Rules, surprises: Tensor | None) -> Tensor:
    """(B,) bool, whether nothing outside these columns, the likeliest first, could be kept or tie with what is."""
    removed = _keep(values, first, surprises, probabilities).isneginf()
    weighed = values if first.top_k is not None else probabilities
    smallest = weighed.masked_fill(removed, torch.inf).amin(-1)
    return (removed[:, -1] & (smallest > weighed[:, -1])) | values[:, -1].isneginf()


def _ascending(values: Tensor) -> Tensor:
    """Each row sorted. NumPy sorts several times faster than torch, where it can."""
    return torch.from_numpy(np.sort(values.numpy(), axis=-1)) if values.device.type == "cpu" else values.sort().values


def _order(values: Tensor) -> Tensor:
    """The places of each row's values, the smallest first."""
    return torch.from_numpy(np.argsort(values.numpy(), axis=-1)) if values.device.type == "cpu" else values.argsort()


def _entropy(logprobs: Tensor, probabilities: Tensor) -> Tensor:
    """(B, 1) float64 in nats; a token of no probability adds nothing."""
    products = (logprobs * probabilities).masked_fill(probabilities == 0, 0.0)
    return -products.cumsum(-1, dtype=torch.float64)[..., -1:]
