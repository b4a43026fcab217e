"""The application: every route, behind the gate, and the page at `/`.

This file leaves out where it listens (`server.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.serving.calls import Operation, Server, route_of
from stepwell.serving.faults import JSON, Refusal
from stepwell.serving.gate import Gate, Keys
from stepwell.serving.routes import chat, completions
from stepwell.serving.routes.status import status_routes

PAGE = Path(__file__).parent / "page"

OPERATIONS: list[Operation] = [*completions.OPERATIONS, *chat.OPERATIONS]
"""Every route that asks a model."""

PAGE_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
     b"form-action 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)  # fmt: skip
"""The page loads nothing from elsewhere, and runs nothing that stands inside it."""


def make_app(server: Server, keys: Keys | None = None) -> Starlette:
    """The application of a server; its models start with it, and end with it.

    Args:
        server: its models, settings and meters.
        keys: who may ask; None lets everybody.
    """

    @asynccontextmanager
    async def working(app: Starlette) -> AsyncIterator[None]:
        for served in server.models.values():
            served.start()
        try:
            yield
        finally:
            for served in server.models.values():
                served.stop()

    middleware = [Middleware(Gate, server=server, keys=keys or Keys())]
    if server.config.cors_origins:
        allowed = Middleware(
            CORSMiddleware,
            allow_origins=list(server.config.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
        middleware.insert(0, allowed)
    return Starlette(
        routes=[*(route_of(one, server) for one in OPERATIONS), *status_routes(server), *_page()],
        middleware=middleware,
        exception_handlers={HTTPException: _refused},
        lifespan=working,
    )


def _page() -> list[Route | Mount]:
    """The page's files; nothing where there are none."""
    if not PAGE.is_dir():
        return []
    return [Mount("/", _Strict(StaticFiles(directory=PAGE, html=True)))]


class _Strict:
    """Files with headers that keep a page to itself.

    Args:
        app: that gives the files.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *PAGE_HEADERS]}
            await send(message)

        await self.app(scope, receive, guarded)


async def _refused(request: Request, error: Exception) -> Response:
    """Errors of the router: no such path, or not by this method."""
    assert isinstance(error, HTTPException)
    told = {404: "There is nothing at this path.", 405: "This path does not take this method."}
    refusal = Refusal(error.status_code, told.get(error.status_code, str(error.detail)))
    return JSON(refusal.body, error.status_code, dict(error.headers or {}))
