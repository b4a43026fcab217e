"""Better answers become likelier than worse ones: DPO, IPO, ORPO, KTO, SimPO.

A packed example holds a prompt with its better answer and the prompt again with the worse one, side by side; here they
are told apart, so that neither sees the other, and read in one pass. What is compared are log-probabilities of whole
answers. This file leaves out how rows become examples (`tasks`) and what a reference is (`reference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from stepwell.data import Batch
from stepwell.errors import DataError
from stepwell.models import LanguageModel
from stepwell.objectives.logprobs import Answered, answer_logprobs, token_logprobs
from stepwell.objectives.objective import Objective
from stepwell.objectives.preference_config import (
    REFERENCED,
    DPOConfig,
    KTOConfig,
    ORPOConfig,
    PreferenceLossConfig,
    PreferenceObjectiveConfig,
    SimPOConfig,
)
from stepwell.objectives.reference import Reference
from stepwell.tokenizers import Tokenizer

SURE = -1e-6
"""Nats: the odds of an answer that is likelier than this are taken as if it were so, since those of 1 are infinite."""


class Side(NamedTuple):
    """What is known of N answers.

    Attributes:
        sums: (N,) their log-probabilities, nats.
        lengths: (N,) their tokens.
        reference: (N,) log-probabilities by the reference; zeros where there is none.
    """

    sums: Tensor
    lengths: Tensor
    reference: Tensor

    @property
    def ratios(self) -> Tensor:
        """(N,) nats by which an answer is likelier than it was."""
        return self.sums - self.reference

    @property
    def means(self) -> Tensor:
        """(N,) nats of a token."""
        return self.sums / self.lengths


def pair_losses(better: Side, worse: Side, config: DPOConfig | ORPOConfig | SimPOConfig) -> Tensor:
    """The loss of each of N pairs.

    Args:
        better: answers.
        worse: answers to the same prompts.
        config: which loss.

    Returns:
        (N,) float32.
    """
    if isinstance(config, ORPOConfig):
        odds = _log_odds(better.means) - _log_odds(worse.means)
        return -better.means - config.odds_weight * logsigmoid(odds)
    if isinstance(config, SimPOConfig):
        return -logsigmoid(config.beta * (better.means - worse.means) - config.margin)
    if config.form == "ipo":
        apart = better.ratios / better.lengths - worse.ratios / worse.lengths
        return (apart - 1 / (2 * config.beta)).square()
    apart = config.beta * (better.ratios - worse.ratios)
    kept = 1 - config.label_smoothing
    return -kept * logsigmoid(apart) - config.label_smoothing * logsigmoid(-apart)


def _log_odds(means: Tensor) -> Tensor:
    """Logarithm of p / (1 - p), of log p."""
    likely = means.clamp(max=SURE)
    return likely - torch.log(-torch.expm1(likely))


def answer_losses(answers: Side, is_good: Tensor, baseline: Tensor | float, config: KTOConfig) -> Tensor:
    """The loss of each of N answers.

    Args:
        answers: good ones and bad ones.
        is_good: (N,) bool.
        baseline: nats from which gains are counted, 0 or above.
        config: what each counts.

    Returns:
        (N,) float32.
    """
    gains = config.beta * (answers.ratios - baseline)
    weights = torch.where(is_good, config.desirable_weight, config.undesirable_weight)
    return weights * (1 - torch.sigmoid(torch.where(is_good, gains, -gains)))


@dataclass(frozen=True)
class ComparedAnswers:
    """Rows of prompts with answers.

    Attributes:
        token_ids: (B, T) int64, what the model reads.
        document_ids: (B, T) int32, each answer with its prompt, and padding, for itself.
        places: (M,) int64, places of a row after another from which a token of an answer is told.
        targets: (M,) int64, that token.
        owners: (M,) int64, which of S answers it is of.
        answered: the S answers with their prompts.
        sides: (S,) 0 for a better or good answer, 1 for a worse or bad one.
        pairs: (N, 2) int64, which answers are compared; empty where each counts for itself.
        elsewhere: some prompts, each with an answer to another one.
    """

    token_ids: NDArray[np.int64]
    document_ids: NDArray[np.int32]
    places: NDArray[np.int64]
    targets: NDArray[np.int64]
    owners: NDArray[np.int64]
    answered: Sequence[Answered]
    sides: NDArray[np.int64]
    pairs: NDArray[np.int64]
    elsewhere: Sequence[Answered] = ()

    @property
    def num_targets(self) -> int:
        """Pairs, or answers that count for themselves."""
        return len(self.pairs) or len(self.answered)


class PreferenceObjective(Objective[ComparedAnswers]):
    """Make better answers likelier than worse ones.

    Args:
        config: which loss, and the reference.
        tokenizer: of the model that learns.

    Raises:
        CheckpointError: when there is no such reference.
        ConfigError: when the reference has another tokenizer.
    """

    def __init__(self, config: PreferenceObjectiveConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.reference = Reference(config.reference, tokenizer) if config.loss.kind in REFERENCED else None

    def identity(self) -> dict[str, object]:
        """The reference's weights, by their checksum."""
        return {} if self.reference is None else self.reference.identity()

    def prepare(self, batch: Batch, seed: int) -> ComparedAnswers:
        """The answers of a batch.

        Raises:
            DataError: when an answer has nothing to be compared with.
        """
        return compared(batch, self.config.loss)

    def loss(self, model: LanguageModel, examples: ComparedAnswers, device: torch.device) -> Tensor:
        """Summed over pairs, or answers.

        Raises:
            ConfigError: when the loss has a reference and there is none.
        """
        answers = self._read(model, examples, device)
        config = self.config.loss
        if isinstance(config, KTOConfig):
            is_good = torch.from_numpy(examples.sides == 0).to(device)
            return answer_losses(answers, is_good, self._baseline(model, examples), config).sum()
        both = torch.from_numpy(examples.pairs.T.copy()).to(device)
        better, worse = (Side(*(one[rows] for one in answers)) for rows in both)
        return pair_losses(better, worse, config).sum()

    def _read(self, model: LanguageModel, examples: ComparedAnswers, device: torch.device) -> Side:
        token_ids, document_ids, places, targets, owners = (
            torch.from_numpy(one).to(device)
            for one in (examples.token_ids, examples.document_ids, examples.places, examples.targets, examples.owners)
        )
        hidden = model.hidden(token_ids, document_ids).flatten(0, 1).index_select(0, places)
        told = token_logprobs(model.before_output(hidden), model.output(), targets)
        nothing = torch.zeros(len(examples.answered), device=device, dtype=told.dtype)
        sums, lengths = nothing.index_add(0, owners, told), nothing.index_add(0, owners, torch.ones_like(told))
        known = nothing if self.reference is None else self.reference.sums(model, examples.answered)
        return Side(sums, lengths, known)

    def _baseline(self, model: LanguageModel, examples: ComparedAnswers) -> float:
        """How much likelier answers are than they were where they answer nothing, in nats; at least 0 (KTO's z0)."""
        if not examples.elsewhere:
            return 0.0
        assert self.reference is not None
        now = answer_logprobs(model, examples.elsewhere)
        then = self.reference.logprobs(model, examples.elsewhere)
        apart = [float((own - before).sum()) for own, before in zip(now, then, strict=True)]
        return max(0.0, sum(apart) / len(apart))


