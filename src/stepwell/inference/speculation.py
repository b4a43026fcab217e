"""Speculative decoding: tokens that somebody guesses are checked by the model in one reading, and kept where they hold.

A draft of which only the tokens are known (found again in the text, `look_up`) is kept as far as it is what the sample
draws anyway, so nothing changes but the speed. A draft with the probabilities that it was drawn from is kept by the
rule of Leviathan et al. (2023), "Fast Inference from Transformers via Speculative Decoding", which leaves the
distribution as it is, and keeps more of the draft. This file leaves out who reads and who guesses (`engine/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.inference.sampling import Drawn, Sampling, distribution, draw, finite, told

LONGEST_NGRAM = 32
"""An n-gram that is found again is not looked at beyond so many tokens."""


@torch.no_grad()
def accept(
    draft_ids: Sequence[int], draft_probabilities: Tensor | None, logits: Tensor, sampling: Sampling
) -> list[Drawn]:
    """Check a draft, and draw the token after what is kept of it.

    Args:
        draft_ids: k tokens that were guessed, k from 0.
        draft_probabilities: (k, V), what each of them was drawn from; None where they were not drawn, or nobody knows.
            A greedy sample needs none.
        logits: (k + 1, V) float32, straight from the model: after the text, and after the text and each part of the
            draft.
        sampling: how the sample draws; it takes the tokens.

    Returns:
        One to k + 1 tokens, none after one that ends the sample. Without probabilities they are, to the bit, those that
        would be drawn one by one from the same logits with the same seed.

    Raises:
        StepwellError: when a logit is not a finite number.
        UsageError: when the rules of the sample leave no token to draw.
    """
    if draft_probabilities is None or sampling.rules.greedy:
        return _match(draft_ids, logits, sampling)
    found: list[Drawn] = []
    for at, guess in enumerate(draft_ids):
        row = finite(logits[at : at + 1, : sampling.vocab_size])
        wanted = distribution([sampling], row).double().softmax(-1)[0]
        guessed = draft_probabilities[at, : len(wanted)].to(wanted.device, torch.float64)
        keeps = sampling.uniform() * float(guessed[guess]) < float(wanted[guess])
        token_id = guess if keeps else _draw(_rest(wanted, guessed), sampling.uniform())
        found += told([sampling], row, torch.tensor([token_id], device=row.device), [float(wanted[token_id])])
        if not keeps or _is_over(sampling, token_id):
            return found
    return found + draw([sampling], logits[len(draft_ids) : len(draft_ids) + 1])


def _match(draft_ids: Sequence[int], logits: Tensor, sampling: Sampling) -> list[Drawn]:
    """Draw one by one, as far as the draft foretells it."""
    found: list[Drawn] = []
    for at in range(len(draft_ids) + 1):
        found += draw([sampling], logits[at : at + 1])
        token_id = found[-1].token_id
        if at == len(draft_ids) or token_id != draft_ids[at] or _is_over(sampling, token_id):
            break
    return found


def _is_over(sampling: Sampling, token_id: int) -> bool:
    """Whether nothing may come after a token."""
    return sampling.ends(token_id) or sampling.is_finished


def _rest(wanted: Tensor, guessed: Tensor) -> Tensor:
    """(V,) float64, what the draft did not give enough of; what is wanted where rounding leaves nothing."""
    rest = (wanted - guessed).clamp(min=0.0)
    total = rest.cumsum(0)[-1]
    return rest / total if float(total) > 0 else wanted


def _draw(probabilities: Tensor, uniform: float) -> int:
    """Invert the cumulative distribution of (V,); never a token of no probability."""
    cumulative = probabilities.cumsum(0)
    place = torch.tensor(uniform, dtype=torch.float64, device=cumulative.device) * cumulative[-1]
    return int(torch.searchsorted(cumulative, place, right=True).clamp(max=int(probabilities.nonzero()[-1])))


def look_up(token_ids: Sequence[int] | NDArray[np.integer[Any]], length: int, *, shortest: int = 1) -> list[int]:
    """Guess what comes next by what came before: prompt lookup (Saxena, 2023).

    The longest n-gram that ends the text and stands in it before is searched for; of several the last one counts. A
    continuation that reaches the end of the text goes on with itself, as a text does that repeats.

    Args:
        token_ids: (T,) prompt and what was drawn.
        length: how many tokens are guessed at most, from 0.
        shortest: an n-gram of fewer tokens is not believed, from 1.

    Returns:
        `length` tokens, or none where nothing stands there before.
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    if len(ids) < 2 or length < 1:
        return []
    places = np.flatnonzero(ids[:-1] == ids[-1])  # where an n-gram like the last one ends
    size = 1 if len(places) else 0
    while len(places) and size < LONGEST_NGRAM:
        further = places[places >= size]
        further = further[ids[further - size] == ids[len(ids) - 1 - size]]
        if not len(further):
            break
        places, size = further, size + 1
    if size < shortest:
        return []
    begin, text = int(places[-1]) + 1, [int(one) for one in ids]
    for at in range(length):
        text.append(text[begin + at])
    return text[len(ids) :]
