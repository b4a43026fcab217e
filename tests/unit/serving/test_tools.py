"""Calls of tools in what a model writes, whole and piece by piece."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from stepwell.serving.tools import ToolReader, call_schema, read_calls

NAMES = ("weather", "clock")
CALL = {"name": "weather", "arguments": {"city": "Paris"}}

WRITTEN = {
    "hermes": f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>",
    "two of hermes": f'<tool_call>{json.dumps(CALL)}</tool_call>\n<tool_call>{{"name": "clock"}}</tool_call>',
    "list in marks": f"<tool_call>[{json.dumps(CALL)}]</tool_call>",
    "mistral": f"[TOOL_CALLS] [{json.dumps(CALL)}]",
    "llama": json.dumps({"name": "weather", "parameters": {"city": "Paris"}}),
    "llama with its mark": "<|python_tag|>" + json.dumps({"name": "weather", "parameters": {"city": "Paris"}}),
    "openai": json.dumps([{"type": "function", "function": CALL}]),
    "with words before": f"Let me see. <tool_call>{json.dumps(CALL)}</tool_call>",
}


def plain(calls: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    for one in calls:
        assert one["type"] == "function"
        assert one["id"].startswith("call_")
    return [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in calls]


@pytest.mark.parametrize("written", WRITTEN, ids=str)
def test_calls_of_every_family_are_read(written: str) -> None:
    text, calls = read_calls(WRITTEN[written], NAMES)
    assert plain(calls)[0] == ("weather", {"city": "Paris"})
    assert text == ("Let me see. ".rstrip() if "words" in written else "")
    if written == "two of hermes":
        assert plain(calls)[1] == ("clock", {})
    assert len({one["id"] for one in calls}) == len(calls)


@pytest.mark.parametrize(
    "text",
    [
        "Just words.",
        '{"name": "unknown", "arguments": {}}',
        '{"city": "Paris"}',
        "[1, 2, 3]",
        "{not json",
        "<tool_call>nothing</tool_call>",
        "a < b and [c]",
        "",
        "[" * 3000,
    ],
)
def test_what_is_no_call_of_an_offered_tool_stays_text(text: str) -> None:
    reader = ToolReader(NAMES)
    shown = reader.push(text)
    rest, calls = reader.finish()
    assert calls == []
    assert shown + rest == text


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("written", WRITTEN, ids=str)
def test_pieces_of_any_size_give_what_the_whole_gives(written: str, size: int) -> None:
    whole = WRITTEN[written]
    reader, shown = ToolReader(NAMES), ""
    for begin, end in pairwise([*range(0, len(whole), size), len(whole)]):
        shown += reader.push(whole[begin:end])
    rest, calls = reader.finish()
    assert plain(calls) == plain(read_calls(whole, NAMES)[1])
    assert "tool_call" not in shown + rest
    assert "{" not in shown + rest
    assert shown.startswith("Let me see.") == ("words" in written)


def test_text_that_cannot_become_a_call_is_shown_at_once() -> None:
    reader = ToolReader(NAMES)
    assert reader.push("The well ") == "The well "
    assert reader.push("is <b>deep") == "is <b>deep"
    assert reader.push(" <tool_") == " "
    assert reader.push("box>") == "<tool_box>"


def test_the_schema_of_a_forced_call() -> None:
    functions = [{"name": "weather", "parameters": {"type": "object", "required": ["city"]}}, {"name": "clock"}]
    one = call_schema(functions[:1], several=False)
    assert one["properties"]["name"] == {"const": "weather"}
    assert one["properties"]["arguments"]["required"] == ["city"]
    several = call_schema(functions, several=True)
    assert several["minItems"] == 1
    assert [each["properties"]["name"]["const"] for each in several["items"]["anyOf"]] == ["weather", "clock"]
