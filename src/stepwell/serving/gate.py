"""What stands before every route: who asks, how much they send, what is written down of it.

Each request has an id, its own or the client's, which its answer and the log carry. Keys are compared in a time that
does not tell how much of one was right. What no route caught becomes an answer of its own. This file leaves out what
is asked.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.errors import UsageError
from stepwell.serving.calls import Server, passed_over, too_large
from stepwell.serving.faults import Refusal, broken
from stepwell.serving.streaming import Gone
from stepwell.serving.tracing import spanned

logger = logging.getLogger("stepwell.serving")
access = logging.getLogger("stepwell.access")

GUARDED = ("/v1", "/metrics", "/classify", "/tag", "/translate", "/answer", "/tokenize", "/detokenize", "/score",
           "/rerank")  # fmt: skip
"""Paths that need a key, with all below them; the others tell nothing of what models say. The page is open too, and
what it asks needs one."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Keys:
    """Who may ask.

    Args:
        keys: of which a request must carry one; none lets everybody ask.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, path: Path | None) -> Keys:
        """The keys in a file, one a line; lines that begin with `#` and empty ones are none.

        Raises:
            UsageError: when there is no such file, or no key in it.
        """
        if path is None:
            return cls()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path}: cannot be read", got=str(error), wanted="a file with one API key a line"
            ) from None
        keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise UsageError(
                f"{path}: has no API key", wanted="one key a line", do="leave the option out to let all in"
            )
        return cls(keys)

    def let_in(self, scope: Scope) -> bool:
        """Whether a request may be answered."""
        path = str(scope["path"])
        if not self._digests or not any(path == one or path.startswith(f"{one}/") for one in GUARDED):
            return True
        given = _header(scope, b"authorization")
        scheme, _, key = given.partition(" ")
        told = _digest(key.strip() if scheme.lower() == "bearer" else "")
        return sum(hmac.compare_digest(told, one) for one in self._digests) > 0  # all are compared, whichever is right


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="surrogatepass")).digest()


class Gate:
    """See the module.

    Args:
        app: the routes.
        server: that they belong to.
        keys: who may ask.
    """

    def __init__(self, app: ASGIApp, server: Server, keys: Keys) -> None:
        self.app, self.server, self.keys = app, server, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = _header(scope, b"x-request-id")
        passage = _Passage(scope, send, given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        self.server.meters.open_requests.inc()
        try:
            with spanned(scope, passage.id):
                await self._let_through(scope, receive, passage)
        finally:
            self.server.meters.open_requests.dec()
            self._note(scope, passage)

    async def _let_through(self, scope: Scope, receive: Receive, passage: _Passage) -> None:
        try:
            refusal = await self._refused(scope, receive)
            if refusal is not None:
                await refusal.response()(scope, receive, passage.send)
            else:
                await self.app(scope, receive, passage.send)
        except Gone:
            passage.is_gone = True
        except Exception:
            logger.exception("request %s failed", passage.id)
            if passage.status is None:
                await broken().response()(scope, receive, passage.send)

    async def _refused(self, scope: Scope, receive: Receive) -> Refusal | None:
        if not self.keys.let_in(scope):
            await passed_over(receive)
            return Refusal(
                401, "Incorrect API key provided; send one as `Authorization: Bearer KEY`.", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length[:20]) > self.server.config.most_body_bytes:
            whole = await passed_over(receive)
            return too_large(self.server.config.most_body_bytes, keeps_line=whole)
        return None

    def _note(self, scope: Scope, passage: _Passage) -> None:
        route = str(scope.get("stepwell.route", "other"))
        seconds = time.monotonic() - passage.began
        status = "gone" if passage.is_gone else str(passage.status)
        meters = self.server.meters
        if passage.is_gone:
            meters.gone.labels(route).inc()
        else:
            meters.requests.labels(route, status).inc()
            meters.seconds.labels(route).observe(seconds)
        access.info(
            "%s %s %s %s %.1f ms %d bytes model=%s",
            passage.id, scope["method"], _plain_path(scope), status, 1000 * seconds, passage.sent_bytes,
            scope.get("stepwell.model", "-"),
        )  # fmt: skip


class _Passage:
    """One request on its way through, and what its answer was like."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.id, self._send = request_id, send
        self.began = time.monotonic()
        self.status: int | None = None
        self.sent_bytes = 0
        self.is_gone = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[Any] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.sent_bytes += len(message.get("body", b""))
        await self._send(message)


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _plain_path(scope: Scope) -> str:
    """The path as it was sent, so that nobody writes lines of their own into the log."""
    raw = scope.get("raw_path") or str(scope["path"]).encode("ascii", errors="backslashreplace")
    return "".join(letter if letter.isprintable() else "?" for letter in raw.decode("latin-1"))[:300]
