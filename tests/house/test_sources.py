"""The source itself: sizes, names, and what the library never does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "src" / "stepwell"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

FILE_LINES = 500
FUNCTION_LINES = 60
LONG_FUNCTIONS: dict[str, int] = {}
"""Functions above the limit (`file:name` -> lines), a list that only ever gets shorter: none is added, none grows."""

NAMELESS = {"utils", "util", "common", "helpers", "helper", "core", "misc"}


def parse(file: Path) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def test_files_can_be_read_in_one_sitting() -> None:
    lines = {str(file): len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert not {file: count for file, count in lines.items() if count > FILE_LINES}


def test_functions_are_short() -> None:
    long = {
        f"{file}:{node.name}": lines
        for file in FILES
        for node in ast.walk(parse(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := _lines(node)) > FUNCTION_LINES
    }
    grown = {name: lines for name, lines in long.items() if lines > LONG_FUNCTIONS.get(name, 0)}
    assert not grown, f"above {FUNCTION_LINES} lines"
    mended = {name for name, lines in LONG_FUNCTIONS.items() if long.get(name) != lines}
    assert not mended, "shorter now: lower or drop their rows in LONG_FUNCTIONS"


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: explaining costs nothing."""
    first = function.body[0]
    explained = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    docstring = (first.end_lineno or 0) - first.lineno + 1 if explained else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_every_room_and_file_has_a_name_of_its_own() -> None:
    parts = {part.removesuffix(".py") for file in FILES for part in file.parts}
    assert not parts & NAMELESS


@pytest.mark.parametrize("file", FILES, ids=str)
def test_file_keeps_the_house_rules(file: Path) -> None:
    tree = parse(file)
    faults = []
    if not ast.get_docstring(tree):
        faults.append("no module docstring")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg:
            faults.append(f"line {node.lineno}: {node.name} passes **{node.args.kwarg.arg} through")
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "pickle" for alias in node.names):
            faults.append(f"line {node.lineno}: pickle")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            faults.append(f"line {node.lineno}: the library never prints; `cli` shows things through its console")
    assert not faults
