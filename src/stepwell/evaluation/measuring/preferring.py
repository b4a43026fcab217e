"""How well a model tells better answers from worse ones: every held-out pair, read by the model and by its reference.

Each answer is read for itself, as in training, so that a model which has learned nothing is no nat from its reference.
What a reference says of an answer is kept in memory while the process lasts. Where rows are single answers, each is
compared with one of the other kind, to another prompt. This file leaves out the metrics (`preference.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from stepwell.checkpoints import load_checkpoint, resolve_checkpoint
from stepwell.data import TokenSplit
from stepwell.errors import CheckpointError, DataError, UsageError
from stepwell.evaluation.scores.metrics import FloatArray
from stepwell.evaluation.scores.preference import DivergenceScores, PreferenceScores
from stepwell.hardware import Precision
from stepwell.models import LanguageModel
from stepwell.objectives import Answered, answer_logprobs
from stepwell.tasks import PreferenceConfig, PreferenceDecisionConfig, Score

KEPT_REFERENCES = 4
"""Splits of which is kept what a reference says."""

LEAST_GAIN = 0.05
"""Share of the pairs by which another score must be better to be taken."""

_known: OrderedDict[tuple[object, ...], list[FloatArray]] = OrderedDict()


@dataclass(frozen=True)
class PreferredScores(PreferenceScores):
    """Pairs as a model tells them, and how far it is from its reference on the tokens of their answers.

    Attributes:
        tokens: (N,) as in `DivergenceScores`, of both answers of a pair.
        log_ratio: likewise.
        k3: likewise.
    """

    tokens: NDArray[np.int64]
    log_ratio: FloatArray
    k3: FloatArray


PreferredScores.metrics = {**PreferenceScores.metrics, **DivergenceScores.metrics}


@dataclass(frozen=True)
class Told:
    """What is said of S held-out answers.

    Attributes:
        example: (S,) which example each is of.
        sides: (S,) 0 for a better or good one, 1 for a worse or bad one.
        own: of each the log-probabilities of its tokens, nats.
        reference: likewise, by the reference; None where there is none.
    """

    example: NDArray[np.int64]
    sides: NDArray[np.int64]
    own: Sequence[FloatArray]
    reference: Sequence[FloatArray] | None

    def scores(self, decision: PreferenceDecisionConfig) -> FloatArray:
        """(S,) what answers are compared by.

        Raises:
            UsageError: when the decision wants a reference and there is none.
        """
        sums = np.array([one.sum() for one in self.own])
        if decision.score == "log_probability":
            return sums
        if decision.score == "mean_log_probability":
            return sums / [len(one) for one in self.own]
        if self.reference is None:
            raise UsageError(
                "task.decision.score: log_ratio compares with a reference, and there is none",
                do="set task.decision.reference, or another score",
            )
        return np.asarray(sums - [one.sum() for one in self.reference], np.float64)


def tell_answers(
    model: LanguageModel, split: TokenSplit, task: PreferenceConfig, precision: Precision = "float32"
) -> Told:
    """Read the answers of a split.

    Args:
        model: a causal language model.
        split: examples of `task`.
        task: its decision names the reference.
        precision: of the matrix products.

    Raises:
        UsageError: when the reference cannot be opened.
    """
    example, sides, answered = answers_in(split)
    own = read_answers(model, answered, precision)
    path = task.decision.reference
    return Told(example, sides, own, None if path is None else _by_reference(path, model, answered, precision))


def answers_in(split: TokenSplit) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Answered]]:
    """(S,) which example each answer of a split is of, (S,) its side, and the S answers with their prompts."""
    example, sides, answered = [], [], []
    for number in range(split.num_documents):
        ids = np.asarray(split.document(number), np.int64)
        here = slice(int(split.offsets[number]), int(split.offsets[number + 1]))
        side, weight = np.asarray(split.aligned["side"][here]), np.asarray(split.aligned["weight"][here])
        for one in np.unique(side).tolist():
            places = np.flatnonzero(side == one)
            told = places[weight[places] > 0]
            answered.append(Answered(ids[places[0] : places[-1] + 1], int(told[0] - places[0]) + 1))
            example.append(number)
            sides.append(one)
    return np.array(example, np.int64), np.array(sides, np.int64), answered


def read_answers(model: LanguageModel, answered: Sequence[Answered], precision: Precision) -> list[FloatArray]:
    """For each answer the log-probabilities of its tokens, (tokens,) nats."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return [one.cpu().double().numpy() for one in answer_logprobs(model, answered)]


