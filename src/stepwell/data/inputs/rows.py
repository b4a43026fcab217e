"""Rows: each is one text, from the column that holds it, with further columns that were asked for.

The column is named, or found: `text`, `content`, `sentence`, `body`, or the only column of text. Rows that cannot be
read are counted, and a table with too many of them is an error. This file leaves out the formats of tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain, islice
from typing import Any, NamedTuple

from stepwell.data.fields import text_of
from stepwell.data.inputs.reading import Reading, Text
from stepwell.errors import DataError

TEXT_COLUMNS = ("text", "content", "sentence", "body")
BAD_ROWS_RATIO = 0.01
PEEKED_ROWS = 100

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON may spell them; UTF-8 cannot


class Chosen(NamedTuple):
    """Which columns of a table are read.

    Attributes:
        text: whose values are the text.
        asked: the name under which a value goes with the text -> its column, None where the table has none.
    """

    text: tuple[str, ...]
    asked: Mapping[str, str | None]

    @property
    def columns(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys([*self.text, *(column for column in self.asked.values() if column is not None)]))


class Tally:
    """Counts rows, and judges at the end whether too many were bad.

    Args:
        name: the table, for messages.
        reading: where to report.
    """

    def __init__(self, name: str, reading: Reading) -> None:
        self._name = name
        self._reading = reading
        self._rows = 0
        self._bad = 0
        self._empty = 0
        self._first: tuple[int, str, str] | None = None

    def text(self, row: Mapping[str, Any], chosen: Chosen) -> Iterator[Text]:
        """A good row's text.

        Args:
            row: what its columns hold; those that are not in it hold nothing.
            chosen: which of them are read.

        Raises:
            DataError: when a column holds what cannot be written down.
        """
        self._rows += 1
        values = [row.get(column) for column in chosen.text]
        value = text_of(values) if self._reading.fields else values[0]
        if not isinstance(value, str) or not value.strip():
            self._empty += 1
            return
        asked = {
            name: None if column is None else plain_value(row.get(column), f"{self._name}: column {column!r}")
            for name, column in chosen.asked.items()
        }
        yield Text((value,), is_row=True, columns=asked)

    def bad(self, line: int, got: str, wanted: str) -> None:
        """A row that cannot be read."""
        self._rows += 1
        self._bad += 1
        self._first = self._first or (line, got, wanted)

    def finish(self) -> None:
        """Report what was left out.

        Raises:
            DataError: when more than one row in a hundred was bad.
        """
        if self._first is not None:
            line, got, wanted = self._first
            share = f"{self._bad:,} of {self._rows:,} lines"
            if self._bad > BAD_ROWS_RATIO * self._rows:
                raise DataError(
                    f"{self._name}:{line}: cannot be read ({share} are like this)",
                    got=got,
                    wanted=wanted,
                    do="mend the file; up to one line in a hundred is skipped",
                )
            self._reading.report(
                f"{self._name}: {share} could not be read (the first is line {line:,}: {got}); skipped"
            )
        if self._empty:
            self._reading.report(f"{self._name}: {self._empty:,} of {self._rows:,} rows hold no text; skipped")


def plain_value(value: object, where: str) -> Any:
    """A value of a row as plain JSON; times and decimal numbers as text, what is not a number as nothing.

    Args:
        value: of a column.
        where: begins the message.

    Raises:
        DataError: for bytes, pictures and other things that are no JSON.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain_value(one, where) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(one, where) for one in value]
    raise DataError(
        f"{where} holds what cannot go with a text",
        got=type(value).__name__,
        wanted="text, numbers, or lists of these",
        do="leave it out of data.columns",
    )


