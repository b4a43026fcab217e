"""Taking documents apart in a process that can be ended: no page may hang, crash or fill the memory of a preparation.

Parsers of other people's formats run for ever on a few files in a million, in C code that no signal interrupts. So they
run in one child, which is asked and answers through pipes; the system itself ends it when a part takes too long, and
the next question starts a new one. This file leaves out the parsers (`catalog.py`).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, BinaryIO

MEMORY_BYTES = 4 << 30
"""Of the child, where the system can hold it to that."""
MOST_CHARACTERS = 1 << 28
"""Of text from one document."""
MOST_PARTS = 60
"""A document may take as long as so many of its parts."""

_FRAME = struct.Struct(">cQ")
_SECONDS = struct.Struct(">d")
_PART, _PROBLEM, _END = b"t", b"p", b"e"


class CannotBeParsed(Exception):  # noqa: N818 - it is told as a sentence, never shown as an error
    """A parser's word on what is wrong with a document, as a part of a sentence; what it gave before is kept."""


@dataclass(frozen=True)
class Parsed:
    """What became of a document.

    Attributes:
        parts: its text: pages, chapters, or all of it.
        problem: what was wrong, as the middle of a sentence; None when nothing was.
    """

    parts: Sequence[str]
    problem: str | None = None


class ParserProcess:
    """A child that parses one document after the other.

    Args:
        table: module with `PARSERS`: kind -> function of bytes that yields text and may raise `CannotBeParsed`.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # one question at a time

    def parse(self, kind: str, data: bytes, seconds: float) -> Parsed:
        """Take a document apart.

        Args:
            kind: names the parser.
            data: the document.
            seconds: for each part of it.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._process = self._started()
            process, finished = self._process, False
            try:
                _send(process.stdin, _PART, kind.encode())
                _send(process.stdin, _PART, _SECONDS.pack(seconds))
                _send(process.stdin, _PART, data)
                parsed, finished = _answer(process, seconds)
            except OSError as error:  # it died while it was told
                parsed = Parsed((), f"its parser ended ({error})")
            finally:
                if not finished:
                    self._end()
            return parsed

    def close(self) -> None:
        """End the child, if there is one."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        serve = "import sys; sys.path[:] = sys.argv[2:]; from stepwell.parsers.process import serve; serve()"
        return subprocess.Popen(
            [sys.executable, "-c", serve, self._table, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@lru_cache(maxsize=1)
def _parser_process(process_id: int) -> ParserProcess:
    started = ParserProcess("stepwell.parsers.catalog")
    atexit.register(started.close)
    return started


def parse(kind: str, data: bytes, seconds: float) -> Parsed:
    """Take a document apart in the child of this process.

    Args:
        kind: of `PARSERS`.
        data: the document.
        seconds: for each part of it.
    """
    return _parser_process(os.getpid()).parse(kind, data, seconds)


def _answer(process: subprocess.Popen[bytes], seconds: float) -> tuple[Parsed, bool]:
    """What the child says, and whether it can be asked again."""
    parts: list[str] = []
    characters = 0
    assert process.stdout is not None
    while True:
        tag, data = _receive(process.stdout)
        if tag is None:
            return Parsed(parts, _why_it_ended(process.wait(), seconds)), False
        text = data.decode("utf-8", errors="surrogatepass")
        if tag == _END:
            return Parsed(parts), True
        if tag == _PROBLEM:
            return Parsed(parts, text), True
        characters += len(text)
        if characters > MOST_CHARACTERS:
            return Parsed(parts, f"it gives more than {MOST_CHARACTERS:,} characters of text"), False
        parts.append(text)


def _why_it_ended(code: int, seconds: float) -> str:
    if code == -signal.SIGALRM:
        return f"it could not be taken apart within {seconds:g} seconds"
    return f"its parser crashed (exit code {code})"


def _send(stream: IO[bytes] | None, tag: bytes, data: bytes) -> None:
    assert stream is not None
    stream.write(_FRAME.pack(tag, len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes] | BinaryIO) -> tuple[bytes | None, bytes]:
    """One frame; None for its tag when there is none to come."""
    head = stream.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None, b""
    tag, size = _FRAME.unpack(head)
    data = stream.read(size)
    return (tag, data) if len(data) == size else (None, b"")


def serve() -> None:
    """What the child does: answer until nobody asks any more. Only `ParserProcess` calls this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a stop by hand is told to the parent; without it this ends by itself
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends this process, whatever code it is in
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)  # a parser that prints must not be taken for an answer
    sys.setrecursionlimit(10_000)
    _limit_memory()
    parsers = importlib.import_module(sys.argv[1]).PARSERS
    while True:
        (tag, kind), (_, seconds), (_, data) = (_receive(questions) for _ in range(3))
        if tag is None:
            return
        try:
            for part in _timed(parsers[kind.decode()](data), *_SECONDS.unpack(seconds)):
                _send(answers, _PART, part.encode("utf-8", errors="surrogatepass"))
            _send(answers, _END, b"")
        except CannotBeParsed as error:
            _send(answers, _PROBLEM, str(error).encode("utf-8", errors="replace"))
        except Exception as error:
            first_line = (str(error).strip().splitlines() or [""])[0]
            said = f"{type(error).__name__}: {first_line[:200]}" if first_line else type(error).__name__
            _send(answers, _PROBLEM, f"it is damaged ({said})".encode("utf-8", errors="replace"))


def _timed(parts: Iterator[str], seconds: float) -> Iterator[str]:
    """Parts, each under an alarm that ends this process."""
    began = time.monotonic()
    while True:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            part = next(parts, None)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if part is None:
            return
        yield part
        if time.monotonic() - began > MOST_PARTS * seconds:
            raise CannotBeParsed(f"it could not be taken apart within {MOST_PARTS * seconds:g} seconds")


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system can
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
