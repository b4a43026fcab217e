"""What steps tell, whatever they tell: plain JSON values as facts, counts and tables.

A step's findings have no fixed shape, so that a new step needs no change here: numbers and texts become facts, a
mapping of numbers becomes counts with bars, a list of mappings a table, and anything deeper is written on one line.
This file leaves out which section shows the findings of which step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from stepwell.studies.report import figures
from stepwell.studies.report.corpus.names import clip, named
from stepwell.studies.report.corpus.pictures import share_bar
from stepwell.studies.report.figures import number
from stepwell.studies.report.words import Words

MOST_ROWS, MOST_COLUMNS, MOST_LINES, LONG = 50, 8, 10, 12


@dataclass(frozen=True)
class Counts:
    """Numbers by name, the largest first.

    Attributes:
        name: of them all; None where it goes without saying.
        rows: name, number as text, bar.
        more: how many are not shown.
    """

    name: Words | None
    rows: list[tuple[Words, str, Markup]]
    more: int


@dataclass(frozen=True)
class Table:
    """Things of one kind.

    Attributes:
        name: of them all.
        head: names of the columns, and the class of their cells: `n` for numbers, `path` for where text came from,
            `said` for others.
        rows: cells, each of one line or several.
        more: how many rows are not shown.
    """

    name: Words
    head: list[tuple[Words, str]]
    rows: list[list[list[str]]]
    more: int

    @property
    def is_long(self) -> bool:
        """Whether it is better folded."""
        return len(self.rows) > LONG


@dataclass(frozen=True)
class Findings:
    """Everything that one step tells, ready for the template."""

    facts: list[tuple[Words, str]]
    counts: list[Counts]
    tables: list[Table]


_OF_A_KIND = re.compile(r"(?P<kind>[a-z_]+): (?P<which>.+)", re.DOTALL)
"""A number of one of many things of a kind, such as `line: All rights reserved.`"""


def _is_grouped(name: str, grouped: Mapping[str, Mapping[str, Any]]) -> bool:
    kind, _, which = name.partition(": ")
    return which in grouped.get(kind, ())


def view_of(findings: Mapping[str, Any]) -> Findings:
    """Bring findings into shape; what is empty is left out."""
    found = Findings([], [], [])
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in findings.items():
        if (parts := _OF_A_KIND.fullmatch(name)) and number(value) is not None:
            grouped.setdefault(parts["kind"], {})[parts["which"]] = value
    found.counts.extend(counts_of(several, named(kind)) for kind, several in grouped.items())
    findings = {name: value for name, value in findings.items() if not _is_grouped(name, grouped)}
    for name, value in findings.items():
        if isinstance(value, Mapping) and value:
            if all(number(one) is not None for one in value.values()):
                found.counts.append(counts_of(value, named(str(name))))
            elif all(isinstance(one, Mapping) for one in value.values()):
                rows = [{str(name): key, **one} for key, one in value.items()]
                found.tables.append(_table(str(name), rows))
            else:
                found.facts.append((named(str(name)), short(value)))
        elif isinstance(value, Sequence) and not isinstance(value, str) and value:
            rows = [dict(one) if isinstance(one, Mapping) else {str(name): one} for one in value]
            found.tables.append(_table(str(name), rows))
        elif not isinstance(value, Mapping | Sequence) or value:
            found.facts.append((named(str(name)), cell(str(name), value)))
    return found


def counts_of(counts: Mapping[str, Any], name: Words | None = None) -> Counts:
    """Numbers by name with bars; names that are numbers (sizes of clusters) stay in their order."""
    pairs = [(str(key), number(value) or 0.0) for key, value in counts.items()]
    if all(key.isdecimal() for key, _ in pairs):
        pairs.sort(key=lambda pair: int(pair[0]))
    else:
        pairs.sort(key=lambda pair: (-pair[1], pair[0]))
    most = max((abs(value) for _, value in pairs), default=0.0) or 1.0
    rows = [(named(key), show(value), share_bar(abs(value) / most)) for key, value in pairs[:MOST_ROWS]]
    return Counts(name, rows, max(0, len(pairs) - MOST_ROWS))


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))[:MOST_COLUMNS]
    head = [(named(column), _class(column, [row.get(column, 0) for row in rows])) for column in columns]
    cells = [[_lines(column, row.get(column)) for column in columns] for row in rows[:MOST_ROWS]]
    return Table(named(name), head, cells, max(0, len(rows) - MOST_ROWS))


def _class(column: str, values: Sequence[Any]) -> str:
    if all(number(value) is not None for value in values):
        return "n"
    return "path" if column.endswith("source") else "said"


def _lines(name: str, value: Any) -> list[str]:
    """A cell: several texts stand under each other."""
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
        return [clip(one) for one in value[:MOST_LINES]]
    return [figures.ABSENT if value is None else cell(name, value)]


def cell(name: str, value: Any) -> str:
    """A value as a short text; its name may say the unit."""
    if name.endswith("_bytes") or name == "bytes":
        return figures.show_bytes(value)
    if name.endswith("_seconds") or name == "seconds":
        return figures.show_seconds(value)
    if name.endswith("_ratio") and number(value) is not None:
        return figures.show_ratio(value)
    return short(value)


def short(value: Any) -> str:
    """Any plain value on one line, or in a text as it is."""
    if number(value) is not None:
        return show(float(value))
    return clip(value if isinstance(value, str) else figures.show_setting(value))


def show(value: float) -> str:
    """A count, or a number with a few digits."""
    return figures.show_count(value) if value == int(value) else figures.show_number(value)
