"""The manners of the command line that typer leaves open.

`--text a b 'c/*.md'` takes every word up to the next flag, as people write it and shells expand it; errors are one
friendly block without a traceback; Ctrl-C and SIGTERM ask for an orderly stop first. This file leaves out what any
command does.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from typer.core import TyperCommand

from stepwell.errors import EndedElsewhere, Stopped

MANY = ("--text", "--data", "--set", "--stop", "--track")
"""Options that take several words."""

PATIENCE_SECONDS = 5.0
"""Who polled so lately will poll again soon; slow steps are given three times as long as the last one took."""


class ManyWords(TyperCommand):
    """A command whose `--text a b c` means `--text a --text b --text c`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the flag before each of its words, then parse as usual."""
        return super().parse_args(ctx, list(repeat_flags(args)))


def repeat_flags(args: Sequence[str]) -> Iterator[str]:
    """`--text a b` -> `--text a --text b`; a word after any other flag or after `--` is left alone."""
    flag: str | None = None
    first = True
    for position, word in enumerate(args):
        if word == "--":
            yield from args[position:]
            return
        if word.startswith("-") and word != "-":
            flag, first = (word if word in MANY else None), True
            yield word
        else:
            if flag is not None and not first:
                yield flag
            first = False
            yield word


def is_follower() -> bool:
    """Whether this process is a rank that torchrun started beside rank 0."""
    return os.environ.get("RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"


class StopSignal:
    """Ctrl-C and SIGTERM: the first asks whoever polls to save and stop; a second, or no poller, stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._polled = float("-inf")
        self._between = 0.0  # seconds from one poll to the next
        self._struck = False

    def __call__(self) -> bool:
        """Whether a stop was asked for; training asks after every step."""
        now = time.monotonic()
        self._between = now - self._polled if math.isfinite(self._polled) else 0.0
        self._polled = now
        return self.asked

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        patient = time.monotonic() - self._polled < max(PATIENCE_SECONDS, 3 * self._between)
        self._struck = self.asked or not patient
        self.asked = True  # also when a library swallows the exception: whoever polls next will stop
        if self._struck:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[StopSignal]:
        """Take the signals while the body runs.

        Raises:
            Stopped: when the body was stopped at once.
        """
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        except (KeyboardInterrupt, Exception) as fault:
            # a library may make any fault of an interrupt
            turned = self._struck and not isinstance(fault, Stopped | EndedElsewhere)
            if turned or isinstance(fault, KeyboardInterrupt):
                raise Stopped("stopped by hand", do="run the same command again to go on") from None
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
