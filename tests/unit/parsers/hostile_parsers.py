"""Parsers that do what the worst documents make real ones do."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

from stepwell.parsers.process import CannotBeParsed


def echo(data: bytes) -> Iterator[str]:
    print("a parser that prints")  # noqa: T201
    os.write(1, b"and writes")
    yield data.decode("utf-8", errors="surrogatepass")


def forever(data: bytes) -> Iterator[str]:
    yield "the first part"
    while True:
        time.sleep(1)


def stuck(data: bytes) -> Iterator[str]:
    yield str(re.match("(a+)+b", "a" * 60))  # in C code, which no Python signal handler interrupts


def crash(data: bytes) -> Iterator[str]:
    yield "before"
    os.abort()


def devour(data: bytes) -> Iterator[str]:
    yield str(len(bytearray(1 << 36)))


def refuse(data: bytes) -> Iterator[str]:
    yield "page one"
    raise CannotBeParsed("1 of its 2 pages could not be read")


def fail(data: bytes) -> Iterator[str]:
    raise ValueError("no\nsense")
    yield ""


def deep(data: bytes) -> Iterator[str]:
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    yield str(down(3000))


def endless(data: bytes) -> Iterator[str]:
    while True:
        yield "x" * (1 << 24)


PARSERS = {
    "echo": echo,
    "forever": forever,
    "stuck": stuck,
    "crash": crash,
    "devour": devour,
    "refuse": refuse,
    "fail": fail,
    "deep": deep,
    "endless": endless,
}
