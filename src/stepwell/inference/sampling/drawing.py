"""The next token of each row of a batch, whatever request a row belongs to.

Rows whose rules are equal are shaped together, and each takes its random number from its own generator, so that a row
draws the same to the bit whatever stands beside it. This file leaves out what the rules do (`adjusting.py`,
`truncation.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stepwell.errors import StepwellError, UsageError
from stepwell.inference.params import GRAMMARS
from stepwell.inference.sampling.adjusting import InPlace, add, ban, pair, penalize_repetition, subtract
from stepwell.inference.sampling.row import Sampling
from stepwell.inference.sampling.truncation import Rules, draw_shaped, shape_distribution

MOST_ALTERNATIVES = 20
"""So many alternatives are looked up for every row that asks for some, so that ties fall alike for all of them."""


class Drawn(NamedTuple):
    """A token that was drawn.

    Attributes:
        token_id: the token.
        logprob: of the token under the model itself (nats): before penalties, temperature and truncation.
        likeliest: `params.logprobs` tokens and their log-probabilities under the model itself, the likeliest first.
    """

    token_id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


@torch.no_grad()
def draw(samplings: Sequence[Sampling], logits: Tensor) -> list[Drawn]:
    """Choose the next token of each row, and let each row take it.

    Args:
        samplings: B of them, of one tokenizer.
        logits: (B, V) float32, straight from the model.

    Returns:
        A token for each row.

    Raises:
        StepwellError: when a logit is not a finite number.
        UsageError: when the rules of a row leave no token to draw.
    """
    if not samplings:
        return []
    logits = finite(logits[:, : samplings[0].vocab_size])
    adjusted = adjust(samplings, logits)
    token_ids = torch.empty(len(samplings), dtype=torch.int64, device=logits.device)
    probabilities = torch.ones(len(samplings), dtype=torch.float64, device=logits.device)
    for rules, rows in _alike(samplings).items():
        part = adjusted if len(rows) == len(samplings) else adjusted[rows]
        if rules.greedy:
            token_ids[rows] = part.argmax(-1)
            continue
        of_rows = [samplings[row] for row in rows]
        uniforms = torch.tensor([one.uniform() for one in of_rows], dtype=torch.float64).to(logits.device)
        token_ids[rows], probabilities[rows] = draw_shaped(part, rules, uniforms, _surprises(rules, of_rows, logits))
    return told(samplings, logits, token_ids, probabilities.tolist())


def told(
    samplings: Sequence[Sampling], logits: Tensor, token_ids: Tensor, probabilities: Sequence[float]
) -> list[Drawn]:
    """Let each row take its token, and say how likely it was.

    Args:
        samplings: B of them.
        logits: (B, V) float32, straight from the model.
        token_ids: (B,) int64.
        probabilities: of each among what could be drawn.
    """
    logprobs = logits.log_softmax(-1)
    chosen = logprobs.gather(1, token_ids[:, None]).squeeze(1).tolist()
    likeliest = _likeliest(samplings, logprobs)
    found = []
    for row, (sampling, token_id) in enumerate(zip(samplings, token_ids.tolist(), strict=True)):
        sampling.take(token_id, probabilities[row])
        found.append(Drawn(token_id, chosen[row], likeliest.get(row, ())))
    return found


@torch.no_grad()
def distribution(samplings: Sequence[Sampling], logits: Tensor) -> Tensor:
    """What each row would draw its next token from; nothing is drawn.

    Args:
        samplings: B of them, of one tokenizer.
        logits: (B, V) float32, straight from the model.

    Returns:
        (B, V) float32, logits of the distribution: -inf for a token that cannot be drawn. A greedy row has one token.

    Raises:
        StepwellError: when a logit is not a finite number.
        UsageError: when the rules of a row leave no token to draw.
    """
    logits = finite(logits[:, : samplings[0].vocab_size])
    shaped = adjust(samplings, logits).clone()
    for rules, rows in _alike(samplings).items():
        if rules.greedy:
            likeliest = shaped[rows].argmax(-1)
            shaped[rows] = -torch.inf
            shaped[rows, likeliest] = 0.0
        else:
            surprises = _surprises(rules, [samplings[row] for row in rows], logits)
            shaped[rows] = shape_distribution(shaped[rows], rules, surprises)
    return shaped


def finite(logits: Tensor) -> Tensor:
    """The logits.

    Raises:
        StepwellError: when one of them is not a finite number.
    """
    least, most = torch.aminmax(logits)  # a NaN among them is both
    if not (bool(torch.isfinite(least)) and bool(torch.isfinite(most))):
        raise StepwellError(
            "the model's predictions are not finite numbers",
            got="NaN or infinity among the logits",
            do="take an earlier checkpoint, or train again with a lower learning rate",
        )
    return logits


def adjust(samplings: Sequence[Sampling], logits: Tensor) -> Tensor:
    """Biases, penalties and bans, each once over all rows that have any.

    Args:
        samplings: B of them.
        logits: (B, V) float32, left as they are.

    Returns:
        (B, V) float32; the same tensor where there is nothing to do.

    Raises:
        UsageError: when no token is left to a row.
    """
    biased, repeated, frequent, present, banned = [], [], [], [], []
    for row, one in enumerate(samplings):
        if len(one.bias[0]):
            biased.append((row, *one.bias))
        if one.seen is not None:
            repeated.append((row, one.seen.ids, one.params.repetition_penalty))
        if one.drawn is not None:
            frequent.append((row, one.drawn.ids, one.params.frequency_penalty * one.drawn.counts))
            present.append((row, one.drawn.ids, one.params.presence_penalty))
        ids = one.banned_ids()
        if len(ids):
            banned.append((row, ids, 0.0))
    steps: list[tuple[InPlace, list[Any]]] = [
        (add, biased), (penalize_repetition, repeated), (subtract, frequent), (subtract, present), (ban, banned)
    ]  # fmt: skip
    if not any(several for _, several in steps) and all(one.constraint is None for one in samplings):
        return logits
    adjusted = logits.clone()
    for rule, several in steps:
        if several:
            rule(adjusted, pair(several, logits))
    for row, one in enumerate(samplings):
        if one.constraint is not None:
            allowed = torch.from_numpy(one.constraint.allowed()[: logits.shape[-1]]).to(logits.device)
            adjusted[row, : len(allowed)].masked_fill_(~allowed, -torch.inf)
    if bool((empty := adjusted.amax(-1).isneginf()).any()):
        raise _nothing_left(samplings[int(empty.nonzero()[0])])
    return adjusted


def _nothing_left(sampling: Sampling) -> UsageError:
    names = ("no_repeat_ngram_size", "bad_words", "min_tokens", *GRAMMARS)
    asked = [f"{name}={value!r}" for name in names if (value := getattr(sampling.params, name))]
    return UsageError(
        "no token is left to draw",
        got=f"every one of {sampling.vocab_size} is banned by {', '.join(asked)}",
        wanted="rules that leave at least one",
        do="ask for fewer of them",
    )


def _alike(samplings: Sequence[Sampling]) -> dict[Rules, list[int]]:
    """The rows of each set of rules."""
    rows: defaultdict[Rules, list[int]] = defaultdict(list)
    for row, one in enumerate(samplings):
        rows[one.rules].append(row)
    return rows


def _surprises(rules: Rules, samplings: Sequence[Sampling], logits: Tensor) -> Tensor | None:
    """(B,) float64, the thresholds of mirostat; None without it."""
    if not rules.mirostat:
        return None
    return torch.tensor([one.surprise for one in samplings], dtype=torch.float64, device=logits.device)


def _likeliest(samplings: Sequence[Sampling], logprobs: Tensor) -> dict[int, tuple[tuple[int, float], ...]]:
    """The likeliest tokens of the rows that ask for some; among equals the lower number comes first."""
    rows = [row for row, one in enumerate(samplings) if one.params.logprobs]
    if not rows:
        return {}
    values, ids = logprobs[rows].topk(min(MOST_ALTERNATIVES, logprobs.shape[-1]))
    found = {}
    for row, of_row, with_ids in zip(rows, values.tolist(), ids.tolist(), strict=True):
        order = sorted(zip(with_ids, of_row, strict=True), key=lambda one: (-one[1], one[0]))
        found[row] = tuple(order[: samplings[row].params.logprobs])
    return found