def compared(batch: Batch, loss: PreferenceLossConfig) -> ComparedAnswers:
    """The answers of packed examples.

    Args:
        batch: with `side` and `weight` beside its tokens.
        loss: how they are compared.

    Raises:
        DataError: when an answer has nothing to be compared with.
    """
    sides = batch.aligned["side"].astype(np.int64)
    counted = batch.loss_mask & (batch.aligned["weight"] > 0)
    changes = np.diff(batch.document_ids.astype(np.int64) * 2 + sides, axis=1, prepend=0) != 0
    changes[:, 0] = False
    documents = np.cumsum(changes, axis=1)
    numbers = documents + np.arange(len(documents))[:, None] * documents.shape[1]  # of an answer with its prompt
    found, owners = np.unique(numbers[counted], return_inverse=True)
    answered, pieces, its_sides = [], batch.pieces.ravel(), sides.ravel()
    whose, which = [], []
    for number in found:
        here = np.flatnonzero(numbers == number)
        told = here[counted.flat[here]]
        ids = np.append(batch.token_ids.flat[here[: told[-1] - here[0] + 1]], batch.targets.flat[told[-1]])
        answered.append(Answered(ids.astype(np.int64), int(told[0] - here[0]) + 1))
        whose.append(pieces[told[0]])
        which.append(its_sides[told[0]])
    is_alone = isinstance(loss, KTOConfig)
    return ComparedAnswers(
        batch.token_ids,
        documents.astype(np.int32),
        np.flatnonzero(counted),
        batch.targets[counted],
        owners.astype(np.int64),
        answered,
        np.array(which, np.int64),
        np.zeros((0, 2), np.int64) if is_alone else _pairs(whose, which),
        _elsewhere(answered, whose, batch.token_ids.shape[1]) if is_alone else (),
    )


def _pairs(pieces: Sequence[int], sides: Sequence[int]) -> NDArray[np.int64]:
    """(N, 2): the better and the worse answer of each piece.

    Raises:
        DataError: when one of them is not there.
    """
    places = {(piece, side): at for at, (piece, side) in enumerate(zip(pieces, sides, strict=True))}
    if any((piece, 1 - side) not in places for piece, side in places):
        raise DataError(
            "an answer has nothing to be compared with",
            wanted="a better and a worse answer to each prompt",
            do="set training.objective.loss.kind=kto, where each counts for itself; leave training.curriculum out",
        )
    several = sorted(set(pieces))
    return np.array([[places[piece, 0], places[piece, 1]] for piece in several], np.int64).reshape(-1, 2)


def _elsewhere(answered: Sequence[Answered], pieces: Sequence[int], room: int) -> list[Answered]:
    """The prompt of each piece with an answer to the next one, of a length that fits; none where there is one piece."""
    first = {piece: answered[at] for at, piece in reversed(list(enumerate(pieces)))}
    several = sorted(first)
    if len(several) < 2:
        return []
    found = []
    for piece, following in zip(several, [*several[1:], several[0]], strict=True):
        prompt, other = first[piece], first[following]
        ids = np.concatenate([prompt.token_ids[: prompt.begin], other.token_ids[other.begin :]])
        found.append(Answered(ids[: room + 1], prompt.begin))
    return found
