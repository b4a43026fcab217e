"""From what a person wrote (a file, a folder, a glob, a dataset, a sample) to the inputs behind it.

Folders are walked in a fixed order; hidden files are passed over, files of unknown kinds are counted, and a link that
leaves its folder is told and not followed. This file leaves out reading what it finds.
"""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from stepwell.data.inputs.decoding import HEAD_BYTES
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.hub import HubInput
from stepwell.data.inputs.kinds import KINDS, is_known
from stepwell.data.inputs.reading import Input
from stepwell.data.inputs.samples import SAMPLES, SampleInput
from stepwell.data.inputs.stores import find_objects
from stepwell.errors import DataError


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
    if "://" in source and not source.startswith("file://"):
        objects, is_one = find_objects(source)
        if is_one and not is_known(objects[0].name):
            raise _unknown_kind(source)
        known = _known(source, [one.name for one in objects], report)
        return [one for one in objects if one.name in known]
    path = Path(source.removeprefix("file://")).expanduser()
    if path.is_dir():
        return _known_files(source, _walk(path, path.resolve(), report), report)
    if path.is_file():
        if not is_known(path.name):
            with path.open("rb") as file:
                raise _unknown_kind(str(path), file.read(HEAD_BYTES))
        return [FileInput.found(source, path)]
    if glob.has_magic(str(path)):
        return _known_files(source, _matches(source, path, report), report)
    raise _no_such_file(path)


def _matches(source: str, pattern: Path, report: Callable[[str], None]) -> list[Path]:
    """Files that a pattern matches, and all in the folders that it matches, in a fixed order."""
    fixed = next(n for n, part in enumerate(pattern.parts) if glob.has_magic(part))
    base = Path(*pattern.parts[:fixed])
    inside = str(Path(*pattern.parts[fixed:]))
    root = base.resolve()
    found: dict[Path, None] = {}
    for match in sorted(base.glob(inside)) if base.is_dir() else []:
        if _is_hidden(match.relative_to(base)) and not _is_hidden(Path(inside)):
            continue
        if match.is_dir() and match.resolve().is_relative_to(root):
            found.update(dict.fromkeys(_walk(match, root, report)))
        elif _stays_inside(match, root, report):
            found[match] = None
    if not found:
        raise DataError(
            f"{source}: matches no file", do="check the pattern; quote it so that the shell leaves it alone"
        )
    return list(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


def _walk(folder: Path, root: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """Files under a folder; links are followed within `root`."""

    def tell(error: OSError) -> None:
        report(f"{error.filename}: cannot be listed ({error.strerror}); passed over")

    for here, folders, files in os.walk(folder, onerror=tell):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (link := Path(here, name)).is_symlink():
                _stays_inside(link, root, report)
        for name in sorted(files):
            path = Path(here, name)
            if not name.startswith(".") and _stays_inside(path, root, report):
                yield path


def _stays_inside(path: Path, root: Path, report: Callable[[str], None]) -> bool:
    """Whether a path is a file that may be read: no link to elsewhere, and nothing that never ends, as a pipe."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        report(f"{path}: a link to what is not there; passed over")
        return False
    if not path.resolve().is_relative_to(root):
        report(f"{path}: a link that leaves {root}; not followed (name what it points to if you want it)")
        return False
    if not is_file and not path.is_dir():
        report(f"{path}: no regular file; passed over")
    return is_file


def _known_files(source: str, paths: Iterable[Path], report: Callable[[str], None]) -> list[FileInput]:
    files = list(paths)
    known = _known(source, [str(path) for path in files], report)
    return [FileInput.found(source, path) for path in files if str(path) in known]


def _known(source: str, names: Sequence[str], report: Callable[[str], None]) -> set[str]:
    """Of names those of kinds that can be read; the others are counted."""
    known = {name for name in names if is_known(name)}
    unknown = Counter(PurePosixPath(name).suffix or "no suffix" for name in names if name not in known)
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in unknown.most_common(8))
    if not known:
        got = f"only files of other kinds ({kinds})" if unknown else "no files"
        raise DataError(f"{source}: nothing to read", got=got, wanted=f"files that end in {KINDS}")
    if unknown:
        report(f"{source}: {unknown.total():,} files of other kinds were passed over ({kinds})")
    return known


def _unknown_kind(name: str, head: bytes = b"") -> DataError:
    if b"\0" in head:
        return DataError(
            f"{name}: binary, not text", wanted=f"a file that ends in {KINDS}", do="convert it to text first"
        )
    suffix = PurePosixPath(name).suffix
    return DataError(
        f"{name}: unknown kind of file",
        got=f"a name that ends in {suffix}" if suffix else "a name without an ending",
        wanted=KINDS,
        do="if it is plain text, give it a name that ends in .txt",
    )


def _no_such_file(path: Path) -> DataError:
    if path.exists():
        return DataError(f"{path}: no regular file", wanted="a file or a folder")
    folder = path.parent
    if not folder.is_dir():
        return DataError(f"{path}: no such file", got=f"no folder {folder} either")
    names = sorted(one.name for one in folder.iterdir() if not one.name.startswith("."))
    nearest = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return DataError(f"{path}: no such file", do=f"did you mean {folder / nearest[0]}?" if nearest else None)
