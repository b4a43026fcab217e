"""Rooms and layers hold: who may import whom, through which door, and what loads torch."""

from __future__ import annotations

import ast
import gc
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from stepwell.doors import open_late

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "src" / "stepwell"
LAYERS, LIGHT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
DOORS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def test_contracts_are_kept() -> None:
    """In a process of its own: the linter sets up logging anew, which closes streams of other libraries' handlers."""
    program = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr


def test_layers_hold_for_types_too() -> None:
    """The linter skips `if TYPE_CHECKING` because of the late doors; but a name in an annotation is knowledge too."""
    graph = grimp.build_graph("stepwell", exclude_type_checking_imports=False, cache_dir=None)
    layers = [grimp.Layer(*rooms) for line in LAYERS["layers"] if (rooms := _rooms_that_exist(line))]
    broken = graph.find_illegal_dependencies_for_layers(layers, containers={"stepwell"})
    assert not [f"{found.importer} -> {found.imported}" for found in broken]


def _rooms_that_exist(line: str) -> list[str]:
    """The rooms on one line of the layers; a room in parentheses may come later."""
    names = [part.strip(" ()") for part in line.split("|")]
    return [name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_other_rooms_are_entered_by_the_door(file: Path) -> None:
    own_room = file.parts[0].removesuffix(".py")
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    imported = [
        module
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    past_the_door = [
        module
        for module in imported
        if module.startswith("stepwell.") and module.count(".") > 1 and module.split(".")[1] != own_room
    ]
    assert not past_the_door, f"{file} imports past a door: {', '.join(past_the_door)}"


@pytest.mark.parametrize("room", DOORS)
def test_a_door_has_every_name_it_offers(room: str) -> None:
    door = importlib.import_module(f"stepwell.{room}")
    offered = door.__all__
    assert len(set(offered)) == len(offered)
    assert not [name for name in offered if not hasattr(door, name)]
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = door.no_such_name


@pytest.mark.parametrize("room", DOORS)
def test_a_door_offers_every_name_it_imports(room: str) -> None:
    """What type checkers see, what `__all__` says and what a person can import are one list."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"stepwell.{room}")
        for alias in node.names
    }
    assert imported <= set(importlib.import_module(f"stepwell.{room}").__all__)


@pytest.mark.parametrize("module", ["stepwell", *LIGHT["source_modules"]])
def test_light_rooms_load_no_torch(module: str) -> None:
    assert _loaded_by(f"import {module}") == []


def test_help_loads_no_torch() -> None:
    assert _loaded_by("import stepwell.cli; stepwell.cli.main()", "--help") == []


def _loaded_by(statement: str, *arguments: str) -> list[str]:
    """Which of the heavy libraries stand in `sys.modules` once a fresh interpreter has run a statement."""
    script = (
        "import atexit, sys\n"
        "heavy = ('torch', 'datasets', 'transformers', 'trafilatura', 'pandas')\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules], file=sys.stderr))\n"
        f"{statement}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    return list(ast.literal_eval(done.stderr.strip().splitlines()[-1]))


@pytest.mark.parametrize("was", [True, False])
def test_the_garbage_collector_rests_only_while_a_room_loads(was: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[bool] = []
    monkeypatch.setattr(importlib, "import_module", lambda _: rested.append(gc.isenabled()) or sys)
    before = gc.isenabled()
    (gc.enable if was else gc.disable)()
    try:
        assert open_late("room", {"path": "file"})("path") is sys.path
        assert (rested, gc.isenabled()) == ([False], was)
    finally:
        (gc.enable if before else gc.disable)()
