"""Archives: their members one after the other, each read as what its name ends with.

Nothing is written to where a member's name points, so no name can do harm; how much may be unpacked is limited. What
cannot be read (other kinds, locked members, links) is counted and told. This file leaves out packed single files
(`content.py`).
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Self

from stepwell.data.inputs.content import Content, metered, split_suffixes
from stepwell.data.inputs.reading import Reading
from stepwell.errors import DataError

_LOCKED = 0x1  # of a member's flags in a zip
_LINK = 0o120000


def members_of(content: Content, reading: Reading, is_known: Callable[[str], bool]) -> Iterator[Content]:
    """The members of an archive that can be read, in their order.

    Args:
        content: the archive.
        reading: takes the report about members that were passed over.
        is_known: whether a name is that of a kind that can be read.

    Raises:
        DataError: when it is damaged, or unpacks to more than the limits.
    """
    if content.depth >= reading.limits.nesting:
        reading.report(f"{content.name}: an archive inside of {content.depth} others; passed over")
        return
    passed: Counter[str] = Counter()

    def wanted(name: str, problem: str | None) -> bool:
        content.allowance.add_member()
        parts = [part for part in PurePosixPath(name).parts if part not in (".", "..", "/")]
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return False
        problem = problem or (None if is_known(name) else PurePosixPath(name).suffix or "no suffix")
        if problem:
            passed[problem] += 1
        return not problem

    members = _zip_members if split_suffixes(content.name)[0] == ".zip" else _tar_members
    found = 0
    for member in members(content, wanted):
        found += 1
        yield member
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in passed.most_common(8))
    if passed:
        reading.report(f"{content.name}: {passed.total():,} files inside were passed over ({kinds})")
    elif not found:
        reading.report(f"{content.name}: an archive without files")


def _member(archive: Content, name: str, opened: Callable[[], BinaryIO], *, opens_again: bool) -> Content:
    return Content(
        name=f"{archive.name}/{name.lstrip('/')}",
        open_stored=opened,
        allowance=archive.allowance,
        packing=split_suffixes(name)[1],
        opens_again=opens_again,
        seeks=False,
        depth=archive.depth + 1,
    )


def _zip_members(content: Content, wanted: Callable[[str, str | None], bool]) -> Iterator[Content]:
    with content.held() as held, held.whole(), held.open() as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                for info in archive.infolist():
                    if not info.is_dir() and wanted(info.filename, _zip_problem(info)):
                        opened = partial(_opened, partial(archive.open, info), content)
                        yield _member(content, info.filename, opened, opens_again=True)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise _damaged(content, "zip", error) from None


def _zip_problem(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & _LOCKED:
        return "locked by a password"
    return "links" if (info.external_attr >> 16) & 0o170000 == _LINK else None


def _opened(opened: Callable[[], IO[bytes] | None], archive: Content) -> BinaryIO:
    return metered(_Member(opened), archive.allowance)


class _Member:
    """A member's bytes; damage is said as that of any other file.

    Args:
        opened: opens it.

    Raises:
        OSError: when it cannot be opened.
    """

    def __init__(self, opened: Callable[[], IO[bytes] | None]) -> None:
        with _as_os_error():
            self._stream = opened()

    def read(self, size: int) -> bytes:
        with _as_os_error():
            return b"" if self._stream is None else self._stream.read(size)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, tarfile.TarError, NotImplementedError, RuntimeError) as error:
        raise OSError(str(error)) from error


class _CheckedTarInfo(tarfile.TarInfo):
    """A header of a tar; one that is damaged is an error wherever it stands (`tarfile` takes it for the end)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"damaged header ({error})") from None


def _tar_members(content: Content, wanted: Callable[[str, str | None], bool]) -> Iterator[Content]:
    with content.whole(), content.open() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_CheckedTarInfo) as archive:
                while (info := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined] # it keeps them all, and there may be a million
                    problem = None if info.isreg() else "links or devices"
                    if not info.isdir() and wanted(info.name, problem):
                        opened = partial(_opened, partial(archive.extractfile, info), content)
                        yield _member(content, info.name, opened, opens_again=False)
        except tarfile.TarError as error:
            raise _damaged(content, "tar", error) from None


def _damaged(content: Content, kind: str, error: Exception) -> DataError:
    return DataError(
        f"{content.name}: cannot be read as a {kind} archive",
        got=str(error) or type(error).__name__,
        wanted="a whole archive",
        do="fetch it again",
    )
