"""Rows as conversations: the field's ways to write them, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepwell.tasks import conversation_of

ASKED = {"role": "user", "content": "Why?"}
TOLD = {"role": "assistant", "content": "Because."}


@pytest.mark.parametrize(
    "columns",
    [
        {"messages": [ASKED, TOLD]},
        {"messages": json.dumps([ASKED, TOLD])},
        {"messages": {"messages": [ASKED, TOLD]}},
        {"messages": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
        {"messages": [{"role": "User", "content": [{"type": "text", "text": "Why?"}]}, TOLD]},
        {"instruction": "Why?", "input": "", "output": "Because."},
        {"instruction": "Why?", "output": "Because.", "system": None, "history": None},
    ],
)
def test_one_form(columns: dict[str, Any]) -> None:
    assert conversation_of(columns) == [ASKED, TOLD]


def test_alpaca_with_everything() -> None:
    columns = {
        "system": "Be brief.",
        "history": [["a", "b"], ["c", "d"]],
        "instruction": "Add.",
        "input": "1 2",
        "output": "3",
    }
    said = conversation_of(columns)
    assert isinstance(said, list)
    assert [(one["role"][0], one["content"]) for one in said] == [
        ("s", "Be brief."), ("u", "a"), ("a", "b"), ("u", "c"), ("a", "d"), ("u", "Add.\n\n1 2"), ("a", "3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "no messages"),
        ({"messages": []}, "no messages"),
        ({"messages": "[broken"}, "no messages"),
        ({"messages": ["hello"]}, "without role and content"),
        ({"messages": [{"content": "x"}]}, "without a role"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown role 'narrator'"),
        ({"messages": [TOLD, ASKED]}, "the assistant begins"),
        ({"messages": [ASKED, ASKED, TOLD]}, "one speaks twice"),
        ({"messages": [ASKED, {"role": "system", "content": "x"}, TOLD]}, "a system message within"),
        ({"messages": [{"role": "system", "content": "x"}]}, "nothing but a system message"),
        ({"messages": [ASKED, {"role": "assistant", "content": "  "}]}, "an empty answer"),
        ({"messages": [ASKED, {"role": "assistant", "content": None}]}, "an empty answer"),
        ({"messages": [{"role": "user", "content": ""}, TOLD]}, "an empty message"),
        ({"messages": [ASKED, TOLD], "system": "a", "instruction": "b"}, ""),
    ],
)
def test_what_is_no_conversation(columns: dict[str, Any], words: str) -> None:
    found = conversation_of(columns)
    assert words in found if words else isinstance(found, list)
