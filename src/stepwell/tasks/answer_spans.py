"""From scores of beginnings and ends to answers: the best passages of a context that was read in windows.

In each window a passage scores what its beginning and its end score, less what no answer scores there; so windows
compare, and a passage that stands in two has its better score. All passages up to a length are looked at, so nothing is
lost to a beam. NumPy alone. This file leaves out where scores come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class AnswerWindow:
    """A question and a part of its context, as a model reads them.

    Attributes:
        token_ids: (T,); the last one stands for no answer.
        first: which token of the context the part begins with.
        begin: where that token stands in the window.
    """

    token_ids: NDArray[np.int64]
    first: int
    begin: int

    @property
    def count(self) -> int:
        """Tokens of the context that are in the window."""
        return len(self.token_ids) - 1 - self.begin


@dataclass(frozen=True)
class QuestionRead:
    """A question as a model reads it.

    Attributes:
        context: the text that the answer is looked for in.
        places: (N, 2) where each token of the context stands in it.
        windows: that hold all N tokens, in order; none where there is nothing to read.
        left_out_tokens: of the question, that do not fit.
    """

    context: str
    places: NDArray[np.int64]
    windows: Sequence[AnswerWindow]
    left_out_tokens: int = 0


@dataclass(frozen=True)
class FoundAnswer:
    """A passage that may be the answer.

    Attributes:
        text: as it stands in the context.
        start: its first character there.
        end: the one behind its last.
        margin: how much likelier it is than no answer, in nats.
        probability: among all passages, and no answer where that is possible.
    """

    text: str
    start: int
    end: int
    margin: float
    probability: float


def span_margins(read: QuestionRead, outputs: Sequence[Floats], max_tokens: int) -> NDArray[np.float64]:
    """How much likelier each passage is than no answer.

    Args:
        read: N tokens in windows.
        outputs: (T, 2) of each window: scores of a beginning and of an end at each place.
        max_tokens: longest passage, L.

    Returns:
        (N, L) nats of the passage of l + 1 tokens from token n on; minus infinity where no window holds it. L is less
        where no window is so long.
    """
    longest = min(max_tokens, max((window.count for window in read.windows), default=0))
    margins = np.full((len(read.places), max(1, longest)), -np.inf)
    for window, told in zip(read.windows, outputs, strict=True):
        scores = np.asarray(told, np.float64)
        begins, ends = (scores[window.begin : window.begin + window.count] - scores[-1]).T
        here = margins[window.first : window.first + window.count]
        for longer in range(min(margins.shape[1], window.count)):
            last = window.count - longer
            here[:last, longer] = np.maximum(here[:last, longer], begins[:last] + ends[longer:])
    return margins


def best_answers(
    read: QuestionRead, margins: NDArray[np.float64], count: int, *, may_have_none: bool
) -> list[FoundAnswer]:
    """The likeliest passages, the best first, each text once at its best place; none where there is nothing to read.

    Args:
        read: what was read.
        margins: (N, L) of `span_margins`.
        count: of passages, at most.
        may_have_none: whether a question may have no answer, which takes its share of the probability.
    """
    flat = margins.ravel()
    possible = np.flatnonzero(np.isfinite(flat))
    total = _log_sum(np.append(flat[possible], [0.0] if may_have_none else []))
    order = possible[np.argsort(-flat[possible], kind="stable")]
    found: dict[str, FoundAnswer] = {}
    for number in order.tolist():
        if len(found) >= count:
            break
        first, longer = divmod(number, margins.shape[1])
        start, end = int(read.places[first, 0]), int(read.places[first + longer, 1])
        text = read.context[start:end]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        if text and text not in found:
            margin = float(flat[number])
            found[text] = FoundAnswer(text, start, start + len(text), margin, float(np.exp(margin - total)))
    return list(found.values())


def _log_sum(values: NDArray[np.float64]) -> float:
    if not len(values):
        return 0.0
    most = values.max()
    return float(most + np.log(np.exp(values - most).sum()))


def best_margin(margins: Sequence[float], answered: ArrayLike, silent: ArrayLike) -> float:
    """From which margin on answers should be given, so that most is gained.

    Args:
        margins: of the best answer to each question; a question without any does not matter here.
        answered: (N,) what giving it is worth.
        silent: (N,) what saying nothing is worth.

    Returns:
        A margin between two of those given, or beyond them all; of equal ones the nearest to 0.
    """
    everything = np.asarray(margins, np.float64)
    order = np.argsort(-everything, kind="stable")
    order = order[np.isfinite(everything[order])]
    if not len(order):
        return 0.0
    sorted_margins = everything[order]
    gains = (np.asarray(answered, np.float64) - np.asarray(silent, np.float64))[order]
    totals = np.concatenate([np.zeros(1), np.cumsum(gains)])  # when the k most certain ones are answered
    between = (sorted_margins[1:] + sorted_margins[:-1]) / 2
    edges = np.concatenate([sorted_margins[:1] + 1, between, sorted_margins[-1:] - 1])
    apart = np.concatenate([[True], sorted_margins[1:] < sorted_margins[:-1], [True]])  # equals go together
    allowed = np.flatnonzero(apart & (totals >= totals[apart].max() - 1e-9))
    return min((_nearest_to_zero(sorted_margins, k, float(edges[k])) for k in allowed.tolist()), key=abs)


def _nearest_to_zero(margins: NDArray[np.float64], answered: int, edge: float) -> float:
    """A margin that so many of some falling ones exceed: 0 where it does, else `edge`."""
    return 0.0 if int((margins > 0).sum()) == answered else edge
