"""Beam search: of all that a model could write for a prompt, the likeliest as far as a few beginnings at a time tell.

At each step every beginning is gone on with by every token, and the best `beam_size` of each prompt stay (Sutskever et
al., 2014); what ends is set aside, its log-probability divided by a power of its length (Wu et al., 2016). A beam of
one is greedy search. Prompts of like length share a batch, and those that are done leave it. Steps and scores are those
of transformers. This file leaves out drawing at random (`generation.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.errors import StepwellError
from stepwell.hardware import Precision
from stepwell.inference.generation import FinishReason
from stepwell.inference.mode import evaluation_mode
from stepwell.models import LanguageModel
from stepwell.nn import DecodingState

NEVER = float("-inf")

ROWS_AT_ONCE = 256
"""Unfinished targets that are gone on with at once, of all prompts together."""


class Beams(NamedTuple):
    """How to search.

    Attributes:
        beam_size: beginnings that are kept for each prompt.
        length_penalty: log-probabilities are divided by the length in tokens to this power.
        max_tokens: the longest target, its end token included.
    """

    beam_size: int
    length_penalty: float
    max_tokens: int


@dataclass(frozen=True)
class Written:
    """One target that was found.

    Attributes:
        token_ids: the end token included, where it came.
        logprobs: of each (nats).
        score: what targets are ranked by.
        finish_reason: `stop` where it ended by itself, `length` where it had to.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish_reason: FinishReason


