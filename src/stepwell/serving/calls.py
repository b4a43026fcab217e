"""One way for every request to a model: read it, find the model, work while the client waits, answer or refuse.

A route says what it reads and what it does; limits, time, clients that go and errors are the same for all of them, and
stand here. This file leaves out who may ask (`gate.py`).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive

from stepwell.errors import StepwellError
from stepwell.serving.config import ServeConfig
from stepwell.serving.faults import Refusal, broken, no_such_model, refusal_of
from stepwell.serving.meters import Meters
from stepwell.serving.requests import Named, read
from stepwell.serving.served import Served
from stepwell.serving.streaming import Gone, late, unless_gone

logger = logging.getLogger("stepwell.serving")

PASSED_OVER_BYTES = 64 << 20
PASSED_OVER_SECONDS = 5.0
"""How much of a body that is not wanted is taken, so that its sender hears why."""

RequestT = TypeVar("RequestT", bound=Named)


@dataclass
class Server:
    """What all routes know.

    Attributes:
        config: of the server.
        models: by name.
        meters: of the server.
        is_draining: whether it was asked to end.
    """

    config: ServeConfig
    models: dict[str, Served]
    meters: Meters
    is_draining: bool = False

    def find(self, name: str | None) -> Served:
        """The model of a name; of no name the only one.

        Raises:
            Refusal: when there is none.
        """
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise Refusal(400, "model: which one? GET /v1/models tells which there are.", param="model",
                          code="missing_required_parameter")  # fmt: skip
        if name not in self.models:
            raise no_such_model(name)
        return self.models[name]


@dataclass(frozen=True)
class Call(Generic[RequestT]):
    """A request on its way.

    Attributes:
        server: that was asked.
        served: the model that was asked.
        asked: the request.
        deadline: in the loop's time, when it is given up.
        id: of the answer.
    """

    server: Server
    served: Served
    asked: RequestT
    deadline: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


Handler = Callable[[Call[RequestT]], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """A route and what it reads, for the app and for its description.

    Attributes:
        path: with `{engine}` where the legacy clients name the model.
        kind: of the request.
        handler: that answers it.
        says: what it does, in a line.
    """

    path: str
    kind: type[Named]
    handler: Callable[[Call[Named]], Awaitable[Response]]
    says: str


def operation(paths: Sequence[str], kind: type[RequestT], handler: Handler[RequestT], says: str) -> list[Operation]:
    """One handler under one or several paths."""
    return [Operation(path, kind, handler, says) for path in paths]  # type: ignore[arg-type]


def route_of(one: Operation, server: Server) -> Route:
    """The route of an operation."""

    async def endpoint(request: Request) -> Response:
        request.scope["stepwell.route"] = one.path
        try:
            deadline = asyncio.get_running_loop().time() + server.config.timeout_seconds
            async with asyncio.timeout_at(deadline):
                asked = read(await body_of(request, server.config.most_body_bytes), one.kind)
                served = server.find(request.path_params.get("engine") or asked.model)
                request.scope["stepwell.model"] = served.name
                return await unless_gone(request.receive, one.handler(Call(server, served, asked, deadline)))
        except Refusal as refusal:
            return refusal.response()
        except TimeoutError:
            return late().response()
        except StepwellError as error:
            told = refusal_of(error)
            if told.status >= 500:
                logger.exception("a request failed")
            return told.response()
        except Gone:
            raise
        except Exception:
            logger.exception("a request failed")
            return broken().response()

    return Route(one.path, endpoint, methods=["POST"])


async def body_of(request: Request, most_bytes: int) -> bytes:
    """The body of a request.

    Raises:
        Refusal: when it is larger than the server takes.
        Gone: when the client went while it sent it.
    """
    parts, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        more = message.get("more_body", False)
        if size > most_bytes:
            whole = not more or await passed_over(request.receive)
            raise too_large(most_bytes, keeps_line=whole)
        parts.append(part)
        if not more:
            return b"".join(parts)


async def passed_over(receive: Receive) -> bool:
    """Take what a client still sends and forget it: one that is cut off while it sends does not read the answer.

    Returns:
        Whether that was all of it; after `PASSED_OVER_BYTES` or `PASSED_OVER_SECONDS` it is enough.
    """
    size = 0
    try:
        async with asyncio.timeout(PASSED_OVER_SECONDS):
            while size < PASSED_OVER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
    except TimeoutError:
        return False
    return False


def too_large(most_bytes: int, *, keeps_line: bool) -> Refusal:
    """A body is larger than the server takes.

    Args:
        most_bytes: that it takes.
        keeps_line: whether the rest was read, so that the connection can be used again.
    """
    return Refusal(
        413, f"The body is larger than this server takes, {most_bytes} bytes.", code="body_too_large",
        headers={} if keeps_line else {"Connection": "close"},
    )  # fmt: skip
