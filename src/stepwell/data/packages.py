"""A package: a directory that is whole or not there, with a manifest that holds a checksum of every file.

It is written beside its place and renamed into it, so a stopped process leaves nothing that looks finished. Opening one
checks it; a damaged one is built again. This file leaves out what is inside.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepwell.errors import DataError, DiskError
from stepwell.progress import Fact, Watcher

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

Contents = dict[str, Any]
"""What a manifest says about its package, as plain JSON values."""


def key_of(values: object) -> str:
    """A short stable name for plain JSON values: 16 hex digits of their SHA-256."""
    text = json.dumps([FORMAT_VERSION, values], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_or_build(path: Path, write: Callable[[Path], Mapping[str, Any]], watch: Watcher) -> Contents:
    """Open a package if it is there and whole, else build it.

    Args:
        path: the package's directory; its name holds the key of all that it was made from.
        write: fills an empty directory and returns what the manifest says about it.
        watch: is told when a damaged package is built again.

    Returns:
        What `write` returned, now or when the package was built.

    Raises:
        DiskError: when it cannot be written; nothing is left at `path` then.
    """
    if path.exists():
        try:
            return open_package(path)
        except DataError as error:
            watch(Fact(f"{error.what}; it is made again", warning=True))
    try:
        return _build(path, write)
    except OSError as error:
        raise DiskError(
            f"{path}: cannot be written",
            got=str(error.strerror or error),
            do="free some space or choose another output directory; what was there before is untouched",
        ) from error


def _build(path: Path, write: Callable[[Path], Mapping[str, Any]]) -> Contents:
    draft = path.with_name(f".{path.name}.draft")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(parents=True)
    try:
        contents = dict(write(draft))
        checksums = {file.name: file_checksum(file) for file in sorted(draft.iterdir())}
        manifest = {"version": FORMAT_VERSION, "checksums": checksums, "contents": contents}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return contents


def open_package(path: Path) -> Contents:
    """Check every file of a package against its checksum.

    Returns:
        What the manifest says about the package.

    Raises:
        DataError: naming the file that is missing or damaged.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version, checksums, contents = manifest["version"], manifest["checksums"], manifest["contents"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / MANIFEST}: missing or damaged", got=str(error)) from None
    if version != FORMAT_VERSION:
        raise DataError(f"{path}: another format", got=f"version {version}", wanted=f"version {FORMAT_VERSION}")
    for name, wanted in checksums.items():
        file = path / name
        if not file.is_file():
            raise DataError(f"{file}: missing", do="prepare the data again")
        got = file_checksum(file)
        if got != wanted:
            raise DataError(
                f"{file}: damaged",
                got=f"checksum {got[:12]}, {file.stat().st_size:,} bytes",
                wanted=f"checksum {wanted[:12]}",
                do="prepare the data again",
            )
    return dict(contents)


def file_checksum(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
