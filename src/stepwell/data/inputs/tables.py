"""Tables: one row is one text, from the column that holds it.

The column is named, or found: `text`, `content`, `sentence`, `body`, or the only column of text. Rows that cannot be
read are counted, and a table with too many of them is an error. This file leaves out how bytes become lines.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, BinaryIO

from stepwell.data.inputs.reading import Reading, Text
from stepwell.errors import DataError

TEXT_COLUMNS = ("text", "content", "sentence", "body")
BAD_ROWS_RATIO = 0.01
PEEKED_ROWS = 100


class _Tally:
    """Counts rows, and judges at the end whether too many were bad."""

    def __init__(self, name: str, reading: Reading) -> None:
        self._name = name
        self._report = reading.report
        self._rows = 0
        self._bad = 0
        self._empty = 0
        self._first: tuple[int, str, str] | None = None

    def text(self, value: object) -> Iterator[Text]:
        """A good row's text."""
        self._rows += 1
        if isinstance(value, str) and value.strip():
            yield Text((value,), is_row=True)
        else:
            self._empty += 1

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
            self._report(f"{self._name}: {share} could not be read (the first is line {line:,}); skipped")
        if self._empty:
            self._report(f"{self._name}: {self._empty:,} of {self._rows:,} rows hold no text; skipped")


def choose_column(name: str, columns: Mapping[str, bool], wanted: str | None) -> str:
    """Find the column with the text.

    Args:
        name: the table, for the message.
        columns: column name -> whether it holds text.
        wanted: the column that was asked for, if any.

    Raises:
        DataError: listing the columns, when there is no such column or several could be meant.
    """
    listed = ", ".join(columns) or "none"
    if wanted is not None:
        if wanted not in columns:
            raise DataError(f"{name}: no column {wanted!r}", got=f"columns {listed}", do="name one of these")
        return wanted
    for column in TEXT_COLUMNS:
        if columns.get(column):
            return column
    texts = [column for column, is_text in columns.items() if is_text]
    if len(texts) != 1:
        raise DataError(
            f"{name}: which column is the text?" if texts else f"{name}: no column of text",
            got=f"columns {listed}",
            wanted=f"a column named {', '.join(TEXT_COLUMNS)}, or only one column of text",
            do="--set data.text_column=NAME" if texts else None,
        )
    return texts[0]


def read_rows(rows: Iterable[Mapping[str, object]], name: str, reading: Reading) -> Iterator[Text]:
    """The texts of rows that know their columns by name; the first rows tell which column holds text.

    Args:
        rows: any number of them, read once.
        name: the table, for messages.
        reading: which column, and where to report.

    Raises:
        DataError: when no column of text is found.
    """
    tally = _Tally(name, reading)
    yield from _texts_of_rows(rows, name, reading, tally)
    tally.finish()


def _texts_of_rows(rows: Iterable[Mapping[str, object]], name: str, reading: Reading, tally: _Tally) -> Iterator[Text]:
    rest = iter(rows)
    first = list(islice(rest, PEEKED_ROWS))
    if not first:
        return
    columns = {column: False for row in first for column in row}
    for row in first:
        for column, value in row.items():
            columns[column] |= isinstance(value, str) and bool(value.strip())
    column = choose_column(name, columns, reading.text_column)
    for row in chain(first, rest):
        yield from tally.text(row.get(column))


def read_jsonl(blocks: Iterable[str], name: str, reading: Reading) -> Iterator[Text]:
    """JSON Lines: each line is an object, or simply a string.

    Raises:
        DataError: for too many bad lines, with the first; or when no column of text is found.
    """
    tally = _Tally(name, reading)
    yield from _texts_of_rows(_json_rows(blocks, tally), name, reading, tally)
    tally.finish()


def _json_rows(blocks: Iterable[str], tally: _Tally) -> Iterator[Mapping[str, object]]:
    for number, line in enumerate(_lines(blocks), start=1):
        line = line.strip().removeprefix("\ufeff")
        if not line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            row, fault = None, f" ({error})"
        else:
            fault = ""
        if isinstance(row, str):
            row = {TEXT_COLUMNS[0]: row}
        if isinstance(row, dict):
            yield row
        else:
            tally.bad(number, f"{line[:60]!r}{fault}", "one JSON object on each line")


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    for block in blocks:
        yield from io.StringIO(block, newline="\n")


def read_csv(blocks: Iterable[str], name: str, reading: Reading) -> Iterator[Text]:
    """Comma-separated values with a line of names first; quoted fields may hold line ends.

    Raises:
        DataError: as `read_jsonl`.
    """
    before = csv.field_size_limit(2**31 - 1)
    try:
        lines = (line.removeprefix("\ufeff") for line in _lines(blocks))
        table = csv.reader(lines)
        yield from _read_table(((table.line_num, row) for row in table), name, reading)
    except csv.Error as error:
        raise DataError(f"{name}:{table.line_num}: cannot be read as a table", got=str(error)) from None
    finally:
        csv.field_size_limit(before)


def read_tsv(blocks: Iterable[str], name: str, reading: Reading) -> Iterator[Text]:
    """Tab-separated values with a line of names first; one line is one row, so a stray quote swallows nothing.

    Raises:
        DataError: as `read_jsonl`.
    """
    lines = enumerate(_lines(blocks), start=1)
    rows = (
        (number, [_unquoted(field) for field in line.removeprefix("\ufeff").rstrip("\r\n").split("\t")])
        for number, line in lines
        if line.strip()
    )
    yield from _read_table(rows, name, reading)


def _unquoted(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field


def _read_table(table: Iterator[tuple[int, list[str]]], name: str, reading: Reading) -> Iterator[Text]:
    header = next((row for _, row in table), None)
    if header is None:
        return
    peeked = list(islice(table, PEEKED_ROWS))
    columns = {column: _holds_text([row[n] for _, row in peeked if n < len(row)]) for n, column in enumerate(header)}
    at = header.index(choose_column(name, columns, reading.text_column))
    tally = _Tally(name, reading)
    for number, row in chain(peeked, table):
        if len(row) == len(header):
            yield from tally.text(row[at])
        elif row:
            tally.bad(number, f"{len(row)} fields", f"{len(header)} fields, as in the first line")
    tally.finish()


def _holds_text(values: list[str]) -> bool:
    """Whether a column is more than numbers and blanks."""
    return any(not _is_number(value) for value in values if value.strip())


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def read_parquet(open_file: Callable[[], BinaryIO], is_plain: bool, name: str, reading: Reading) -> Iterator[Text]:
    """An Arrow table in columns.

    Args:
        open_file: opens its bytes.
        is_plain: whether they can be read from any place; an unpacked stream is held in memory.
        name: the table, for messages.
        reading: which column, and where to report.

    Raises:
        DataError: when the file is damaged, or no column of text is found.
    """
    import pyarrow
    import pyarrow.parquet

    tally = _Tally(name, reading)
    try:
        with open_file() as stream:
            table = pyarrow.parquet.ParquetFile(stream if is_plain else io.BytesIO(stream.read()))
            columns = {field.name: _is_text_type(field.type) for field in table.schema_arrow}
            column = choose_column(name, columns, reading.text_column)
            for batch in table.iter_batches(columns=[column]):
                for value in batch.column(0).to_pylist():
                    yield from tally.text(value)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{name}: cannot be read as parquet", got=str(error).splitlines()[0], wanted="a whole parquet file"
        ) from None
    tally.finish()


def _is_text_type(kind: Any) -> bool:
    import pyarrow.types

    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind)
    )