def search_targets(
    model: LanguageModel,
    prompts: Sequence[NDArray[np.integer[Any]]],
    beams: Beams,
    *,
    stop_ids: frozenset[int],
    num_tokens: int | None = None,
    precision: Precision = "float32",
    rows_at_once: int = ROWS_AT_ONCE,
) -> list[list[Written]]:
    """What a model writes for prompts.

    Args:
        model: any that extends a state: of an encoder-decoder a prompt is a source, of others what is gone on with.
        prompts: (S,) token ids of each, S from 1.
        beams: how to search.
        stop_ids: tokens that end a target.
        num_tokens: tokens of the tokenizer; a model may have more rows than there are tokens.
        precision: of the matrix products.
        rows_at_once: unfinished targets of all prompts together, at most; of one prompt all are taken in any case.

    Returns:
        For each prompt up to `beam_size` targets, the best first: those that ended, or where there are none, those
        that are longest.

    Raises:
        StepwellError: when the model predicts NaN.
        UsageError: when prompt and target do not fit into the model's window.
    """
    found: list[list[Written]] = [[] for _ in prompts]
    device = model.device
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with evaluation_mode(model), torch.inference_mode(), autocast:
        for batch in _batches(model, prompts, max(1, rows_at_once // beams.beam_size)):
            search = _Search(model, [prompts[number] for number in batch], beams, stop_ids, num_tokens)
            for number, several in zip(batch, search.run(), strict=True):
                found[number] = several
    return found


def _batches(model: LanguageModel, prompts: Sequence[NDArray[Any]], at_once: int) -> Iterator[list[int]]:
    """Prompts of like length together; of equal length where the model takes no padding."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
    batch: list[int] = []
    for number in order:
        alike = model.takes_padding or not batch or len(prompts[number]) == len(prompts[batch[0]])
        if len(batch) == at_once or not alike:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


class _Search:
    """The search for the targets of P prompts at once.

    Beginnings stand prompt by prompt: (P, K) of them, (P K) rows of the state. Prompts that are done leave both.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[NDArray[Any]],
        beams: Beams,
        stop_ids: frozenset[int],
        num_tokens: int | None,
    ) -> None:
        self.model, self.beams, self.stop_ids = model, beams, stop_ids
        self.num_tokens = min(num_tokens or model.config.vocab_size, model.config.vocab_size)
        self.ended: list[list[Written]] = [[] for _ in prompts]
        self.going = list(range(len(prompts)))  # numbers of the prompts that are not done
        size, device = beams.beam_size, model.device
        self.state, logits = _begin(model, prompts, beams.max_tokens)
        self.state.select(torch.arange(len(prompts), device=device).repeat_interleave(size))
        self.logits = logits.repeat_interleave(size, 0)
        # The beginnings of a prompt are the same at first, so all but one of them do not count.
        self.sums = torch.full((len(prompts), size), NEVER, device=device)
        self.sums[:, 0] = 0
        self.written = torch.zeros(len(prompts), size, 0, dtype=torch.int64, device=device)
        self.sums_before = torch.zeros(len(prompts), size, 0, device=device)  # of each beginning after each token
        stops = [one for one in stop_ids if one < self.num_tokens]
        self.is_stop = torch.zeros(self.num_tokens, dtype=torch.bool, device=device)
        self.is_stop[stops] = True
        self.candidates = min(size * (1 + len(stops)), size * self.num_tokens)

    def run(self) -> list[list[Written]]:
        """Search to the end."""
        for length in range(1, self.beams.max_tokens + 1):
            tokens, rows = self._step(length)
            if not self.going or length == self.beams.max_tokens:
                break
            self.state.select(rows)
            self.logits = self.model.extend(self.state, tokens)
        for place, number in enumerate(self.going):
            if not self.ended[number]:
                self.ended[number] = self._unfinished(place)
        return [sorted(several, key=lambda one: -one.score) for several in self.ended]

    def _step(self, length: int) -> tuple[Tensor, Tensor]:
        """Go on by a token.

        Returns:
            (R, 1) tokens that the model shall read next, and (R,) the row of the state that each goes on with.
        """
        size = self.beams.beam_size
        logprobs = self.logits[:, : self.num_tokens].float().log_softmax(-1)
        if bool(logprobs[:, 0].isnan().any()):
            raise StepwellError("generation: the model predicts NaN", do="take another checkpoint")
        totals = (self.sums.flatten()[:, None] + logprobs).view(len(self.going), -1)
        best, places = totals.topk(self.candidates, dim=1)
        beams, tokens = places // self.num_tokens, places % self.num_tokens
        ends = self.is_stop[tokens]
        self._set_aside(best, beams, tokens, ends, length)
        # Of those that do not end, the first `size`, in order; a stable sort puts them in front.
        chosen = ends.int().argsort(dim=1, stable=True)[:, :size]
        self.sums = best.gather(1, chosen).masked_fill(ends.gather(1, chosen), NEVER)
        beams, tokens = beams.gather(1, chosen), tokens.gather(1, chosen)
        of_beam = beams[:, :, None].expand(-1, -1, length - 1)
        self.written = torch.cat((self.written.gather(1, of_beam), tokens[:, :, None]), dim=2)
        self.sums_before = torch.cat((self.sums_before.gather(1, of_beam), self.sums[:, :, None]), dim=2)
        rows = beams + size * torch.arange(len(beams), device=beams.device)[:, None]
        stay = [place for place, number in enumerate(self.going) if not self._is_done(place, number, length)]
        if len(stay) < len(self.going):
            kept = torch.tensor(stay, dtype=torch.int64, device=rows.device)
            self.going = [self.going[place] for place in stay]
            self.sums, self.written, self.sums_before = self.sums[kept], self.written[kept], self.sums_before[kept]
            rows, tokens = rows[kept], tokens[kept]
        return tokens.reshape(-1, 1), rows.flatten()

    def _set_aside(self, best: Tensor, beams: Tensor, tokens: Tensor, ends: Tensor, length: int) -> None:
        """Keep what has ended, where it is among the best `beam_size` of all that could be written now."""
        size = self.beams.beam_size
        for place, rank in (ends[:, :size] & (best[:, :size] > NEVER)).nonzero().tolist():
            beam = int(beams[place, rank])
            ids = [*self.written[place, beam].tolist(), int(tokens[place, rank])]
            one = self._written(ids, [*self.sums_before[place, beam].tolist(), float(best[place, rank])], "stop")
            several = self.ended[self.going[place]]
            several.append(one)
            if len(several) > size:
                several.remove(min(several, key=lambda each: each.score))

    def _is_done(self, place: int, number: int, length: int) -> bool:
        """Whether as many have ended as were wanted, and none that goes on is better than the worst of them by now."""
        several = self.ended[number]
        hope = float(self.sums[place].max())
        if hope == NEVER:
            return True
        if len(several) < self.beams.beam_size:
            return False
        return bool(hope / length**self.beams.length_penalty <= min(one.score for one in several))

    def _unfinished(self, place: int) -> list[Written]:
        """What was written of a prompt of which nothing has ended."""
        rows, sums = self.written[place].tolist(), self.sums_before[place].tolist()
        return [
            self._written(ids, several, "length")
            for ids, several in zip(rows, sums, strict=True)
            if several[-1] > NEVER
        ]

    def _written(self, ids: Sequence[int], sums: Sequence[float], reason: FinishReason) -> Written:
        """A target of the sums of log-probabilities after each of its tokens."""
        score = sums[-1] / len(ids) ** self.beams.length_penalty
        return Written(tuple(ids), tuple(np.diff(sums, prepend=0.0).tolist()), score, reason)


def _begin(model: LanguageModel, prompts: Sequence[NDArray[Any]], max_tokens: int) -> tuple[DecodingState, Tensor]:
    """Read prompts, padded on the left."""
    longest = max(map(len, prompts))
    ids = np.zeros((len(prompts), longest), np.int64)
    mask = np.zeros(ids.shape, np.bool_)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = True
    room = max_tokens if model.reads_source else min(longest + max_tokens, model.config.max_seq_len)
    padded = None if mask.all() else torch.from_numpy(mask).to(model.device)
    return model.begin(torch.from_numpy(ids).to(model.device), room, padded)
