"""How well a model answers: the loss of given answers, how its own answers end, and which of two a judge prefers.

Loss is that of the tokens of an answer alone. What a model says of its own is looked at for whether it stopped by
itself and whether its form is right, on as many examples as were answered. This file leaves out the judge: the user
brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.errors import UsageError
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share

Judge = Callable[[Any, str, str], object]
"""From a prompt and two answers, a and b, to which is better: "a", "b" or "tie"."""

_WORTH = {"a": 1.0, "tie": 0.5, "b": 0.0}


@dataclass(frozen=True)
class ChatScores(Scores):
    """What was made of each of N conversations.

    Attributes:
        nats: (N,) negative log-likelihood of the tokens of its answers.
        tokens: (N,) how many they are.
        answered: (N,) whether the model gave an answer of its own, of which it is known how it ended.
        stopped: (N,) whether that answer stopped by itself.
        checked: (N,) whether the form of an answer was looked at.
        well_formed: (N,) whether it is right.
    """

    nats: FloatArray
    tokens: NDArray[np.int64]
    answered: NDArray[np.bool_]
    stopped: NDArray[np.bool_]
    checked: NDArray[np.bool_]
    well_formed: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        nats: ArrayLike,
        tokens: ArrayLike,
        *,
        stopped: Sequence[bool | None] | None = None,
        well_formed: Sequence[bool | None] | None = None,
    ) -> ChatScores:
        """Scores of conversations.

        Args:
            nats: (N,) of the right answers' tokens, summed.
            tokens: (N,) how many they are, from 0.
            stopped: (N,) whether the model's own answer stopped by itself; None where it gave none.
            well_formed: (N,) whether its form is right; None where that was not looked at.

        Raises:
            ValueError: when they are not as many, or no token counts in any of them.
        """
        lengths = np.asarray(tokens, np.int64)
        if len(lengths) and not lengths.sum():
            raise ValueError("no token of an answer counts, so there is no loss to take")
        flags = [
            np.array([test(one) for one in ([None] * len(lengths) if given is None else given)], np.bool_)
            for given in (stopped, well_formed)
            for test in (lambda one: one is not None, bool)
        ]
        return cls(np.asarray(nats, np.float64), lengths, *flags)

    def check_pair(self, other: Scores, metric: str) -> None:
        """See `Scores.check_pair`.

        Raises:
            ValueError: when the conversations differ in number, or their tokens differ and the metric is one per token.
        """
        super().check_pair(other, metric)
        if not isinstance(other, ChatScores):
            raise ValueError("a paired bootstrap needs scores of the same conversations in the same order")
        if self.metrics[metric].per == "token" and not np.array_equal(self.tokens, other.tokens):
            raise ValueError(f"{metric} compares models of one tokenizer only")


def _loss(totals: ChatScores) -> Any:
    return share(totals.nats, totals.tokens)


ChatScores.metrics = {
    "loss": Metric(_loss, higher_is_better=False, unit="nats per token of an answer", per="token"),
    "perplexity": Metric(
        lambda totals: np.exp(_loss(totals)), higher_is_better=False, unit="equally likely tokens", per="token"
    ),
    "stop_rate": Metric(
        lambda totals: share(totals.stopped, totals.answered),
        higher_is_better=True,
        unit="share of answers that stopped by themselves",
        per="example",
    ),
    "format_rate": Metric(
        lambda totals: share(totals.well_formed, totals.checked),
        higher_is_better=True,
        unit="share of answers of the right form",
        per="example",
    ),
}


@dataclass(frozen=True)
class JudgedScores(Scores):
    """What a judge made of N pairs of answers, each shown in both orders.

    Attributes:
        count: (N,) 1.
        worth: (N,) 1 where the answer won in both orders, 0 where it lost in both; each tie is half a win.
        agreed: (N,) whether both orders gave the same verdict.
    """

    count: FloatArray
    worth: FloatArray
    agreed: NDArray[np.bool_]


def judged(prompts: Sequence[Any], answers: Sequence[str], baseline: Sequence[str], judge: Judge) -> JudgedScores:
    """Have a judge compare answers with those of a baseline, in both orders, so that no place is of use.

    Args:
        prompts: (N,) as the judge wants them.
        answers: (N,) of the model.
        baseline: (N,) of another one.
        judge: from a prompt and two answers to "a", "b" or "tie".

    Raises:
        UsageError: when they are not as many, or the judge raises or says something else.
    """
    if not len(prompts) == len(answers) == len(baseline):
        raise UsageError(
            "judge: other examples",
            got=f"{len(prompts)} prompts, {len(answers)} answers, {len(baseline)} of the baseline",
            wanted="as many of each",
        )
    worth = np.zeros((len(prompts), 2))
    for row, (prompt, ours, theirs) in enumerate(zip(prompts, answers, baseline, strict=True)):
        worth[row] = (
            _worth_of_first(judge, row, prompt, ours, theirs),
            1 - _worth_of_first(judge, row, prompt, theirs, ours),
        )
    return JudgedScores(np.ones(len(worth)), worth.mean(1), worth[:, 0] == worth[:, 1])


def _worth_of_first(judge: Judge, row: int, prompt: Any, first: str, second: str) -> float:
    try:
        said = judge(prompt, first, second)
    except Exception as error:
        raise UsageError(
            f"judge: failed on example {row}",
            got=f"{type(error).__name__}: {error}",
            do="mend the judge, or leave the example out",
        ) from error
    if not isinstance(said, str) or said not in _WORTH:
        raise UsageError(f"judge: what it said of example {row}", got=repr(said), wanted='"a", "b" or "tie"')
    return _WORTH[said]


JudgedScores.metrics = {
    "win_rate": Metric(
        lambda totals: totals.worth / totals.count,
        higher_is_better=True,
        unit="share of comparisons, a tie is half",
        per="example",
    ),
    "judge_agreement": Metric(
        lambda totals: totals.agreed / totals.count,
        higher_is_better=None,
        unit="share of pairs judged alike in both orders",
        per="example",
    ),
}
