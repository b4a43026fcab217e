"""Rows to learn from: what was asked with what a model said in the place of the answer, as the task reads it again."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.errors import UsageError
from stepwell.tasks import build_task, read_task

MULTIPLE = {"kind": "classification", "problem": "multiple", "labels": ["a", "b"], "decision": {"threshold": 0.3}}
CASES: dict[str, tuple[dict[str, Any], Any, str, dict[str, float], dict[str, Any]]] = {
    "a label": ({"kind": "classification"}, "a film", "good", {"good": 0.9}, {"text": "a film", "label": "good"}),
    "over another one": (
        {"kind": "classification", "label": "topic"},
        {"Text": "a film", "topic": "bad", "id": 3},
        "good",
        {},
        {"Text": "a film", "id": 3, "topic": "good"},
    ),
    "several labels": (MULTIPLE, "a film", "a", {"a": 0.6, "b": 0.1}, {"text": "a film", "label": ["a"]}),
    "no label": (MULTIPLE, "a film", "-", {"a": 0.2, "b": 0.1}, {"text": "a film", "label": []}),
    "a number": ({"kind": "classification", "problem": "number"}, "x", "2.5", {}, {"text": "x", "label": 2.5}),
    "a translation": (
        {"kind": "translation", "source": "en", "target": "zh"},
        "a well",
        "井",
        {},
        {"en": "a well", "zh": "井"},
    ),
    "a summary": (
        {"kind": "summarization"},
        {"article": "long", "headline": "old"},
        "short",
        {},
        {"article": "long", "headline": "short"},
    ),
    "a passage": (
        {"kind": "question_answering"},
        {"question": "who?", "context": "Tom did."},
        "Tom",
        {},
        {"question": "who?", "context": "Tom did.", "answers": ["Tom"]},
    ),
    "no answer": (
        {"kind": "question_answering", "mode": "generative"},
        {"question": "who?", "context": "It rains."},
        "",
        {},
        {"question": "who?", "context": "It rains.", "answers": []},
    ),
    "what an assistant says": (
        {"kind": "chat", "decision": {"system": "Be brief."}},
        "hello",
        "hi",
        {},
        {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_holds_what_was_asked_and_said(name: str) -> None:
    settings, asked, said, probabilities, wanted = CASES[name]
    task = build_task(read_task(settings))
    assert task.answer_field is not None
    assert task.row(asked, said, probabilities) == wanted


def test_a_part_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="several parts"):
        build_task(read_task({"kind": "question_answering"})).row("who?", "Tom", {})


@pytest.mark.parametrize("kind", ["language_modeling", "tagging", "preference", "retrieval", "embedding", "generation"])
def test_what_else_a_model_says_is_no_answer_to_learn_from(kind: str) -> None:
    assert build_task(read_task({"kind": kind})).answer_field is None
