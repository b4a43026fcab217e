"""What a run directory holds, read with patience.

A report is most wanted when something went wrong, so a file that is absent, cut off or odd costs only what it would
have said: a broken line is counted and named, and the rest is read. Everything that leaves this file is a plain dict,
list or text whose shape has been looked at. This file leaves out what the numbers mean.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stepwell.errors import RunError
from stepwell.studies.report.figures import number

Line = dict[str, Any]


@dataclass(frozen=True)
class Trace:
    """The metrics of one round as they were written, without what a rollback or a resume replaced.

    Args:
        round: number of the round, from 1.
        steps: lines of kind `step`, by rising step.
        evaluations: lines of kind `evaluation`, by rising step.
        events: lines of kind `event` (`rolled_back`, `resumed`, `shortened`), as they came.
    """

    round: int
    steps: list[Line]
    evaluations: list[Line]
    events: list[Line]


@dataclass(frozen=True)
class RunFiles:
    """All that a report may use.

    Args:
        directory: the run directory.
        recipe: text of recipe.yaml, or None.
        facts: facts.json, or {}.
        journal: one dict a round, by rising round.
        result: result.json, or None while the run is not finished.
        traces: the metrics of each round that has any.
        errors: errors.json, or {}.
        unread: names of files, with line numbers, that could not be read.
    """

    directory: Path
    recipe: str | None
    facts: Line
    journal: list[Line]
    result: Line | None
    traces: dict[int, Trace]
    errors: Line = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    @functools.cached_property
    def settings(self) -> Line:
        """The recipe as nested values; {} when it cannot be read."""
        try:
            return mapping(yaml.safe_load(self.recipe or ""))
        except (yaml.YAMLError, ValueError, RecursionError):
            return {}


def read_run(directory: Path) -> RunFiles:
    """Read what there is in a run directory.

    Raises:
        RunError: when nothing in it is a run's.
    """
    unread: list[str] = []
    recipe = _text(directory / "recipe.yaml", unread)
    facts = _object(directory / "facts.json", unread)
    result = _object(directory / "result.json", unread)
    errors = _object(directory / "errors.json", unread)
    journal = _journal(directory / "journal.jsonl", unread)
    folders = [path for path in directory.glob("rounds/*") if path.name.isdecimal()]
    traces = {int(path.name): _trace(int(path.name), path / "metrics.jsonl", unread) for path in sorted(folders)}
    if not any((recipe, facts, result, journal, traces, unread)):
        raise RunError(
            f"{directory}: holds no run",
            got="no recipe.yaml, journal.jsonl or rounds/" if directory.is_dir() else "no such directory",
            wanted="the directory that was given to --out",
            do="stepwell run --text FILE --out DIR makes one",
        )
    return RunFiles(directory, recipe, facts or {}, journal, result, traces, errors or {}, unread)


def mapping(value: object) -> Line:
    """The value if it is a mapping with text keys, else {}."""
    return {str(name): part for name, part in value.items()} if isinstance(value, dict) else {}


def rows(value: object) -> list[Line]:
    """The mappings in a list; [] for anything else."""
    return [mapping(part) for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """The value if it is text, else the empty text."""
    return value if isinstance(value, str) else ""


def _text(path: Path, unread: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        unread.append(path.name)
        return None


def _object(path: Path, unread: list[str]) -> Line | None:
    source = _text(path, unread)
    if source is None:
        return None
    try:
        found = json.loads(source)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        unread.append(path.name)
        return None
    return mapping(found)


def _lines(path: Path, name: str, unread: list[str]) -> list[Line]:
    source = _text(path, unread)
    found: list[Line] = []
    for count, line in enumerate((source or "").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            found.append(mapping(value))
        else:
            unread.append(f"{name}:{count}")
    return found


def _journal(path: Path, unread: list[str]) -> list[Line]:
    """The rounds by number; a round that was written twice counts as it was written last."""
    by_round: dict[int, Line] = {}
    for line in _lines(path, path.name, unread):
        at = number(line.get("round"))
        which = len(by_round) + 1 if at is None else int(at)
        by_round[which] = {**line, "round": which}
    return [by_round[which] for which in sorted(by_round)]


def _trace(which: int, path: Path, unread: list[str]) -> Trace:
    steps: list[Line] = []
    evaluations: list[Line] = []
    events: list[Line] = []
    for line in _lines(path, f"rounds/{path.parent.name}/{path.name}", unread):
        if line.get("kind") == "event":
            events.append(line)
        elif line.get("kind") in ("step", "evaluation") and number(line.get("step")) is not None:
            _append(steps if line["kind"] == "step" else evaluations, line)
    return Trace(which, steps, evaluations, events)


def _append(lines: list[Line], line: Line) -> None:
    """Add a line; lines at or after its step were rolled back, or redone after a stop, and go."""
    while lines and lines[-1]["step"] >= line["step"]:
        lines.pop()
    lines.append(line)
