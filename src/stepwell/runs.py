"""The run directory: one folder that holds everything a run made, readable at any moment.

Whole files are replaced atomically (written beside, synced, renamed); lists of lines only grow. A lock keeps two
processes apart and is let go by the kernel when its holder dies, however it dies. This file leaves out what the
lines mean: rooms above write them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from stepwell.errors import DiskError, RunError

FORMAT = 1
"""Version of the run directory's layout."""

DRAFT, OLDER = "stepwell-draft", "stepwell-older"
"""Ends of the names of what is being written, and of what it is about to replace."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file as a whole: readers see the old or the new content, never a part.

    Raises:
        DiskError: when it cannot be written; the old file is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    beside = _beside(path, DRAFT)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise disk_error(path, error) from error


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{end}")


def disk_error(path: Path, error: OSError) -> DiskError:
    """An error of the operating system, in words a person can act on."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskError(
            f"{path}: the disk is full",
            got=error.strerror,
            wanted="room for one more checkpoint",
            do="free some space and run the same command again; what was saved before is whole",
        )
    return DiskError(
        f"{path}: cannot be written", got=error.strerror, do="choose another --out, or mend the permissions"
    )


@contextlib.contextmanager
def building(path: Path) -> Iterator[Path]:
    """Make a directory as a whole: the yielded folder is renamed to `path` at the end, or removed on any fault.

    Raises:
        DiskError: when it cannot be written.
    """
    beside, older = _beside(path, DRAFT), _beside(path, OLDER)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        yield beside
        for file in beside.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if path.exists():
            path.rename(older)
        beside.rename(path)
    except OSError as error:
        if older.exists() and not path.exists():
            older.rename(path)
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Put in order what killed processes left half-made in a directory; the caller holds the lock on it.

    What was being written goes. What was about to be replaced comes back where the new one did not come in its place.
    """
    for older in directory.glob(f".*.{OLDER}"):
        name = older.name[1:].removesuffix(f".{OLDER}").rpartition(".")[0]
        if not (directory / name).exists():
            older.rename(directory / name)
    for path in [*directory.glob(f".*.{DRAFT}"), *directory.glob(f".*.{OLDER}")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def file_checksum(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON text, UTF-8 characters as they are; a name that is no UTF-8 (a lone surrogate) is escaped."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return text if _is_utf8(text) else json.dumps(_plain(value), indent=indent, allow_nan=False)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add one JSON line; after a line that a crash cut short it begins a new one.

    Raises:
        DiskError: when it cannot be written.
    """
    try:
        with path.open("ab+") as file:
            if _ends_within_a_line(file):
                file.write(b"\n")
            file.write(to_json(record).encode() + b"\n")
    except OSError as error:
        raise disk_error(path, error) from error


def _ends_within_a_line(file: BinaryIO) -> bool:
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole JSON lines of a file; a last line that a crash cut short is left out. No file: no lines."""
    records = []
    if path.exists():
        for line in path.read_bytes().split(b"\n"):  # text may hold other line ends (U+2028), or end inside a character
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    return records


class RunDirectory:
    """The paths of a run, and the lock on it.

    Args:
        root: the folder; made when it is not there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.root / "recipe.yaml"

    @property
    def identity(self) -> Path:
        """What the run is: the request it answers, and when it began."""
        return self.root / "run.json"

    @property
    def facts(self) -> Path:
        """What was found: data, tokenizer, machine, plan."""
        return self.root / "facts.json"

    @property
    def journal(self) -> Path:
        """One line a round."""
        return self.root / "journal.jsonl"

    @property
    def result(self) -> Path:
        """The summary, once the run is over."""
        return self.root / "result.json"

    @property
    def answers(self) -> Path:
        """What the best model said of each held-out example, one line each."""
        return self.root / "answers.jsonl"

    @property
    def errors(self) -> Path:
        """Where the best model was right and wrong, as tables."""
        return self.root / "errors.json"

    @property
    def data(self) -> Path:
        """Prepared text and tokens."""
        return self.root / "data"

    @property
    def tokenizers(self) -> Path:
        """Trained tokenizers, by the key of what they were trained on."""
        return self.root / "tokenizers"

    @property
    def best(self) -> Path:
        """The checkpoint to use."""
        return self.root / "best"

    def round(self, number: int) -> Path:
        """The folder of one round, from 1."""
        return self.root / "rounds" / f"{number:02d}"

    def read(self, path: Path) -> dict[str, Any] | None:
        """A JSON file of the run, or None when it is not there.

        Raises:
            RunError: when it is not JSON.
        """
        if not path.exists():
            return None
        try:
            value = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise RunError(
                f"{path}: is damaged", got=str(error), do="remove the file and run the command again"
            ) from None
        return value

    def read_identity(self) -> dict[str, Any] | None:
        """What `run.json` says, or None when there is none.

        Raises:
            RunError: when it is damaged, or was not written by a stepwell of this format.
        """
        found = self.read(self.identity)
        wanted = {"format": int, "kind": str, "request": dict}
        if found is not None and not all(isinstance(found.get(name), kind) for name, kind in wanted.items()):
            raise RunError(f"{self.identity}: is of no run of stepwell", do="choose another --out")
        if found is not None and found["format"] != FORMAT:
            raise RunError(f"{self.identity}: is of another format", got=str(found["format"]), wanted=str(FORMAT))
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            RunError: when another process holds it, or the folder cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / "lock")
            lock.acquire(blocking=False)
            sweep(self.root)
        except Timeout:
            raise RunError(
                f"{self.root}: another process is working on this run",
                do="wait for it, stop it, or choose another --out",
            ) from None
        except OSError as error:
            raise RunError(f"{self.root}: cannot be written", got=error.strerror, do="choose another --out") from None
        try:
            yield
        finally:
            lock.release()
