"""Rows of tables as conversations: who says what, in one form.

The field writes conversations as messages with `role` and `content`, as turns with `from` and `value` (ShareGPT), or as
an instruction with its output (Alpaca). What is no conversation is told in a few words. This file leaves out tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from stepwell.data import text_of

Messages = list[dict[str, str]]
"""Each with `role` (system, user or assistant) and `content`."""

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
}
"""How the field spells who speaks."""


def conversation_of(columns: Mapping[str, Any]) -> Messages | str:
    """The conversation of a row, or in a few words why there is none.

    Args:
        columns: by the names of the fields of `Chat`.

    Returns:
        A system message or none, and then user and assistant in turns; the last one may be either.
    """
    messages = _listed(columns.get("messages"))
    if messages is None:
        messages = _of_instruction(columns)
    if not messages:
        return "no messages"
    system = columns.get("system")
    if isinstance(system, str) and system.strip():
        messages = [{"role": "system", "content": system}, *messages]
    said: Messages = []
    for one in messages:
        read = _message(one)
        if isinstance(read, str):
            return read
        said.append(read)
    return _wrong_order([one["role"] for one in said]) or said


def _listed(value: object) -> list[Any] | None:
    """Messages as a list; a table without nesting has them as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, Mapping):
        value = value.get("messages", [value])
    return list(value) if isinstance(value, list | tuple) else None


def _of_instruction(columns: Mapping[str, Any]) -> list[Any]:
    asked = text_of([columns.get("instruction"), columns.get("input")])
    if not asked:
        return []
    history = [
        {"role": role, "content": content}
        for pair in columns.get("history") or ()
        if isinstance(pair, list | tuple) and len(pair) == 2
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]
    answer = columns.get("output")
    told = [] if answer is None else [{"role": "assistant", "content": answer}]
    return [*history, {"role": "user", "content": asked}, *told]


def _message(one: object) -> dict[str, str] | str:
    """A message in the one form, or what is wrong with it."""
    if not isinstance(one, Mapping):
        return "a message without role and content"
    role, content = (one.get(key, one.get(other)) for key, other in (("role", "from"), ("content", "value")))
    if not isinstance(role, str):
        return "a message without a role"
    known = ROLES.get(role.strip().lower())
    if known is None:
        return f"unknown role {role[:20]!r}"
    if not isinstance(content, str):
        content = text_of([content])
    if not content.strip():
        return "an empty answer" if known == "assistant" else "an empty message"
    return {"role": known, "content": content}


def _wrong_order(roles: Sequence[str]) -> str | None:
    """What is wrong with who speaks when."""
    turns = roles[1:] if roles[0] == "system" else roles
    if not turns:
        return "nothing but a system message"
    if "system" in turns:
        return "roles out of order: a system message within"
    if turns[0] != "user":
        return "roles out of order: the assistant begins"
    if any(one == other for one, other in pairwise(turns)):
        return "roles out of order: one speaks twice"
    return None
