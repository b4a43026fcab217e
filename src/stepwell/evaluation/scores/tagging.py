"""How well tokens were tagged: spans found and right, counted sentence by sentence.

A span counts as found when its type and both of its ends are right. Tags are read as CoNLL's script and seqeval read
them, which forgive a span that begins with I-; or strictly, where only what the scheme allows is a span; or each token
is a span of its own, for parts of speech. This file leaves out how tags are chosen and which sequences are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import DataError
from stepwell.evaluation.scores.decisions import f1_of, macro, micro_f1, micro_precision, micro_recall
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share
from stepwell.tasks import Scheme, span_types, spans_of


@dataclass(frozen=True)
class TaggingScores(Scores):
    """What was made of each of N sentences, with spans of K types.

    Attributes:
        count: (N,) 1.
        tokens: (N,) length of the sentence.
        correct: (N,) tokens whose tag is the right one.
        exact: (N,) whether all of them are.
        true: (N, K) right spans of a type.
        chosen: (N, K) predicted ones.
        both: (N, K) those predicted rightly.
        nats: (N,) negative log-likelihood of the right tags; NaN where that is not known.
    """

    count: FloatArray
    tokens: NDArray[np.int64]
    correct: NDArray[np.int64]
    exact: NDArray[np.bool_]
    true: NDArray[np.int64]
    chosen: NDArray[np.int64]
    both: NDArray[np.int64]
    nats: FloatArray

    @classmethod
    def of(
        cls,
        chosen: Sequence[Sequence[str]],
        true: Sequence[Sequence[str]],
        *,
        types: Sequence[str] | None = None,
        scheme: Scheme = "lenient",
        nats: FloatArray | None = None,
    ) -> TaggingScores:
        """Scores of predicted tags.

        Args:
            chosen: (N,) the predicted tags of each sentence.
            true: (N,) the right ones, as many in each sentence.
            types: K of them, the order of the columns; default those of both, sorted (`span_types`).
            scheme: how tags are read.
            nats: (N,) negative log-likelihood of the right tags; default not known.

        Raises:
            DataError: when sentences or tags are not as many, a tag cannot be read, or a span has another type.
        """
        if scheme not in get_args(Scheme):
            raise DataError(f"scheme {scheme!r}: is unknown", wanted=", ".join(get_args(Scheme)))
        _check_lengths(chosen, true)
        names = span_types(chosen, true, scheme=scheme) if types is None else tuple(types)
        column = {name: at for at, name in enumerate(names)}
        counts = np.zeros((3, len(true), len(names)), np.int64)
        for row, (guess, right) in enumerate(zip(chosen, true, strict=True)):
            there, found = set(spans_of(right, scheme)), set(spans_of(guess, scheme))
            for table, spans in zip(counts, (there, found, there & found), strict=True):
                for kind, _, _ in spans:
                    if kind not in column:
                        raise DataError(f"sentence {row}: a span of the type {kind!r}", wanted=", ".join(names))
                    table[row, column[kind]] += 1
        tokens = np.array([len(tags) for tags in true], np.int64)
        correct = np.array([sum(map(str.__eq__, *pair)) for pair in zip(chosen, true, strict=True)], np.int64)
        told = np.full(len(true), np.nan) if nats is None else nats
        return cls(np.ones(len(true)), tokens, correct, tokens == correct, counts[0], counts[1], counts[2], told)

    def check_pair(self, other: Scores, metric: str) -> None:
        """See `Scores.check_pair`.

        Raises:
            ValueError: when the sentences or their right spans differ.
        """
        if (
            not isinstance(other, TaggingScores)
            or not np.array_equal(self.tokens, other.tokens)
            or not np.array_equal(self.true.sum(1), other.true.sum(1))
        ):
            raise ValueError("a paired bootstrap needs scores of the same tagged sentences in the same order")


def _check_lengths(chosen: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> None:
    if len(chosen) != len(true):
        raise DataError("tags: of other sentences", got=f"{len(chosen)} predicted, {len(true)} right ones")
    for row, (guess, right) in enumerate(zip(chosen, true, strict=True)):
        if len(guess) != len(right):
            raise DataError(
                f"sentence {row}: other tokens", got=f"{len(guess)} predicted tags", wanted=f"{len(right)}, one a token"
            )


TaggingScores.metrics = {
    "span_f1": Metric(micro_f1, higher_is_better=True, unit="over all spans", per="example"),
    "span_precision": Metric(micro_precision, higher_is_better=True, unit="share of predicted spans", per="example"),
    "span_recall": Metric(micro_recall, higher_is_better=True, unit="share of right spans", per="example"),
    "macro_span_f1": Metric(macro(f1_of), higher_is_better=True, unit="mean over types", per="example"),
    "token_accuracy": Metric(
        lambda totals: share(totals.correct, totals.tokens),
        higher_is_better=True,
        unit="share of tokens",
        per="example",
    ),
    "sentence_accuracy": Metric(
        lambda totals: totals.exact / totals.count, higher_is_better=True, unit="share of sentences", per="example"
    ),
    "loss": Metric(
        lambda totals: share(totals.nats, totals.tokens), higher_is_better=False, unit="nats per token", per="example"
    ),
}
