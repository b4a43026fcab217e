"""A small HTTP server that the page is tried on: it speaks OpenAI's protocol and says what it is told to.

What is asked decides what is answered: `slow` never ends by itself, `busy` is turned away, `break` breaks off, and so
on; everything else is said back. Every request is kept, to be looked at.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import stepwell

PAGE = Path(stepwell.__file__).parent / "serving" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
WRITES = ["complete", "chat", "embed"]
MODELS = [
    {"id": "river-135m", "kind": "decoder", "has_chat_template": True, "max_seq_len": 2048, "tasks": WRITES},
    {"id": "hill-60m", "kind": "decoder", "has_chat_template": True, "max_seq_len": 1024, "tasks": WRITES},
    {"id": "novel", "kind": "decoder", "has_chat_template": False, "max_seq_len": 512, "tasks": ["complete"]},
    {"id": "reviews", "kind": "encoder", "has_chat_template": False, "max_seq_len": 256, "tasks": ["classify"]},
    {"id": "news", "kind": "encoder", "has_chat_template": False, "max_seq_len": 256, "tasks": ["tag", "embed"]},
    {"id": "en-zh", "kind": "encoder_decoder", "has_chat_template": False, "max_seq_len": 256, "tasks": ["translate"]},
]


class PageServer(ThreadingHTTPServer):
    """Serves the page and the protocol on a free port of this machine.

    Attributes:
        asked: the bodies of all requests, by path.
        key: that is wanted; None for none.
        models: that are told of.
        answers: what is said to a text, where it is not said back.
        left: how many clients went before their answer was finished.
        pause_seconds: between two tokens.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.key: str | None = None
        self.models = [dict(one, object="model") for one in MODELS]
        self.answers: dict[str, str] = {}
        self.left = threading.Semaphore(0)
        self.pause_seconds = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def serving(port: int = 0) -> Iterator[PageServer]:
    """The server, as long as the body runs."""
    server = PageServer(port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: PageServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            if self._is_known():
                self._json(200, {"object": "list", "data": self.server.models})
            return
        file = PAGE / (path.lstrip("/") or "index.html")
        if file.parent != PAGE or not file.is_file():
            self._json(404, {"error": {"message": "no such page", "type": "x", "param": None, "code": None}})
            return
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", KINDS[file.suffix] + "; charset=utf-8")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_known():
            return
        self.server.asked.append((self.path, body))
        if self.path in TASKS:
            self._json(200, {"model": body["model"], "data": [TASKS[self.path](text) for text in body["input"]]})
            return
        said = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        if said == "busy":
            fault = {"message": "too many wait", "type": "rate_limit_error", "param": None, "code": None}
            self._json(429, {"error": fault}, {"Retry-After": "7"})
        elif said == "long":
            fault = {"message": "3000 tokens, at most 2048", "type": "invalid_request_error", "param": "messages"}
            self._json(400, {"error": {**fault, "code": "context_length_exceeded"}})
        elif said == "fault":
            fault = {"message": "temperature: at most 2", "type": "invalid_request_error", "param": "temperature"}
            self._json(400, {"error": {**fault, "code": None}})
        else:
            self._stream(body, said)

    def _is_known(self) -> bool:
        if self.server.key is None or self.headers["Authorization"] == f"Bearer {self.server.key}":
            return True
        fault = {"message": "wrong API key", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
        self._json(401, {"error": fault})
        return False

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, one in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, one)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, body: dict[str, Any], said: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        is_chat = "messages" in body
        answer = self.server.answers.get(said, f"{body['model']} heard: {said}")
        tokens = [] if said == "nothing" else pieces_of(answer)
        try:
            for place, token in enumerate(tokens):
                self._chunk(body, token, place, is_chat)
                time.sleep(self.server.pause_seconds)
            while said == "slow":
                self._chunk(body, " more", 0, is_chat)
                time.sleep(0.02)
            if said == "break":
                return
            if said == "fail":
                self._event(
                    {"error": {"message": "the model gave NaN", "type": "server_error", "param": None, "code": None}}
                )
                return
            ended = "length" if said == "cut" else "stop"
            choice = {"delta": {}} if is_chat else {"text": ""}
            self._event({"choices": [{"index": 0, "finish_reason": ended, **choice}]})
            self._event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(tokens)}})
            self.wfile.write(b"data: [DONE]\r\n\r\n")
        except OSError:
            self.server.left.release()

    def _chunk(self, body: dict[str, Any], token: str, place: int, is_chat: bool) -> None:
        likely = [-0.02, -0.9, -2.0, -3.2, -6.0][place % 5]
        others = [("other", -1.1), (" some", -2.2), ("\n", -4.0)]
        logprobs: dict[str, Any] | None = None
        if is_chat and body.get("logprobs"):
            ranked = [{"token": text, "bytes": list(text.encode()), "logprob": value} for text, value in others]
            one = {"token": token, "bytes": list(token.encode()), "logprob": likely, "top_logprobs": ranked}
            logprobs = {"content": [one]}
        elif not is_chat and body.get("logprobs"):
            logprobs = {
                "tokens": [token],
                "token_logprobs": [likely],
                "top_logprobs": [dict(others)],
                "text_offset": [0],
            }
        text = {"delta": {"content": token}} if is_chat else {"text": token}
        self._event({"choices": [{"index": 0, "finish_reason": None, "logprobs": logprobs, **text}]})

    def _event(self, value: Any) -> None:
        self.wfile.write(b": still here\n" + f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()


def pieces_of(text: str) -> list[str]:
    """A text in pieces such as a tokenizer makes: a word with the blank before it, a few letters of Chinese."""
    found: list[str] = []
    for letter in text:
        begins = letter in " \n" or (ord(letter) > 0x2E80 and ord(letter) % 2 == 0)
        if begins or not found:
            found.append("")
        found[-1] += letter
    return found


def tagged(text: str) -> dict[str, Any]:
    at = text.find("Vienna")
    return {"spans": [] if at < 0 else [{"start": at, "end": at + 6, "text": "Vienna", "label": "PLACE"}]}


TASKS = {
    "/classify": lambda text: {"label": "good", "scores": {"good": 0.84, "mixed": 0.12, "bad": 0.04}},
    "/tag": tagged,
    "/translate": lambda text: {"text": f"译：{text}", "finish_reason": "stop"},
}


def say(page: Any, text: str) -> None:
    """Send a message with the keyboard, and wait for the answers to end."""
    before = page.locator(".turn").count()
    page.fill("#message", text)
    page.press("#message", "Control+Enter")
    page.wait_for_selector(f".turn:nth-child({before + 1})")
    page.wait_for_selector("body:not(.busy)")


def asked(server: PageServer) -> list[dict[str, Any]]:
    return [body for _, body in server.asked]


def told(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in body["messages"]]


def answers(page: Any) -> list[str]:
    return page.locator(".answer .text").all_text_contents()