def choose_columns(name: str, columns: Mapping[str, bool], reading: Reading) -> Chosen:
    """Find the columns that are read.

    Args:
        name: the table, for messages.
        columns: column name -> whether it holds text.
        reading: what is asked for.

    Raises:
        DataError: listing the columns, when one is not there or several could be the text.
    """
    check_columns(name, columns, reading.columns)
    asked: dict[str, str | None] = {column: column for column in reading.columns}
    if not reading.fields:
        return Chosen((choose_column(name, columns, reading.text_column),), asked)
    by_lower = {column.strip().lower(): column for column in reversed(list(columns))}
    found = {
        field: next((by_lower[one.lower()] for one in known.columns if one.lower() in by_lower), None)
        for field, known in reading.fields.items()
    }
    for field, known in reading.fields.items():
        if found[field] is None and known.needed:
            raise DataError(
                f"{name}: no column for the {field} of an example",
                got=f"columns {_listed(columns)}",
                wanted=f"one named {' or '.join(known.columns)}",
                do=f"--set task.{field}=NAME",
            )
    wanted = [column for known in reading.fields.values() if known.is_text for column in known.columns]
    if wanted and all(found[field] is None for field, known in reading.fields.items() if known.is_text):
        raise DataError(
            f"{name}: no column for any part of an example",
            got=f"columns {_listed(columns)}",
            wanted=f"some of {', '.join(wanted)}",
            do="name the columns so, or name them in the task's section of the recipe",
        )
    texts = (found[field] for field, known in reading.fields.items() if known.is_text)
    beside = {field: found[field] for field, known in reading.fields.items() if known.kept}
    return Chosen(tuple(column for column in texts if column is not None), beside | asked)


def choose_column(name: str, columns: Mapping[str, bool], wanted: str | None) -> str:
    """Find the column with the text.

    Args:
        name: the table, for the message.
        columns: column name -> whether it holds text.
        wanted: the column that was asked for, if any.

    Raises:
        DataError: listing the columns, when there is no such column or several could be meant.
    """
    if wanted is not None:
        check_columns(name, columns, (wanted,))
        return wanted
    for column in TEXT_COLUMNS:
        if columns.get(column):
            return column
    texts = [column for column, is_text in columns.items() if is_text]
    if len(texts) != 1:
        raise DataError(
            f"{name}: which column is the text?" if texts else f"{name}: no column of text",
            got=f"columns {_listed(columns)}",
            wanted=f"a column named {', '.join(TEXT_COLUMNS)}, or only one column of text",
            do="--set data.text_column=NAME" if texts else None,
        )
    return texts[0]


def check_columns(name: str, columns: Collection[str], wanted: Iterable[str]) -> None:
    """See that columns that were asked for are there.

    Args:
        name: the table, for the message.
        columns: that it has.
        wanted: that it should have.

    Raises:
        DataError: listing the columns, for the first that is not there.
    """
    for one in wanted:
        if one not in columns:
            raise DataError(f"{name}: no column {one!r}", got=f"columns {_listed(columns)}", do="name one of these")


def _listed(columns: Collection[str]) -> str:
    shown = list(islice(columns, 40))
    return (", ".join(shown) + (f" and {len(columns) - 40:,} more" if len(columns) > 40 else "")) or "none"


def read_rows(
    rows: Iterable[Mapping[str, Any]], name: str, reading: Reading, tally: Tally | None = None
) -> Iterator[Text]:
    """The texts of rows that know their columns by name; the first rows tell which there are.

    Args:
        rows: any number of them, read once.
        name: the table, for messages.
        reading: which columns, and where to report.
        tally: counts; one that knows already of rows that could not be read.

    Raises:
        DataError: when no column of text is found, a column is not there, or too many rows were bad.
    """
    tally = tally or Tally(name, reading)
    rest = iter(rows)
    first = list(islice(rest, PEEKED_ROWS))
    columns = {column: False for row in first for column in row}
    for row in first:
        for column, value in row.items():
            columns[column] |= isinstance(value, str) and bool(value.strip())
    if first:
        chosen = choose_columns(name, columns, reading)
        for row in chain(first, rest):
            yield from tally.text(row, chosen)
    tally.finish()
