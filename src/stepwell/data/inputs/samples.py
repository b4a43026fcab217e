"""Text that every Python carries with it: the prose of its documentation and its own source code.

It needs no file and no network, so the first run works anywhere. The docstrings are read from the source with `ast`,
nothing is imported or run. This file leaves out every other source.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stepwell.data.inputs.reading import NamedInput, Reading, Text

LEFT_OUT = frozenset({"__pycache__", "idlelib", "lib2to3", "site-packages", "test", "tests", "dist-packages"})


class SampleInput(NamedInput):
    """One of the samples in `SAMPLES`."""

    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that the sample reads."""
        digest = hashlib.sha256(platform.python_version().encode())
        for path in _library_files():
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def read(self, reading: Reading) -> Iterator[Text]:
        """The sample's documents."""
        return (Text((text,), is_row=True) for text in SAMPLES[self.source]())


def python_docs() -> Iterator[str]:
    """The topics of the language reference, then the docstring of every module, class and function."""
    from pydoc_data.topics import topics

    yield from topics.values()
    root = _library_root()
    for path in _library_files():
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        yield from _docstrings(tree, module)


def _docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Iterator[str]:
    text = ast.get_docstring(node)
    if text:
        yield f"{name}\n\n{text}"
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _docstrings(child, f"{name}.{child.name}")


def python_code() -> Iterator[str]:
    """The standard library's source files, one document each."""
    for path in _library_files():
        yield path.read_bytes().decode("utf-8", errors="replace")


def _library_root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _library_files() -> Iterator[Path]:
    for folder, folders, files in os.walk(_library_root()):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


SAMPLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "sample:python-docs": python_docs,
    "sample:python-code": python_code,
}
