"""Answers piece by piece, as server-sent events, and what happens when the client goes away.

A client that goes is noticed at once, also before the first piece, and whatever worked for it is closed. An error in
the middle of a stream is told as a last event, since the status has been sent. This file leaves out what pieces say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stepwell.errors import StepwellError
from stepwell.serving.faults import Refusal, broken, refusal_of, to_json

logger = logging.getLogger("stepwell.serving")

DONE = b"data: [DONE]\n\n"
"""How OpenAI ends a stream."""


class Gone(Exception):  # noqa: N818 - nobody's fault
    """The client went away before it had its answer."""


def as_event(content: Any, name: str | None = None) -> bytes:
    """One server-sent event.

    Args:
        content: plain values.
        name: of the event's kind, for clients that want one.
    """
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + to_json(content) + b"\n\n"


def late() -> Refusal:
    """The time for a request is over."""
    return Refusal(408, "The request took longer than this server allows.", code="timeout")


async def until_gone(receive: Receive) -> None:
    """Wait until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Awaitable[Response]) -> Response:
    """Work on an answer as long as somebody waits for it.

    Args:
        receive: of the request, whose body was read.
        work: that is cancelled when the client goes.

    Raises:
        Gone: when it went.
    """
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(until_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        await _end(working)
        if not working.cancelled() and working.exception() is None:  # it was ready at the very moment
            answer = working.result()
            if isinstance(answer, EventStream):
                answer.close()
        raise Gone
    finally:
        await _end(watching)
        await _end(working)


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait until it has cleaned up; what it raises is its own affair."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


class EventStream(Response):
    """An answer that is sent as its pieces come.

    Args:
        pieces: events, ready to be sent.
        close: ends what makes them; called whatever happens, also when nothing was ever sent, and perhaps twice.
            Whoever hears that a stream has ended can count on it.
        deadline: in the loop's time, when the stream is given up.
    """

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncIterator[bytes], close: Callable[[], None], deadline: float) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.pieces, self._close, self.deadline = pieces, close, deadline

    def close(self) -> None:
        """End what makes the pieces."""
        self._close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        watching = asyncio.ensure_future(until_gone(receive))
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise Gone
            sending.result()
        finally:
            await _end(watching)
            await _end(sending)
            self.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with asyncio.timeout_at(self.deadline):
                async for piece in self.pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            last = b""
        except Exception as error:
            last = as_event(_told(error).body)
        self.close()
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _told(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TimeoutError):
        return late()
    if isinstance(error, StepwellError):
        return refusal_of(error)
    logger.exception("a stream failed", exc_info=error)
    return broken()