def _by_reference(
    path: str, model: LanguageModel, answered: Sequence[Answered], precision: Precision
) -> list[FloatArray]:
    """What the reference says, from memory where it was asked before.

    Raises:
        UsageError: when it cannot be opened.
    """
    try:
        folder = resolve_checkpoint(Path(path))
        name = (str(folder.resolve()), precision, hash(tuple(one.token_ids.tobytes() for one in answered)))
        if name not in _known:
            reference = load_checkpoint(folder).model.to(model.device)
            _known[name] = read_answers(reference, answered, precision)
    except CheckpointError as error:
        raise UsageError(
            "task.decision.reference: cannot be opened",
            got=error.what,
            wanted="the model that training began from",
            do="work in the folder that training was started in, from which the path leads to it",
        ) from error
    _known.move_to_end(name)
    while len(_known) > KEPT_REFERENCES:
        _known.popitem(last=False)
    return _known[name]


def score_pairs(told: Told, decision: PreferenceDecisionConfig) -> PreferredScores:
    """Scores of pairs of answers.

    Args:
        told: what is said of each answer.
        decision: by what they are compared.

    Raises:
        DataError: when all single answers are good, or all are bad.
    """
    scores = told.scores(decision)
    better, worse = _paired(told)
    margins = scores[better] - scores[worse]
    preferred = PreferenceScores.of(scores[better], scores[worse], np.logaddexp(0, -decision.scale * margins))
    nothing = [np.zeros(0)] * len(better)
    own, then = nothing, nothing
    if told.reference is not None:
        both = list(zip(better.tolist(), worse.tolist(), strict=True))
        own = [np.concatenate([told.own[a], told.own[b]]) for a, b in both]
        then = [np.concatenate([told.reference[a], told.reference[b]]) for a, b in both]
    moved = DivergenceScores.of(own, then)
    return PreferredScores(**preferred.arrays(), **moved.arrays())


def _paired(told: Told) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) better answers and (N,) the worse ones that they are compared with, one pair for each example.

    Raises:
        DataError: when all single answers are good, or all are bad.
    """
    good, bad = np.flatnonzero(told.sides == 0), np.flatnonzero(told.sides == 1)
    if len(told.example) == 2 * len(np.unique(told.example)):
        return good, bad
    if not len(good) or not len(bad):
        raise DataError(
            "validation: there is nothing to compare",
            got=f"{len(good):,} good answers and {len(bad):,} bad ones",
            wanted="both",
            do="hold out more rows",
        )
    better, worse = np.arange(len(told.sides)), np.arange(len(told.sides))
    worse[good], better[bad] = bad[np.arange(len(good)) % len(bad)], good[np.arange(len(bad)) % len(good)]
    return better, worse


def evaluate_preference(
    model: LanguageModel, split: TokenSplit, task: PreferenceConfig, precision: Precision = "float32"
) -> PreferredScores:
    """Compare the answers of a split; the rest is as in `tell_answers` and `score_pairs`."""
    return score_pairs(tell_answers(model, split, task, precision), task.decision)


def choose_score(
    model: LanguageModel, split: TokenSplit, task: PreferenceConfig, metric: str, precision: Precision = "float32"
) -> PreferenceConfig:
    """The task with the score by which a model tells the better answers of a split best.

    The score that the task has stays, unless another one is better by more than one pair in twenty.

    Args:
        model: trained for the task.
        split: validation examples.
        task: as the model was trained.
        metric: to decide by; only that of right pairs compares scores.
        precision: of the matrix products.
    """
    if metric != "preference_accuracy":
        return task
    told = tell_answers(model, split, task, precision)
    found: dict[Score, float] = {}
    for score in get_args(Score):
        if score != "log_ratio" or told.reference is not None:
            decision = task.decision.model_copy(update={"score": score})
            found[score] = float(score_pairs(told, decision).right.mean())
    best = max(found, key=lambda one: found[one])
    if best == task.decision.score or found[best] <= found[task.decision.score] + LEAST_GAIN:
        return task
    return task.model_copy(update={"decision": task.decision.model_copy(update={"score": best})})
