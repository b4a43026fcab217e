"""What a client is told when something is wrong, in the shape that OpenAI's clients read.

An error has always all four fields: `message`, `type`, `param` and `code`. A message never tells where things stand on
the server's disk: what is no fault of the request is logged there, and told in general words here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from stepwell.errors import StepwellError, UsageError

TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}

PLAIN = {"str", "int", "float", "bool", "dict", "none"}
"""Names of types in pydantic's paths."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the program
    """A request is not done, and the client is told why.

    Args:
        status: of HTTP, 400 to 599.
        message: for a person.
        param: the field of the request that it is about.
        code: for a program.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The error as an answer."""
        return JSON(self.body, self.status, self.headers)


class JSON(Response):
    """An answer in JSON, as UTF-8.

    Args:
        content: plain values; none of them NaN or infinite.
        status: of HTTP.
        headers: beside the type.
    """

    media_type = "application/json"

    def __init__(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(to_json(content), status, headers)


def to_json(content: Any) -> bytes:
    """Plain values in one line."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", errors="replace")


def refusal_of(error: StepwellError) -> Refusal:
    """What a client is told of an error of stepwell: whole where it is about the request, else in general words."""
    if not isinstance(error, UsageError):
        return broken()
    parts = [error.what]
    if error.got is not None:
        parts.append(f"got: {error.got}")
    if error.wanted is not None:
        parts.append(f"wanted: {error.wanted}")
    if error.do is not None:
        parts.append(f"do: {error.do}")
    named = re.match(r"(?:request: )?([a-z_0-9]+): ", error.what)
    return Refusal(400, "; ".join(parts), param=named[1] if named else None, code="invalid_value")


def invalid(error: ValidationError) -> Refusal:
    """What a client is told of a request with a wrong field."""
    faults = error.errors(include_url=False, include_context=False)
    fault = faults[0]
    path = ".".join(str(part) for part in fault["loc"] if not _is_choice(part))
    message = fault["msg"].removeprefix("Value error, ")
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    code = "missing_required_parameter" if fault["type"] == "missing" else "invalid_value"
    return Refusal(400, f"{path}: {message}{more}" if path else f"{message}{more}", param=path or None, code=code)


def _is_choice(part: int | str) -> bool:
    """Whether a part of a path is pydantic's name for one way to read a value, and no field."""
    return isinstance(part, str) and (part in PLAIN or not re.fullmatch(r"[A-Za-z_0-9]+", part))


def broken() -> Refusal:
    """What a client is told when the server is at fault."""
    return Refusal(500, "The server failed at this request; its log says more.", code="internal_error")


def too_busy(seconds: int) -> Refusal:
    """Too many are waiting.

    Args:
        seconds: after which it is worth trying again.
    """
    return Refusal(
        429,
        f"Too many requests are waiting; try again in {seconds} s.",
        code="queue_full",
        headers={"Retry-After": str(seconds)},
    )


def no_such_model(name: str) -> Refusal:
    """There is no model of this name."""
    return Refusal(
        404, f"The model `{name[:100]}` does not exist. GET /v1/models tells which there are.", param="model",
        code="model_not_found",
    )  # fmt: skip


def too_long(window: int, prompt: int | str, asked: int | None, *, param: str | None = None) -> Refusal:
    """A prompt, or what is to come of it, does not fit into the model's window.

    Args:
        window: of the model, in tokens.
        prompt: tokens of the prompt, as a number or in words.
        asked: tokens that are wanted; None where nobody said.
        param: the field that is too long; default `max_tokens` where they were asked for, else `messages`.
    """
    wanted = f" and you asked for {asked} more" if asked else ""
    return Refusal(
        400,
        f"This model's maximum context length is {window} tokens. However, your prompt has {prompt} tokens{wanted}. "
        "Please reduce the length of the prompt or of the completion.",
        param=param or ("messages" if asked is None else "max_tokens"),
        code="context_length_exceeded",
    )
