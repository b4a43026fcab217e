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
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from stepwell.serving.calls import Operation, Server, route_of
from stepwell.serving.faults import JSON, Refusal
from stepwell.serving.gate import Gate, Keys
from stepwell.serving.openapi import describe
from stepwell.serving.routes import chat, completions, embeddings, responses, tasks, texts
from stepwell.serving.routes.status import status_routes

PAGE = Path(__file__).parent / "page"

OPERATIONS: list[Operation] = [
    *completions.OPERATIONS,
    *chat.OPERATIONS,
    *responses.OPERATIONS,
    *embeddings.OPERATIONS,
    *tasks.OPERATIONS,
    *texts.OPERATIONS,
]
"""Every route that asks a model."""

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
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
        routes=[*(route_of(one, server) for one in OPERATIONS), *status_routes(server), _description(), *_page()],
        middleware=middleware,
        exception_handlers={HTTPException: _refused},
        lifespan=working,
    )


def _description() -> Route:
    """What the server can be asked, for programs."""
    described = describe(OPERATIONS)

    async def endpoint(request: Request) -> Response:
        request.scope["stepwell.route"] = "/openapi.json"
        return JSON(described)

    return Route("/openapi.json", endpoint)


def _page() -> list[Route]:
    """A route for each of the page's files; none where there are no files."""
    files = sorted(path for path in PAGE.glob("*") if path.is_file()) if PAGE.is_dir() else []
    return [_page_route("/" if path.name == "index.html" else f"/{path.name}", path) for path in files]


def _page_route(path: str, file: Path) -> Route:
    async def endpoint(request: Request) -> Response:
        request.scope["stepwell.route"] = "/"
        return FileResponse(file, headers=PAGE_HEADERS)

    return Route(path, endpoint)


async def _refused(request: Request, error: Exception) -> Response:
    """Errors of the router: no such path, or not by this method."""
    assert isinstance(error, HTTPException)
    told = {404: "There is nothing at this path.", 405: "This path does not take this method."}
    refusal = Refusal(error.status_code, told.get(error.status_code, str(error.detail)))
    return JSON(refusal.body, error.status_code, dict(error.headers or {}))
