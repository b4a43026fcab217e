"""From what a person wrote (a file, a folder, a glob, a dataset, a sample) to the inputs behind it.

Folders are walked in a fixed order; hidden files are passed over and files of unknown kinds are counted. This file
leaves out reading what it finds.
"""

from __future__ import annotations

import difflib
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stepwell.data.inputs.files import HEAD_BYTES, PACKED, SUFFIXES, FileInput, is_known
from stepwell.data.inputs.hub import HubInput
from stepwell.data.inputs.reading import Input
from stepwell.data.inputs.samples import SAMPLES, SampleInput
from stepwell.errors import DataError

KINDS = f"{' '.join(SUFFIXES)} (also {' '.join(PACKED)})"


def find_inputs(sources: Sequence[str], report: Callable[[str], None]) -> list[Input]:
    """Find what sources stand for; a file that two of them name comes once.

    Args:
        sources: as a person wrote them.
        report: takes a sentence about files that were passed over.

    Raises:
        DataError: when a source does not exist, matches nothing, or holds nothing that can be read.
    """
    found: dict[str, Input] = {}
    for source in sources:
        for one in _inputs_of(source, report):
            place = str(one.path.resolve()) if isinstance(one, FileInput) else one.name
            found.setdefault(place, one)
    return list(found.values())


def _inputs_of(source: str, report: Callable[[str], None]) -> Sequence[Input]:
    if source.startswith("sample:"):
        if source not in SAMPLES:
            raise DataError(f"{source}: no such sample", wanted=" or ".join(SAMPLES))
        return [SampleInput(source)]
    if source.startswith("hf://"):
        return [HubInput(source)]
    path = Path(source).expanduser()
    if path.is_dir():
        return _known_files(source, list(_walk(path)), report)
    if path.is_file():
        if not is_known(path):
            raise _unknown_kind(path)
        return [FileInput(source, path)]
    if glob.has_magic(source):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 - also absolute patterns
        files = [file for match in matches for file in (_walk(match) if match.is_dir() else [match])]
        if not files:
            raise DataError(
                f"{source}: matches no file", do="check the pattern; quote it so that the shell leaves it alone"
            )
        return _known_files(source, list(dict.fromkeys(files)), report)
    raise _no_such_file(path)


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in sorted(files) if not name.startswith("."))


def _known_files(source: str, files: list[Path], report: Callable[[str], None]) -> list[FileInput]:
    known = [FileInput(source, path) for path in files if is_known(path)]
    unknown = Counter(path.suffix or "no suffix" for path in files if not is_known(path))
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in unknown.most_common(8))
    if not known:
        got = f"only files of other kinds ({kinds})" if unknown else "no files"
        raise DataError(f"{source}: nothing to read", got=got, wanted=f"files that end in {KINDS}")
    if unknown:
        report(f"{source}: {unknown.total():,} files of other kinds were passed over ({kinds})")
    return known


def _unknown_kind(path: Path) -> DataError:
    with path.open("rb") as file:
        is_binary = b"\0" in file.read(HEAD_BYTES)
    if is_binary:
        return DataError(
            f"{path}: binary, not text", wanted=f"a file that ends in {KINDS}", do="convert it to text first"
        )
    return DataError(
        f"{path}: unknown kind of file",
        got=f"a name that ends in {path.suffix}" if path.suffix else "a name without an ending",
        wanted=KINDS,
        do="if it is plain text, give it a name that ends in .txt",
    )


def _no_such_file(path: Path) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(f"{path}: no such file", got=f"no folder {folder} either")
    names = sorted(one.name for one in folder.iterdir() if not one.name.startswith("."))
    nearest = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return DataError(f"{path}: no such file", do=f"did you mean {folder / nearest[0]}?" if nearest else None)
