"""Which models there are, how the server is, and what it counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.serving.calls import Server
from stepwell.serving.faults import JSON, no_such_model
from stepwell.serving.served import Served


def told(served: Served) -> dict[str, Any]:
    """A model as OpenAI tells it, and what stepwell knows beyond that."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "stepwell",
        "kind": served.loaded.model.config.kind,
        "task": served.task.kind,
        "tasks": list(served.verbs),
        "has_chat_template": served.has_chat_template,
        "max_seq_len": served.window,
        "vocab_size": served.tokenizer.vocab_size,
    }


def told_engine(served: Served) -> dict[str, Any]:
    """A model as old clients know it."""
    return {"id": served.name, "object": "engine", "created": served.created, "owner": "stepwell", "ready": True}


def _model_routes(server: Server, path: str, tell: Callable[[Served], dict[str, Any]], name: str) -> list[Route]:
    """All models, and one of them; `name` is how the path spells it."""

    async def every(request: Request) -> Response:
        request.scope["stepwell.route"] = path
        return JSON({"object": "list", "data": [tell(one) for one in server.models.values()]})

    async def one(request: Request) -> Response:
        request.scope["stepwell.route"] = f"{path}/{{model}}"
        asked = request.path_params["model"]
        found = server.models.get(asked)
        return no_such_model(asked).response() if found is None else JSON(tell(found))

    return [Route(path, every), Route(f"{path}/{name}", one)]


def status_routes(server: Server) -> list[Route]:
    """The routes of this file."""

    async def health(request: Request) -> Response:
        request.scope["stepwell.route"] = "/health"
        broken = [one.name for one in server.models.values() if one.worker is not None and not one.worker.is_well]
        return JSON({"status": "broken" if broken else "ok", "broken": broken}, 503 if broken else 200)

    async def ready(request: Request) -> Response:
        request.scope["stepwell.route"] = "/ready"
        is_ready = not server.is_draining
        return JSON({"status": "ready" if is_ready else "draining"}, 200 if is_ready else 503)

    async def metrics(request: Request) -> Response:
        request.scope["stepwell.route"] = "/metrics"
        return Response(server.meters.text(), media_type="text/plain; version=0.0.4")

    return [
        *_model_routes(server, "/v1/models", told, "{model:path}"),
        *_model_routes(server, "/v1/engines", told_engine, "{model}"),
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", metrics),
    ]
