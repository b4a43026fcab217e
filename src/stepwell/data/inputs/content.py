"""Bytes under a name, wherever they are stored: a file, an object in a store, a member of an archive.

Readers know nothing else of where text comes from. What is unpacked is counted against an allowance, so that a small
file cannot become an endless one. This file leaves out what the bytes mean.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Protocol, cast

from stepwell.data.inputs.reading import Limits
from stepwell.errors import DataError

BUFFER_BYTES = 1 << 20
HELD_BYTES = 1 << 24
"""Held in memory when bytes must be read in any order; more goes to a temporary file."""

_ALIASES = {".tgz": (".tar", ".gz"), ".tbz2": (".tar", ".bz2"), ".txz": (".tar", ".xz")}
_PART_OF_A_DUMP = re.compile(r"\.xml-p\d+p\d+$")  # a Wikipedia dump in several files


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes; none at the end."""

    def close(self) -> None:
        """Give back what it holds."""


class Allowance:
    """How much may still be unpacked from one stored file.

    Args:
        name: of the file.
        stored_bytes: its size as it is stored.
        limits: what may be unpacked from it.
    """

    def __init__(self, name: str, stored_bytes: int, limits: Limits) -> None:
        self.limits = limits
        self._name, self._stored_bytes = name, stored_bytes
        self._unpacked_bytes = self._members = 0

    def spend(self, num_bytes: int) -> None:
        """Count bytes that were unpacked.

        Raises:
            DataError: when there are too many.
        """
        self._unpacked_bytes += num_bytes
        limits, got = self.limits, self._unpacked_bytes
        if got > limits.unpacked_bytes:
            raise self._too_large(f"more than {limits.unpacked_bytes:,} bytes")
        if got > max(limits.free_bytes, limits.expansion_ratio * self._stored_bytes):
            raise self._too_large(f"{got:,} bytes or more from {self._stored_bytes:,} stored ones")

    def add_member(self) -> None:
        """Count a file of an archive.

        Raises:
            DataError: when there are too many.
        """
        self._members += 1
        if self._members > self.limits.members:
            raise self._too_large(f"more than {self.limits.members:,} files")

    def _too_large(self, got: str) -> DataError:
        return DataError(
            f"{self._name}: unpacks to more than a corpus should",
            got=got,
            wanted=f"at most {self.limits.expansion_ratio} times its size and {self.limits.members:,} files",
            do="leave it out; if it is what you want, unpack it yourself and name the folder",
        )


@dataclass(frozen=True)
class Content:
    """Bytes under a name.

    Attributes:
        name: how messages name it; what it ends with says its kind.
        open_stored: opens the bytes as they are stored.
        allowance: of the stored file that it comes from.
        packing: how the bytes are packed (`.gz`), or `""`.
        opens_again: whether it can be opened more than once.
        seeks: whether its bytes can be read in any order without much ado.
        depth: how many archives it lies in.
    """

    name: str
    open_stored: Callable[[], BinaryIO]
    allowance: Allowance
    packing: str = ""
    opens_again: bool = True
    seeks: bool = True
    depth: int = 0

    @property
    def limits(self) -> Limits:
        """What it may ask for."""
        return self.allowance.limits

    def open(self) -> BinaryIO:
        """The bytes, unpacked.

        Raises:
            OSError: when it cannot be opened, or is no archive.
        """
        stored = self.open_stored()
        return metered(PACKINGS[self.packing](stored), self.allowance, stored) if self.packing else stored

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Say in our words what is wrong with bytes that cannot be read or unpacked to their end."""
        try:
            yield
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise DataError(
                f"{self.name}: cannot be read to its end",
                got=str(error) or type(error).__name__,
                wanted="a whole file",
                do="fetch or unpack it again" if self.packing or self.depth else None,
            ) from error

    @contextmanager
    def held(self) -> Iterator[Content]:
        """The same where it can be opened again and read in any order: as it is, or as an unpacked copy.

        Raises:
            DataError: when it cannot be read to its end.
        """
        if self.seeks and self.opens_again and not self.packing:
            yield self
            return
        with tempfile.SpooledTemporaryFile(max_size=HELD_BYTES) as file:
            with self.whole(), self.open() as stream:
                shutil.copyfileobj(stream, file, BUFFER_BYTES)
            copy = cast("IO[bytes]", file)
            yield replace(
                self,
                open_stored=lambda: io.BufferedReader(_Again(copy), BUFFER_BYTES),
                packing="",
                opens_again=True,
                seeks=True,
            )

    def read_all(self, most_bytes: int) -> bytes | None:
        """All bytes, or None when there are more than `most_bytes`.

        Raises:
            DataError: when it cannot be read to its end.
        """
        with self.whole(), self.open() as stream:
            data = stream.read(most_bytes + 1)
            return None if len(data) > most_bytes else data


class _Metered(io.RawIOBase):
    """Counts what is read of a stream, and closes what lies beneath it."""

    def __init__(self, stream: Readable, allowance: Allowance, beneath: tuple[Readable, ...]) -> None:
        self._stream, self._allowance, self._beneath = stream, allowance, beneath

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer)) or b""
        except EOFError as error:  # some libraries take it for a good end
            raise OSError(str(error)) from error
        self._allowance.spend(len(data))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        for stream in (self._stream, *self._beneath):
            stream.close()
        super().close()


def metered(stream: Readable, allowance: Allowance, *beneath: Readable) -> BinaryIO:
    """A stream that counts what is read of it; closing it closes those beneath too."""
    return io.BufferedReader(_Metered(stream, allowance, beneath), BUFFER_BYTES)


class _Again(io.RawIOBase):
    """A held file from its beginning; closing this leaves it open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _ZstdStream(io.RawIOBase):
    """The bytes of a `.zst` stream, unpacked by Arrow."""

    def __init__(self, stored: BinaryIO) -> None:
        import pyarrow

        self._failure = pyarrow.ArrowException
        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(stored, "r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except self._failure as error:
            raise OSError(f"damaged zstd data ({error})") from error
        buffer[: len(data)] = data
        return len(data)


PACKINGS: Mapping[str, Callable[[BinaryIO], Readable]] = {
    ".gz": lambda stored: gzip.GzipFile(fileobj=stored),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _ZstdStream,
}
"""How one file is packed -> its bytes, unpacked."""


def split_suffixes(name: str) -> tuple[str, str]:
    """What a name ends with: the kind and how it is packed (`.jsonl`, `.gz`), in lower case, or `""`."""
    path = PurePosixPath(name.lower())
    if path.suffix in _ALIASES:
        return _ALIASES[path.suffix]
    packing = path.suffix if path.suffix in PACKINGS else ""
    kind = PurePosixPath(path.stem).suffix if packing else path.suffix
    return ".xml" if _PART_OF_A_DUMP.fullmatch(kind) else kind, packing
