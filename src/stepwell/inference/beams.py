"""Beam search: of all that a model could write for a prompt, the likeliest as far as a few beginnings at a time tell.

At each step every beginning is gone on with by every token, and the best `beam_size` of each prompt stay (Sutskever et
al., 2014); what ends is set aside, its log-probability divided by a power of its length (Wu et al., 2016). A beam of
one is greedy search. Beginnings may search in groups, each of which is kept away from the tokens that those before it
chose (Vijayakumar et al., 2018). Prompts of like length share a batch, and those that are done leave it. Steps and
scores are those of transformers. This file leaves out drawing at random (`generation.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.errors import StepwellError
from stepwell.hardware import Precision
from stepwell.inference.completion import FinishReason
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
        max_tokens: the longest target, its end token included; what does not fit into the window is not written.
        early_stopping: True ends a search when as many targets have ended as there are beginnings; False when none
            that goes on is better by now than the worst of them; `never` when none can become better.
        num_groups: into how many groups the beginnings of a prompt are divided, a divisor of beam_size.
        diversity_penalty: taken off the log-probability of a token for each beginning of an earlier group that chose it
            in the same step. Scores hold it, log-probabilities of tokens do not.
        num_targets: at least so many are given, up to beam_size: where fewer have ended, the best that have not come
            after them.
    """

    beam_size: int
    length_penalty: float
    max_tokens: int
    early_stopping: bool | Literal["never"] = False
    num_groups: int = 1
    diversity_penalty: float = 0.0
    num_targets: int = 1


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

    Beginnings stand prompt by prompt and group by group: (P, G, M) of them, (P G M) rows of the state. Prompts that are
    done leave both.
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
        self.of_group = beams.beam_size // beams.num_groups
        self.ended: list[list[list[Written]]] = [[[] for _ in range(beams.num_groups)] for _ in prompts]
        self.done = [[False] * beams.num_groups for _ in prompts]
        self.going = list(range(len(prompts)))  # numbers of the prompts that are not done
        device = model.device
        self.state, logits = _begin(model, prompts, beams.max_tokens)
        self.max_tokens = min(beams.max_tokens, model.config.max_seq_len - self.state.length + 1)
        self.state.select(torch.arange(len(prompts), device=device).repeat_interleave(beams.beam_size))
        self.logits = logits.repeat_interleave(beams.beam_size, 0)
        shape = (len(prompts), beams.num_groups, self.of_group)
        # The beginnings of a group are the same at first, so all but one of them do not count.
        self.sums = torch.full(shape, NEVER, device=device)
        self.sums[:, :, 0] = 0
        self.written = torch.zeros(*shape, 0, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(*shape, 0, device=device)  # of each token that was written
        stops = [one for one in stop_ids if one < self.num_tokens]
        self.is_stop = torch.zeros(self.num_tokens, dtype=torch.bool, device=device)
        self.is_stop[stops] = True
        self.candidates = min(self.of_group * (1 + len(stops)), self.of_group * self.num_tokens)

    def run(self) -> list[list[Written]]:
        """Search to the end."""
        for length in range(1, self.max_tokens + 1):
            tokens, rows = self._step(length)
            if not self.going or length == self.max_tokens:
                break
            self.state.select(rows)
            self.logits = self.model.extend(self.state, tokens)
        found = [itertools.chain(*groups) for groups in self.ended]
        spare: list[list[Written]] = [[] for _ in found]
        for place, number in enumerate(self.going):
            for group, several in enumerate(self.ended[number]):
                (spare[number] if several else several).extend(self._unfinished(place, group))
        best = [sorted(several, key=lambda one: -one.score) for several in found]
        for several, others in zip(best, spare, strict=True):
            room = max(0, self.beams.num_targets - len(several))
            several += sorted(others, key=lambda one: -one.score)[:room]
        return best

    def _step(self, length: int) -> tuple[Tensor, Tensor]:
        """Go on by a token.

        Returns:
            (R, 1) tokens that the model shall read next, and (R,) the row of the state that each goes on with.
        """
        logprobs = self.logits[:, : self.num_tokens].float().log_softmax(-1).view(*self.sums.shape, self.num_tokens)
        if bool(logprobs[..., 0].isnan().any()):
            raise StepwellError("generation: the model predicts NaN", do="take another checkpoint")
        chosen = logprobs.new_zeros(len(self.going), self.num_tokens)  # how often earlier groups chose each token
        found = []
        for group in range(self.beams.num_groups):
            found.append(self._step_of(group, logprobs[:, group], chosen))
            chosen.scatter_add_(1, found[-1][1], (found[-1][2] > NEVER).to(chosen.dtype))
        beams, tokens, sums, likely = (torch.stack(several, dim=1) for several in zip(*found, strict=True))
        of_beam = beams[..., None].expand(-1, -1, -1, length - 1)
        self.sums = sums
        self.written = torch.cat((self.written.gather(2, of_beam), tokens[..., None]), dim=3)
        self.logprobs = torch.cat((self.logprobs.gather(2, of_beam), likely[..., None]), dim=3)
        groups = torch.arange(beams.shape[0] * beams.shape[1], device=beams.device).view(*beams.shape[:2], 1)
        rows = beams + self.of_group * groups
        stay = [place for place, number in enumerate(self.going) if not self._is_done(place, number, length)]
        if len(stay) < len(self.going):
            kept = torch.tensor(stay, dtype=torch.int64, device=rows.device)
            self.going = [self.going[place] for place in stay]
            self.sums, self.written, self.logprobs = self.sums[kept], self.written[kept], self.logprobs[kept]
            rows, tokens = rows[kept], tokens[kept]
        return tokens.reshape(-1, 1), rows.flatten()

    def _step_of(self, group: int, logprobs: Tensor, chosen: Tensor) -> tuple[Tensor, ...]:
        """A step of one group: for each beginning that stays (P, M) where it comes from, its token, sum and logprob."""
        apart = self.beams.diversity_penalty * chosen[:, None] if group else 0.0
        totals = (self.sums[:, group, :, None] + logprobs - apart).flatten(1)
        best, places = totals.topk(self.candidates, dim=1)
        likely = logprobs.flatten(1).gather(1, places)
        beams, tokens = places // self.num_tokens, places % self.num_tokens
        ends = self.is_stop[tokens]
        self._set_aside(group, (best, likely, beams, tokens, ends))
        # Of those that do not end, the first ones, in order; a stable sort puts them in front.
        stays = ends.int().argsort(dim=1, stable=True)[:, : self.of_group]
        sums = best.gather(1, stays).masked_fill(ends.gather(1, stays), NEVER)
        return beams.gather(1, stays), tokens.gather(1, stays), sums, likely.gather(1, stays)

    def _set_aside(self, group: int, candidates: tuple[Tensor, ...]) -> None:
        """Keep what has ended, where it is among the best of all that the group could write now."""
        best, likely, beams, tokens, ends = candidates
        size = self.of_group
        for place, rank in (ends[:, :size] & (best[:, :size] > NEVER)).nonzero().tolist():
            number = self.going[place]
            if self.done[number][group]:
                continue
            beam = int(beams[place, rank])
            ids = [*self.written[place, group, beam].tolist(), int(tokens[place, rank])]
            logprobs = [*self.logprobs[place, group, beam].tolist(), float(likely[place, rank])]
            several = self.ended[number][group]
            several.append(self._written(ids, logprobs, float(best[place, rank]), "stop"))
            if len(several) > size:
                several.remove(min(several, key=lambda each: each.score))

    def _is_done(self, place: int, number: int, length: int) -> bool:
        """Whether all groups of a prompt are done; a group that is done stays so."""
        for group, done in enumerate(self.done[number]):
            self.done[number][group] = done or self._group_is_done(place, number, group, length)
        return all(self.done[number])

    def _group_is_done(self, place: int, number: int, group: int, length: int) -> bool:
        """Whether as many have ended as were wanted, and none that goes on is better than the worst of them."""
        several = self.ended[number][group]
        hope = float(self.sums[place, group].max())
        if hope == NEVER:
            return True
        if len(several) < self.of_group:
            return False
        if self.beams.early_stopping is True:
            return True
        penalty = self.beams.length_penalty
        longest = self.max_tokens if self.beams.early_stopping == "never" and penalty > 0 else length
        return bool(hope / longest**penalty <= min(one.score for one in several))

    def _unfinished(self, place: int, group: int) -> list[Written]:
        """What a group wrote of a prompt of which nothing has ended."""
        parts = (self.written[place, group], self.logprobs[place, group], self.sums[place, group])
        return [
            self._written(ids, logprobs, total, "length")
            for ids, logprobs, total in zip(*(part.tolist() for part in parts), strict=True)
            if total > NEVER
        ]

    def _written(self, ids: Sequence[int], logprobs: Sequence[float], total: float, reason: FinishReason) -> Written:
        return Written(tuple(ids), tuple(logprobs), total / len(ids) ** self.beams.length_penalty, reason)


def _begin(model: LanguageModel, prompts: Sequence[NDArray[Any]], max_tokens: int) -> tuple[DecodingState, Tensor]:
    """Read prompts, padded on the left."""
    longest = max(map(len, prompts))
    ids = np.zeros((len(prompts), longest), np.int64)
    mask = np.zeros(ids.shape, np.bool_)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = True
    room = min(max_tokens + (0 if model.reads_source else longest), model.config.max_seq_len)
    padded = None if mask.all() else torch.from_numpy(mask).to(model.device)
    return model.begin(torch.from_numpy(ids).to(model.device), room, padded)
