"""`/v1/chat/completions`: answers in conversations, with tools and answers of a given form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from stepwell.inference import Drawn
from stepwell.serving.calls import Call, Operation, operation
from stepwell.serving.faults import JSON, Refusal
from stepwell.serving.logprobs import told_tokens
from stepwell.serving.requests_openai import ChatRequest, NamedTool
from stepwell.serving.served import Served
from stepwell.serving.streaming import DONE, as_event
from stepwell.serving.tools import ToolReader, call_schema, read_calls
from stepwell.serving.worker import Told
from stepwell.serving.writing import Writing, Written, streamed

ANY_OBJECT = {"type": "object"}
"""The schema of `response_format: json_object`."""

FORMS = ("json_schema", "regex", "choice", "grammar")
"""Fields that say what an answer looks like, of which there can be one."""


async def answer(call: Call[ChatRequest]) -> Response:
    """Answer a conversation."""
    asked, served = call.asked, call.served
    served.writer()
    names = offered(asked)
    chosen = form_of(asked)
    prompt = await asyncio.to_thread(_read, served, asked)
    if asked.logprobs and asked.top_logprobs:
        chosen["logprobs"] = asked.top_logprobs
    writing = Writing(
        served,
        [prompt],
        chosen,
        samples=asked.n,
        max_tokens=asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens,
        continues=False,
        most_tokens=call.server.config.most_tokens,
    )
    shape = _Shape(call, writing, names)
    if asked.stream:
        return await streamed(writing, shape.pieces, call.deadline)
    (written,) = await writing.finish()
    choices = [shape.choice(index, one) for index, one in enumerate(written)]
    return JSON({**shape.head("chat.completion"), "choices": choices, "usage": writing.usage()})


def offered(asked: ChatRequest) -> frozenset[str]:
    """Names of the tools that may be used."""
    if asked.tool_choice == "none":
        return frozenset()
    if isinstance(asked.tool_choice, NamedTool):
        return frozenset({asked.tool_choice.function.name})
    return frozenset(one.function.name for one in asked.tools or ())


def _read(served: Served, asked: ChatRequest) -> tuple[int, ...]:
    """The conversation as token ids."""
    tools = [one.model_dump(exclude_none=True) for one in asked.tools or ()] if asked.tool_choice != "none" else []
    if tools and served.has_chat_template and "tools" not in (served.tokenizer.chat_template or ""):
        raise Refusal(
            400, f"tools: the chat template of `{served.name}` knows no tools.", param="tools",
            code="unsupported_parameter",
        )  # fmt: skip
    return served.chat_ids([one.plain() for one in asked.messages], tools or None)


def form_of(asked: ChatRequest) -> dict[str, Any]:
    """Fields of `SamplingParams`, with what the answer must look like.

    Raises:
        Refusal: when two things are said of that.
    """
    chosen = asked.drawing()
    forms: list[tuple[str, Any]] = []
    wanted = asked.response_format
    if wanted is not None and wanted.type == "json_object":
        forms.append(("response_format", ANY_OBJECT))
    elif wanted is not None and wanted.json_schema is not None:
        forms.append(("response_format", wanted.json_schema.schema_))
    if asked.tool_choice == "required" or isinstance(asked.tool_choice, NamedTool):
        names = offered(asked)
        functions = [one.function.model_dump() for one in asked.tools or () if one.function.name in names]
        several = asked.parallel_tool_calls and asked.tool_choice == "required"
        forms.append(("tool_choice", call_schema(functions, several=several)))
    if len(forms) + sum(name in chosen for name in FORMS) > 1:
        raise Refusal(
            400, f"only one of response_format, a forced tool_choice, {', '.join(FORMS)} can be asked for",
            param=forms[-1][0] if forms else FORMS[0], code="invalid_value",
        )  # fmt: skip
    if forms:
        chosen["json_schema"] = forms[0][1]
    return chosen


class _Shape:
    """How answers are told.

    Args:
        call: that asked for them.
        writing: their source.
        names: of tools that may be called.
    """

    def __init__(self, call: Call[ChatRequest], writing: Writing, names: frozenset[str]) -> None:
        self.call, self.writing, self.names = call, writing, names
        self.tokenizer = call.served.tokenizer
        self.created = int(time.time())

    def head(self, kind: str) -> dict[str, Any]:
        """What every answer and every piece begins with."""
        return {
            "id": f"chatcmpl-{self.call.id}",
            "object": kind,
            "created": self.created,
            "model": self.call.served.name,
        }

    def choice(self, index: int, one: Written) -> dict[str, Any]:
        """A whole answer."""
        text, calls = read_calls(one.text, self.names) if self.names else (one.text, [])
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message |= {"content": text or None, "tool_calls": calls}
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(one.drawn),
            "finish_reason": _reason(one, calls),
        }

    def _logprobs(self, drawn: list[Drawn]) -> dict[str, Any] | None:
        if not self.call.asked.logprobs:
            return None
        return {"content": told_tokens(self.tokenizer, drawn), "refusal": None}

    async def pieces(self, events: AsyncIterator[Told]) -> AsyncIterator[bytes]:
        """Answers piece by piece."""
        parts = [_Part(ToolReader(self.names) if self.names else None) for _ in range(self.call.asked.n)]
        for index in range(len(parts)):
            yield self._piece(index, {"role": "assistant", "content": ""})
        async for told in events:
            one, part = self.writing.take(told), parts[told.event.index]
            text, calls = part.read(told.event.text, is_last=one.finish_reason is not None)
            drawn, part.told = one.drawn[part.told :], len(one.drawn)
            if text or (drawn and self.call.asked.logprobs):
                yield self._piece(told.event.index, {"content": text}, logprobs=self._logprobs(drawn))
            if calls:
                numbered = [{"index": number, **each} for number, each in enumerate(calls)]
                yield self._piece(told.event.index, {"tool_calls": numbered})
            if one.finish_reason is not None:
                yield self._piece(told.event.index, {}, reason=_reason(one, calls))
        if self.call.asked.tells_usage:
            yield as_event({**self.head("chat.completion.chunk"), "choices": [], "usage": self.writing.usage()})
        yield DONE

    def _piece(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        usage = {"usage": None} if self.call.asked.tells_usage else {}
        return as_event({**self.head("chat.completion.chunk"), "choices": [choice], **usage})


@dataclass
class _Part:
    """How far an answer was told.

    Attributes:
        reader: finds calls in it; None where there are no tools.
        told: tokens.
    """

    reader: ToolReader | None
    told: int = 0

    def read(self, text: str, *, is_last: bool) -> tuple[str, list[dict[str, Any]]]:
        """What of the next piece is text, and which calls there are."""
        if self.reader is None:
            return text, []
        shown = self.reader.push(text)
        rest, calls = self.reader.finish() if is_last else ("", [])
        return shown + rest, calls


def _reason(one: Written, calls: list[dict[str, Any]]) -> str | None:
    return "tool_calls" if calls and one.finish_reason == "stop" else one.finish_reason


OPERATIONS: list[Operation] = operation(
    ["/v1/chat/completions", "/v1/engines/{engine}/chat/completions"],
    ChatRequest,
    answer,
    "Answer a conversation.",
)
