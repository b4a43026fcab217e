"""A file on this machine.

It is looked at when it is found and again when it was read: text that changed in between is an error, for the package
would be named by text that it does not hold. This file leaves out what is in the file (`kinds.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from stepwell.data.inputs.content import Allowance, Content, split_suffixes
from stepwell.data.inputs.kinds import read_content
from stepwell.data.inputs.reading import Limits, Reading, Text, with_care
from stepwell.data.packages import file_checksum
from stepwell.errors import DataError


@dataclass(frozen=True)
class FileInput:
    """One file.

    Attributes:
        source: the source that it was found by.
        path: where it is.
        seen: its size in bytes and the time of its last change in nanoseconds when it was found; None when nobody
            looked.
    """

    source: str
    path: Path
    seen: tuple[int, int] | None = None

    @classmethod
    def found(cls, source: str, path: Path) -> FileInput:
        """A file as it is now."""
        return cls(source, path, _look(path))

    @property
    def name(self) -> str:
        """How messages name it."""
        return str(self.path)

    @property
    def num_bytes(self) -> int:
        """Its size; 0 when it is gone."""
        return self.path.stat().st_size if self.path.exists() else 0

    def fingerprint(self) -> str:
        """SHA-256 (hex) of its bytes.

        Raises:
            DataError: when it cannot be read, or changes.
        """
        try:
            checksum = file_checksum(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read", got=str(error.strerror or error)) from None
        self._see_that_it_is_the_same()
        return checksum

    def read(self, reading: Reading) -> Iterator[Text]:
        """Its texts.

        Raises:
            DataError: when it is binary, damaged, changes meanwhile, or is a table without a column of text; for a long
                text, when its blocks are taken.
        """
        self._see_that_it_is_the_same()
        yield from with_care(read_content(self.content(reading.limits), reading), self._care)
        self._see_that_it_is_the_same()

    def content(self, limits: Limits) -> Content:
        """Its bytes, which may ask for so much."""
        allowance = Allowance(self.name, self.num_bytes, limits)
        return Content(self.name, self._open, allowance, split_suffixes(self.name)[1])

    def _open(self) -> BinaryIO:
        return cast("BinaryIO", self.path.open("rb"))

    @contextmanager
    def _care(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            self._see_that_it_is_the_same()  # what is being written looks damaged
            raise

    def _see_that_it_is_the_same(self) -> None:
        now = _look(self.path)
        if self.seen is not None and now != self.seen:
            raise DataError(
                f"{self.path}: changed while it was read",
                got=_difference(self.seen, now),
                wanted="text that stays as it is",
                do="wait until it is written, or read a copy",
            )


def _difference(before: tuple[int, int], now: tuple[int, int] | None) -> str:
    if now is None:
        return "it is gone"
    return "it was written to" if before[0] == now[0] else f"{before[0]:,} bytes before, {now[0]:,} now"


def _look(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
