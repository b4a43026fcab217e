"""Objects in a store (`s3://`, `gs://`, `memory://` and all else that fsspec knows), read as files are.

fsspec finds and opens them; each kind of store has a library of its own for it. This file leaves out what is in the
objects (`kinds.py`), and the hub of datasets (`hub.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from stepwell.data.inputs.content import Allowance, Content, split_suffixes
from stepwell.data.inputs.kinds import read_content
from stepwell.data.inputs.reading import Reading, Text, with_care
from stepwell.errors import DataError, StepwellError

_CONTENT_HASHES = ("ETag", "etag", "md5Hash", "crc32c", "content_md5")
"""What stores call a hash of an object's bytes."""


@dataclass(frozen=True)
class ObjectInput:
    """One object.

    Attributes:
        source: the source that it was found by.
        name: its address.
        path: its address as its store knows it.
        store: the file system of fsspec that it is in.
        num_bytes: its size; 0 where that is not known.
        seen: stands for its state when it was found.
    """

    source: str
    name: str
    path: str
    store: Any
    num_bytes: int
    seen: str | None = None

    def fingerprint(self) -> str:
        """A hash of its bytes: the store's own where it has one.

        Raises:
            DataError: when it cannot be read.
        """
        try:
            told = self.store.info(self.path)
            if known := _values(told, _CONTENT_HASHES):
                return hashlib.sha256(f"{told.get('size')} {known}".encode()).hexdigest()
            with self.store.open(self.path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except Exception as error:
            raise cannot_reach(self.name, error) from error

    def read(self, reading: Reading) -> Iterator[Text]:
        """Its texts.

        Raises:
            DataError: as a file; or when the store cannot be reached.
        """
        allowance = Allowance(self.name, self.num_bytes, reading.limits)
        content = Content(self.name, self._open, allowance, split_suffixes(self.name)[1])
        yield from with_care(read_content(content, reading), self._care)
        self._see_that_it_is_the_same()

    def _open(self) -> BinaryIO:
        return cast("BinaryIO", self.store.open(self.path, "rb"))

    @contextmanager
    def _care(self) -> Iterator[None]:
        try:
            yield
        except StepwellError:
            self._see_that_it_is_the_same()
            raise
        except Exception as error:
            raise cannot_reach(self.name, error) from error

    def _see_that_it_is_the_same(self) -> None:
        try:
            self.store.invalidate_cache()
            now = _state_of(self.store, self.path, self.store.info(self.path))
        except Exception as error:
            raise cannot_reach(self.name, error) from error
        if self.seen is not None and now != self.seen:
            raise DataError(
                f"{self.name}: changed while it was read", wanted="text that stays as it is", do="read it again"
            )


def find_objects(source: str) -> tuple[list[ObjectInput], bool]:
    """What an address stands for: an object, all under a folder, or all that a pattern matches.

    Args:
        source: as a person wrote it.

    Returns:
        The objects in the order of their names, and whether `source` names a single one.

    Raises:
        DataError: when the store is not known, its library is not there, it cannot be reached, or nothing is found.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise DataError(
            f"{source}: needs the library fsspec", got=str(error), do="pip install 'stepwell[data]'"
        ) from None
    try:
        store, path = url_to_fs(source)
        store.invalidate_cache()
        is_one = bool(store.isfile(path))
        told = {path: store.info(path)} if is_one else _under(store, path)
        found = {one: info for one, info in told.items() if is_one or not _is_hidden(one, path)}
        if not found:
            raise DataError(f"{source}: no such object", do="check the address, and who may read it")
        return [_object(source, store, one, info) for one, info in sorted(found.items())], is_one
    except DataError:
        raise
    except ImportError as error:
        raise DataError(
            f"{source}: needs a library for this kind of store", got=str(error), do="install the library that is named"
        ) from None
    except Exception as error:
        raise cannot_reach(source, error) from error


def _under(store: Any, path: str) -> dict[str, Mapping[str, Any]]:
    """All under a folder, or under what a pattern matches, with what the store tells of each."""
    if store.isdir(path):
        return dict(store.find(path, detail=True))
    found: dict[str, Mapping[str, Any]] = {}
    if any(sign in path for sign in "*?["):
        for match, told in store.glob(path, detail=True).items():
            found.update(store.find(match, detail=True) if told["type"] == "directory" else {match: told})
    return found


def _is_hidden(path: str, source: str) -> bool:
    """Whether a part of a path begins with a dot that the source did not ask for."""
    fixed = re.split(r"[*?\[]", source)[0]
    return any(part.startswith(".") for part in path.removeprefix(fixed).split("/"))


def _object(source: str, store: Any, path: str, told: Mapping[str, Any]) -> ObjectInput:
    name, size = store.unstrip_protocol(path), int(told.get("size") or 0)
    return ObjectInput(source, name, path, store, size, _state_of(store, path, told))


def _state_of(store: Any, path: str, told: Mapping[str, Any]) -> str:
    """What stands for an object as it is now: its hash where the store has one, else the time of its last change."""
    state = _values(told, _CONTENT_HASHES)
    if not state:
        with contextlib.suppress(NotImplementedError):  # a store that keeps no times
            state = str(store.modified(path))
    return f"{told.get('size')} {state}"


def _values(told: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return " ".join(f"{name}={told[name]}" for name in names if told.get(name))


def cannot_reach(name: str, error: Exception) -> DataError:
    """Say that a store does not answer as it should."""
    first_line = (str(error).strip().splitlines() or [""])[0]
    return DataError(
        f"{name}: cannot be read",
        got=f"{type(error).__name__}: {first_line}",
        do="check the address, the network, and who may read it",
    )
