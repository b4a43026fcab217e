"""Spans of OpenTelemetry around requests, where its API is installed and a program has set it up.

Only the API is used: without an SDK every call does nothing, and without the API there are no calls. The parent of a
span comes from the request's headers. This file leaves out where spans go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

HAS_API = find_spec("opentelemetry") is not None and find_spec("opentelemetry.trace") is not None


@contextmanager
def spanned(scope: Scope, request_id: str) -> Iterator[None]:
    """A span as long as the body runs.

    Args:
        scope: of the request; its route and model are told when it is over.
        request_id: of it.
    """
    if not HAS_API:
        yield
        return
    from opentelemetry import propagate, trace

    carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
    tracer = trace.get_tracer("stepwell.serving")
    with tracer.start_as_current_span(
        f"{scope['method']} request", context=propagate.extract(carrier), kind=trace.SpanKind.SERVER
    ) as span:
        span.set_attribute("stepwell.request_id", request_id)
        span.set_attribute("http.request.method", scope["method"])
        try:
            yield
        finally:
            route = scope.get("stepwell.route")
            if route is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            model = scope.get("stepwell.model")
            if model is not None:
                span.set_attribute("gen_ai.request.model", model)
