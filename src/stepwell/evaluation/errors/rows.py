"""Examples with what was said of them, one row each, as a person looks at them.

What was asked and what is right stand in the columns of a document; which columns they are is told by the fields of the
task, or by a function of its own. This file leaves out what was said, which the scores remember, and tables of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stepwell.data import Document
from stepwell.evaluation.errors.tables import metric_of_each
from stepwell.evaluation.scores.metrics import Scores
from stepwell.tasks import Tagging, TaggingConfig, TaskConfig, build_task, conversation_of

Row = dict[str, Any]

MOST_ROWS = 100_000

MOST_CHARACTERS = 600
"""Of a text in a row."""

AROUND_CHARACTERS = 100
"""Of a context, before and after a right answer."""

MOST_WORDS = 120
"""Of a tagged sentence in a row."""

VALUES = {
    "translation": ("chrf", "loss"),
    "summarization": ("rouge_l", "length_ratio"),
    "question_answering": ("f1",),
    "preference": ("loss", "margin"),
    "retrieval": ("mrr_at_10",),
}
"""Kind of a task -> metrics that stand beside each example; the loss, where it is not here."""


def answer_rows(scores: Scores, documents: Sequence[Document], task: TaskConfig) -> list[Row]:
    """What was asked and said, example by example.

    Args:
        scores: of N examples of `task`, with what was said of them.
        documents: of the examples.
        task: what was asked.

    Returns:
        Of each example its `number`, `text` and how many `characters` that has, what is `true`, what was said
        (`answer`, and what goes with it), and `values`: metrics of it alone. Nothing where the task has no examples,
        where they are not one for each document, or where there are too many to be looked at.
    """
    if not build_task(task).fields() or len(documents) != len(scores) or len(scores) > MOST_ROWS:
        return []
    names = [name for name in VALUES.get(task.kind, ("loss",)) if name in scores.metrics]
    values = {name: metric_of_each(scores, name) for name in names}
    said = scores.said or [{}] * len(documents)
    rows = []
    for number, (document, told) in enumerate(zip(documents, said, strict=True)):
        asked = PARTS.get(task.kind, _fields)(document, task)
        row = {"number": number, "characters": len(asked["text"]), **asked, **told}
        row["values"] = {name: _finite(of_each[number]) for name, of_each in values.items()}
        rows.append({name: _short(value) for name, value in row.items()})
    return rows


def _fields(document: Document, task: TaskConfig) -> dict[str, Any]:
    """What is asked, and what is right, by the fields of the task."""
    fields = build_task(task).fields()
    asked = [plain(document.columns.get(name)) for name, field in fields.items() if not field.is_answer and field.kept]
    right = [plain(document.columns.get(name)) for name, field in fields.items() if field.is_answer]
    return {"text": "\n".join(filter(None, asked)) or document.text, "true": "\n".join(filter(None, right))}


def _label(document: Document, task: TaskConfig) -> dict[str, Any]:
    label = document.columns.get("label")
    return {"text": document.text, "true": ", ".join(map(str, label)) if isinstance(label, list) else plain(label)}


def _words(document: Document, task: TaskConfig) -> dict[str, Any]:
    assert isinstance(task, TaggingConfig)
    text, words = Tagging(task).placed(document)
    ends = [0, *(word.end for word in words)]
    gaps = [text[end : word.start] for end, word in zip(ends, words, strict=False)]
    true = Tagging(task).tags_of(document) or []
    return {"text": text, "words": [word.text for word in words], "gaps": gaps, "true": true}


def _question(document: Document, task: TaskConfig) -> dict[str, Any]:
    """A question, what stands around the right answer in its context, and that answer."""
    context, true = plain(document.columns.get("context")), plain(document.columns.get("answers"))
    begin = max(0, context.find(true) - AROUND_CHARACTERS) if true else 0
    end = begin + 2 * AROUND_CHARACTERS + len(true)
    around = f"{'…' if begin else ''}{context[begin:end]}{'…' if end < len(context) else ''}"
    asked = plain(document.columns.get("question"))
    return {"text": asked, "characters": len(context), "context": around, "true": true}


def _last_turn(document: Document, task: TaskConfig) -> dict[str, Any]:
    """The last thing that a person says in a conversation, and the answer to it."""
    said = conversation_of(document.columns)
    if isinstance(said, str):
        return {"text": document.text, "true": ""}
    right = said.pop()["content"] if said[-1]["role"] == "assistant" else ""
    return {"text": said[-1]["content"] if said else document.text, "true": right}


def _query(document: Document, task: TaskConfig) -> dict[str, Any]:
    """What is searched for, and what should be found."""
    return {"text": plain(document.columns.get("query")), "true": plain(document.columns.get("document"))}


def _pair(document: Document, task: TaskConfig) -> dict[str, Any]:
    """What is asked, the better answer, and the worse one."""
    row, columns = _fields(document, task), document.columns
    if columns.get("chosen") is None or columns.get("rejected") is None:
        return row
    return {"text": row["text"], "true": plain(columns["chosen"]), "worse": plain(columns["rejected"])}


PARTS: Mapping[str, Callable[[Document, TaskConfig], dict[str, Any]]] = {
    "classification": _label,
    "tagging": _words,
    "question_answering": _question,
    "chat": _last_turn,
    "preference": _pair,
    "retrieval": _query,
}
"""Kind of a task -> function that gives `text` and `true` of an example, where the fields do not say it."""


def plain(value: Any) -> str:
    """A value of a column as text: of a conversation the last thing said, of several texts the first.

    Args:
        value: any JSON value.
    """
    if isinstance(value, Mapping):
        named = [value[name] for name in ("content", "value", "text") if name in value]
        return plain(named[0]) if named else ""
    if isinstance(value, list | tuple):
        told = [text for one in value if (text := plain(one))]
        return "" if not told else told[-1] if isinstance(value[0], Mapping) and "role" in value[0] else told[0]
    return "" if value is None else str(value)


def _short(value: Any) -> Any:
    """A value of a row without what nobody reads."""
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARACTERS else value[:MOST_CHARACTERS] + "…"
    return value[:MOST_WORDS] if isinstance(value, list | tuple) else value


def _finite(value: Any) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
