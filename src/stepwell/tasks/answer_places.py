"""Answers as data has them, and where they stand in their context.

Tables write answers in several ways: a text, a list of texts, SQuAD's lists of texts and beginnings. Where no beginning
is given every place counts at which the answer stands. This file leaves out tokens (`question_answering`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stepwell.errors import DataError


class RightAnswer(NamedTuple):
    """One of the right answers to a question.

    Attributes:
        text: without blanks around it, not empty.
        start: its first character in the context, where that is told.
    """

    text: str
    start: int | None


def answers_in(value: Any) -> list[RightAnswer]:
    """The right answers in a cell of a table; none where the question has none.

    Args:
        value: None, a text, a list of texts, `{text: [...], answer_start: [...]}`, or a list of
            `{text: ..., answer_start: ...}`.

    Raises:
        DataError: when it is something else, or texts and beginnings are not as many.
    """
    if isinstance(value, Mapping) and "text" in value:
        texts, starts = value["text"], value.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        starts = starts if starts is not None else [None] * len(texts or ())
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise _strange(value, "as many texts as beginnings")
        return _found(zip(texts, starts, strict=True), value)
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return _found(((one.get("text"), one.get("answer_start")) for one in value), value)
    if value is None or isinstance(value, str | list):
        several = value if isinstance(value, list) else [value]
        return _found(((one, None) for one in several if one is not None), value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [RightAnswer(str(value), None)]
    raise _strange(value, "a text, a list of texts, or {text: [...], answer_start: [...]}")


def _found(pairs: Any, value: Any) -> list[RightAnswer]:
    found = []
    for text, start in pairs:
        if not isinstance(text, str) or not (start is None or isinstance(start, int)):
            raise _strange(value, "texts, and whole numbers for their beginnings")
        if text.strip():
            begin = None if start is None else start + len(text) - len(text.lstrip())
            found.append(RightAnswer(text.strip(), begin))
    return list(dict.fromkeys(found))


def _strange(value: Any, wanted: str) -> DataError:
    return DataError("task.answers: cannot be read", got=repr(value)[:80], wanted=wanted)


def places_of(context: str, answers: Sequence[RightAnswer]) -> list[tuple[int, int]]:
    """Where right answers stand: first character and the one behind the last, each place once.

    Args:
        context: that they should stand in.
        answers: one that is told to begin where it does not counts where it stands nearest to that.
    """
    places: dict[tuple[int, int], None] = {}
    for text, start in answers:
        starts = _occurrences(context, text)
        if start is not None and starts:
            starts = [min(starts, key=lambda at: abs(at - start))]
        places.update(dict.fromkeys((at, at + len(text)) for at in starts))
    return list(places)


def _occurrences(context: str, text: str) -> list[int]:
    found, at = [], context.find(text)
    while at >= 0:
        found.append(at)
        at = context.find(text, at + 1)
    return found
