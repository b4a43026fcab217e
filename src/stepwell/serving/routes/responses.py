"""`/v1/responses`: OpenAI's newer interface, for text. Every answer stands alone: none is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from stepwell.serving.calls import Call, Operation, operation
from stepwell.serving.faults import JSON
from stepwell.serving.requests_responses import ResponseRequest
from stepwell.serving.routes.chat import ANY_OBJECT
from stepwell.serving.streaming import as_event
from stepwell.serving.worker import Told
from stepwell.serving.writing import Writing, Written, streamed


async def respond(call: Call[ResponseRequest]) -> Response:
    """Answer a conversation."""
    asked, served = call.asked, call.served
    served.writer()
    prompt = await asyncio.to_thread(served.chat_ids, asked.messages())
    chosen = asked.drawing()
    wanted = asked.text.format
    if wanted.type != "text":
        chosen["json_schema"] = ANY_OBJECT if wanted.type == "json_object" else wanted.schema_
    writing = Writing(
        served,
        [prompt],
        chosen,
        samples=1,
        max_tokens=asked.max_output_tokens,
        continues=False,
        most_tokens=call.server.config.most_tokens,
    )
    shape = _Shape(call, writing)
    if asked.stream:
        return await streamed(writing, shape.pieces, call.deadline)
    ((one,),) = await writing.finish()
    return JSON(shape.whole(one))


class _Shape:
    """How an answer is told.

    Args:
        call: that asked for it.
        writing: its source.
    """

    def __init__(self, call: Call[ResponseRequest], writing: Writing) -> None:
        self.call, self.writing = call, writing
        self.message_id, self.created = f"msg_{call.id}", int(time.time())

    def whole(self, one: Written | None) -> dict[str, Any]:
        """The answer as a whole; None for one that has not ended."""
        asked = self.call.asked
        is_cut = one is not None and one.finish_reason == "length"
        status = "in_progress" if one is None else "incomplete" if is_cut else "completed"
        params = self.writing.params
        usage = self.writing.usage()
        return {
            "id": f"resp_{self.call.id}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": self.call.served.name,
            "output": [] if one is None else [self._message(one)],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": params.temperature,
            "text": {"format": {"type": asked.text.format.type}},
            "tool_choice": "none",
            "tools": [],
            "top_p": 1.0 if params.top_p is None else params.top_p,
            "truncation": "disabled",
            "metadata": asked.metadata or {},
            "usage": None if one is None else {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
        }  # fmt: skip

    def _message(self, one: Written) -> dict[str, Any]:
        status = "incomplete" if one.finish_reason == "length" else "completed"
        return {"type": "message", "id": self.message_id, "role": "assistant", "status": status,
                "content": [_part(one.text)]}  # fmt: skip

    async def pieces(self, events: AsyncIterator[Told]) -> AsyncIterator[bytes]:
        """The answer piece by piece, each event with its number."""
        number = 0

        def told(kind: str, fields: dict[str, Any]) -> bytes:
            nonlocal number
            number += 1
            return as_event({"type": kind, "sequence_number": number - 1, **fields}, kind)

        place = {"item_id": self.message_id, "output_index": 0, "content_index": 0}
        begun = {"type": "message", "id": self.message_id, "role": "assistant", "status": "in_progress", "content": []}
        yield told("response.created", {"response": self.whole(None)})
        yield told("response.in_progress", {"response": self.whole(None)})
        yield told("response.output_item.added", {"output_index": 0, "item": begun})
        yield told("response.content_part.added", {**place, "part": _part("")})
        one = self.writing.written[0][0]
        async for event in events:
            self.writing.take(event)
            if event.event.text:
                yield told("response.output_text.delta", {**place, "delta": event.event.text, "logprobs": []})
        yield told("response.output_text.done", {**place, "text": one.text, "logprobs": []})
        yield told("response.content_part.done", {**place, "part": _part(one.text)})
        yield told("response.output_item.done", {"output_index": 0, "item": self._message(one)})
        ended = "response.incomplete" if one.finish_reason == "length" else "response.completed"
        yield told(ended, {"response": self.whole(one)})


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


OPERATIONS: list[Operation] = operation(
    ["/v1/responses"], ResponseRequest, respond, "Answer a conversation, in the newer interface."
)
