"""How well tokens were tagged: spans found and right, counted sentence by sentence.

A span counts as found when its type and both of its ends are right. Tags are read as CoNLL's script and seqeval read
them, which forgive a span that begins with I-; or strictly, where only what the scheme allows is a span; or each token
is a span of its own, for parts of speech. This file leaves out how tags are chosen and which sequences are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import DataError
from stepwell.evaluation.decisions import f1_of, macro, micro_f1, micro_precision, micro_recall
from stepwell.evaluation.metrics import FloatArray, Metric, Scores, share

Scheme = Literal["lenient", "BIO", "BIOES", "BILOU", "tokens"]
"""How tags are read.

`lenient`: any of B I E S O, or B I L U O; a span begins at B, at S, and wherever nothing of its type goes on (seqeval's
default, CoNLL's script). `BIO`, `BIOES`, `BILOU`: a span begins with B (or S, U), goes on with its own type, and of the
last two must be closed (seqeval's strict mode). `tokens`: each token is a span of its whole tag (parts of speech).
"""

Span = tuple[str, int, int]
"""Type, first token, token after the last."""

_LETTERS = {"lenient": "BIESLUO", "BIO": "BIO", "BIOES": "BIESO", "BILOU": "BILUO"}
_AS_BIOES = {"L": "E", "U": "S"}


def spans_of(tags: Sequence[str], scheme: Scheme = "lenient") -> list[Span]:
    """The spans of a sentence, in order.

    Args:
        tags: such as `B-place`; a letter without a type is one of the type `_`.
        scheme: how they are read.

    Raises:
        DataError: when a tag does not begin with a letter of the scheme.
    """
    if scheme == "tokens":
        return [(tag, at, at + 1) for at, tag in enumerate(tags)]
    parts = [_letter_and_type(tag, scheme) for tag in tags]
    return _lenient(parts) if scheme == "lenient" else _strict(parts, closed=scheme != "BIO")


def _letter_and_type(tag: str, scheme: Scheme) -> tuple[str, str]:
    letter, dash, kind = tag[:1], tag[1:2], tag[2:]
    if not letter or letter not in _LETTERS[scheme] or dash not in ("", "-"):
        raise DataError(
            f"tag {tag!r}: cannot be read",
            wanted=f"one of {' '.join(_LETTERS[scheme])}, and a type after a dash, such as B-place",
            do="name the scheme of the tags; tags that are no spans, such as parts of speech, are scheme='tokens'",
        )
    return _AS_BIOES.get(letter, letter), "" if letter == "O" else kind or "_"


def _lenient(parts: Sequence[tuple[str, str]]) -> list[Span]:
    spans: list[Span] = []
    begin, last, last_type = 0, "O", ""
    for at, (letter, kind) in enumerate([*parts, ("O", "")]):
        goes_on = letter in "IE" and last in "BI" and kind == last_type
        if last != "O" and not goes_on:
            spans.append((last_type, begin, at))
        if not goes_on:
            begin = at
        last, last_type = letter, kind
    return spans


def _strict(parts: Sequence[tuple[str, str]], *, closed: bool) -> list[Span]:
    """Args: closed, whether a span must end with E or S."""
    spans: list[Span] = []
    at = 0
    while at < len(parts):
        letter, kind = parts[at]
        end = at + 1
        if letter == "B":
            while end < len(parts) and parts[end] == ("I", kind):
                end += 1
            is_span = not closed
            if closed and end < len(parts) and parts[end] == ("E", kind):
                end, is_span = end + 1, True
        else:
            is_span = letter == "S"
        if is_span:
            spans.append((kind, at, end))
        at = end
    return spans


def span_types(*corpora: Sequence[Sequence[str]], scheme: Scheme = "lenient") -> tuple[str, ...]:
    """Types of all spans of some tagged corpora, sorted; they name the columns of `TaggingScores`.

    Raises:
        DataError: when a tag cannot be read.
    """
    return tuple(sorted({kind for corpus in corpora for tags in corpus for kind, _, _ in spans_of(tags, scheme)}))


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
    """

    count: FloatArray
    tokens: NDArray[np.int64]
    correct: NDArray[np.int64]
    exact: NDArray[np.bool_]
    true: NDArray[np.int64]
    chosen: NDArray[np.int64]
    both: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        chosen: Sequence[Sequence[str]],
        true: Sequence[Sequence[str]],
        *,
        types: Sequence[str] | None = None,
        scheme: Scheme = "lenient",
    ) -> TaggingScores:
        """Scores of predicted tags.

        Args:
            chosen: (N,) the predicted tags of each sentence.
            true: (N,) the right ones, as many in each sentence.
            types: K of them, the order of the columns; default those of both, sorted (`span_types`).
            scheme: how tags are read.

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
        return cls(np.ones(len(true)), tokens, correct, tokens == correct, *counts)

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
}
