"""Calls of tools in what a model writes.

Families write a call in their own way: `<tool_call>{...}</tool_call>` (Hermes, Qwen, SmolLM), `[TOOL_CALLS] [...]`
(Mistral), `<|python_tag|>{...}` or a bare JSON object (Llama). In each of them a call is an object with `name`, and
`arguments` or `parameters`; so that is what is looked for, and only names of tools that were offered count. While text
is streamed, what could be the beginning of a call is held back. This file leaves out the templates that tell a model
of its tools.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

MARKERS = ("<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<function_call>", "<|tool_call|>")
"""What stands before calls."""

ENDS = ("</tool_call>", "</function_call>", "<|/tool_call|>")
"""What stands after them."""

MOST_FAILED = 32
"""Places in a text that may look like JSON and be none, before the rest of it is taken for text."""


class ToolReader:
    """Tells calls from text, as it comes.

    Args:
        names: of the tools that were offered.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._text = ""
        self._shown = 0

    def push(self, text: str) -> str:
        """Take the next piece of text; returns what is certainly no call."""
        self._text += text
        until = self._undecided()
        shown, self._shown = self._text[self._shown : until], max(self._shown, until)
        return shown

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """The text is over.

        Returns:
            What is still to be shown, and the calls as OpenAI tells them.
        """
        held = self._text[self._shown :]
        rest, calls = read_calls(held, self._names)
        return (rest, calls) if calls else (held, [])

    def _undecided(self) -> int:
        """Where the text begins that could be a call."""
        whole = self._text
        places = [at for marker in MARKERS if (at := whole.find(marker)) >= 0]
        if places:
            return min(places)
        stripped = whole.lstrip()
        if not stripped or stripped[0] in "{[":
            return len(whole) - len(stripped) if not stripped else 0
        for length in range(min(max(map(len, MARKERS)) - 1, len(whole)), 0, -1):
            if any(marker.startswith(whole[-length:]) for marker in MARKERS):
                return len(whole) - length
        return len(whole)


def read_calls(text: str, names: Collection[str]) -> tuple[str, list[dict[str, Any]]]:
    """The calls in a text.

    Args:
        text: whole.
        names: of the tools that were offered.

    Returns:
        The text without them, and each call as OpenAI tells it; no call where none of them is of a tool.
    """
    decoder, calls, rest, at, failed = json.JSONDecoder(), [], [], 0, 0
    marked = any(marker in text for marker in MARKERS)
    if not marked and not text.lstrip().startswith(("{", "[")):
        return text, []
    while at < len(text):
        begin = min((place for mark in "{[" if (place := text.find(mark, at)) >= 0), default=-1)
        if begin < 0:
            break
        try:
            value, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            failed += 1
            if failed > MOST_FAILED:
                break
            rest.append(text[at : begin + 1])
            at = begin + 1
            continue
        found = [call for one in _several(value) if (call := _call(one, names)) is not None]
        rest.append(text[at:begin] if found else text[at:end])
        calls += found
        at = end
    left = "".join([*rest, text[at:]])
    for mark in (*MARKERS, *ENDS):
        left = left.replace(mark, "")
    return left.strip(" \n;,"), calls


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _call(value: Any, names: Collection[str]) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        return None
    function = value.get("function")
    if isinstance(function, Mapping):
        value = function
    elif isinstance(function, str):
        value = {**value, "name": function}
    name = value.get("name")
    if not isinstance(name, str) or name not in names:
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    told = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": {"name": name, "arguments": told}}


def call_schema(functions: Sequence[Mapping[str, Any]], *, several: bool) -> dict[str, Any]:
    """The JSON schema of a call of one of some functions, for answers that must be one.

    Args:
        functions: each with `name` and `parameters`.
        several: whether more than one call may be made.
    """
    of_each = [
        {
            "type": "object",
            "properties": {
                "name": {"const": one["name"]},
                "arguments": one.get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for one in functions
    ]
    call = of_each[0] if len(of_each) == 1 else {"anyOf": of_each}
    return {"type": "array", "items": call, "minItems": 1} if several else call
