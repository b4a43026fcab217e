"""The server's own description, in OpenAPI's format, made of the requests that it reads.

This file leaves out descriptions of answers beyond their kind: OpenAI's documentation has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from stepwell import __version__
from stepwell.serving.calls import Operation

ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
"""The shape of every error."""

STATUSES = {
    "400": "Something in the request is wrong.",
    "401": "No key, or a wrong one.",
    "404": "There is no such model, or nothing at this path.",
    "408": "It took longer than the server allows.",
    "413": "The body is too large.",
    "429": "Too many are waiting; `Retry-After` says how long to wait.",
}


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The description of a server.

    Args:
        operations: its routes that ask models.
    """
    kinds = list(dict.fromkeys(one.kind for one in operations))
    names, schemas = models_json_schema(
        [(kind, "validation") for kind in kinds], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {one.path: {"post": _post(one, names[one.kind, "validation"])} for one in operations}
    for path, says in (
        ("/v1/models", "Which models there are."),
        ("/v1/engines", "The same, as old clients know it."),
        ("/health", "Whether the server works."),
        ("/ready", "Whether it takes requests."),
    ):
        paths[path] = {"get": {"summary": says, "responses": _responses()}}
    for path in ("/v1/models/{model}", "/v1/engines/{model}"):
        named = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
        paths[path] = {"get": {"summary": "One model.", "parameters": named, "responses": _responses()}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "stepwell", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**schemas["$defs"], "Error": ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _post(one: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": one.says,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": _responses(streams="stream" in one.kind.model_fields),
    }
    if "{engine}" in one.path:
        described["parameters"] = [
            {"name": "engine", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]
    return described


def _responses(*, streams: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": "An answer.", "content": content},
        **{status: {"description": says, "content": refused} for status, says in STATUSES.items()},
    }
