"""Tables in files: JSON Lines, comma- and tab-separated values, parquet.

A line that cannot be read costs itself and no other: a quote that is never closed does not swallow the rest of a file.
This file leaves out which column is the text (`rows.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from stepwell.data.inputs.content import Content
from stepwell.data.inputs.decoding import text_blocks
from stepwell.data.inputs.reading import Reading, Text
from stepwell.data.inputs.rows import PEEKED_ROWS, TEXT_COLUMNS, Tally, choose_columns, read_rows
from stepwell.errors import DataError

PARQUET_ROWS = 1024
"""Decoded at once."""


def read_jsonl(content: Content, reading: Reading) -> Iterator[Text]:
    """JSON Lines: each line is an object, or simply a string.

    Raises:
        DataError: for too many bad lines, with the first; or when a column is not there.
    """
    tally = Tally(content.name, reading)
    return read_rows(_json_rows(_lines(content, reading), tally), content.name, reading, tally)


def _json_rows(lines: Iterable[str], tally: Tally) -> Iterator[Mapping[str, object]]:
    for number, line in enumerate(lines, start=1):
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


def _lines(content: Content, reading: Reading) -> Iterator[str]:
    for block in text_blocks(content, reading, whole_lines=True):
        yield from io.StringIO(block, newline="\n")


def read_csv(content: Content, reading: Reading) -> Iterator[Text]:
    """Comma-separated values with a line of names first; quoted fields may hold line ends.

    Raises:
        DataError: as `read_jsonl`.
    """
    lines = (line.removeprefix("\ufeff") for line in _lines(content, reading))
    return _read_table(_csv_rows(lines, content.limits.line_characters), content.name, reading)


def _csv_rows(lines: Iterator[str], longest: int) -> Iterator[tuple[int, list[str] | str]]:
    """Rows with the number of their first line; a line that cannot be read as its own beginning.

    A row of several lines must be quoted by the rules and be as wide as the first row, or only its first line is given
    up and the others are read again: a stray quote would join all lines up to the next one.
    """
    waiting: deque[str] = deque()
    taken: list[str] = []

    def feed() -> Iterator[str]:
        characters = 0
        while characters <= longest and (line := waiting.popleft() if waiting else next(lines, None)) is not None:
            taken.append(line)
            characters += len(line)
            yield line

    number, width = 1, None
    while True:
        before = csv.field_size_limit(2**31 - 1)  # a setting of the whole process: others find it as it was
        row = _parsed(feed(), strict=False)
        is_well_quoted = len(taken) < 2 or _parsed(taken, strict=True) is not None
        csv.field_size_limit(before)
        if not taken:
            return
        if len(taken) > 1 and (row is None or width not in (None, len(row)) or not is_well_quoted):
            waiting.extendleft(reversed(taken[1:]))
            del taken[1:]
            row = None
        yield number, taken[0][:60].rstrip() if row is None else row
        width = width or (len(row) if row else None)
        number += len(taken)
        taken.clear()


def _parsed(lines: Iterable[str], *, strict: bool) -> list[str] | None:
    """The first row of some lines; None when it cannot be read."""
    try:
        return next(csv.reader(lines, strict=strict), None)
    except csv.Error:
        return None


def read_tsv(content: Content, reading: Reading) -> Iterator[Text]:
    """Tab-separated values with a line of names first; one line is one row, so a stray quote swallows nothing.

    Raises:
        DataError: as `read_jsonl`.
    """
    rows = (
        (number, [_unquoted(field) for field in line.removeprefix("\ufeff").rstrip("\r\n").split("\t")])
        for number, line in enumerate(_lines(content, reading), start=1)
        if line.strip()
    )
    yield from _read_table(rows, content.name, reading)


def _unquoted(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field


def _read_table(table: Iterator[tuple[int, list[str] | str]], name: str, reading: Reading) -> Iterator[Text]:
    header = next((row for _, row in table), None)
    if header is None:
        return
    if isinstance(header, str):
        raise DataError(f"{name}:1: cannot be read as a table", got=repr(header), wanted="a line of names first")
    peeked = list(islice(table, PEEKED_ROWS))
    seen = [row for _, row in peeked if not isinstance(row, str)]
    columns = {column: _holds_text([row[n] for row in seen if n < len(row)]) for n, column in enumerate(header)}
    chosen = choose_columns(name, columns, reading)
    places = [(column, header.index(column)) for column in chosen.columns]
    tally = Tally(name, reading)
    for number, row in chain(peeked, table):
        if isinstance(row, str):
            tally.bad(number, f"{row!r} with a quote that is not closed", "quotes in pairs")
        elif len(row) == len(header):
            yield from tally.text({column: row[n] for column, n in places}, chosen)
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


def read_parquet(content: Content, reading: Reading) -> Iterator[Text]:
    """An Arrow table in columns; one that is packed once more is unpacked first.

    Raises:
        DataError: when the file is damaged, or a column is not there.
    """
    import pyarrow
    import pyarrow.parquet

    tally = Tally(content.name, reading)
    try:
        with content.held() as held, held.whole(), held.open() as stream:
            table = pyarrow.parquet.ParquetFile(stream, pre_buffer=False)
            columns = {field.name: _is_text_type(field.type) for field in table.schema_arrow}
            chosen = choose_columns(content.name, columns, reading)
            not_utf8 = 0
            for batch in table.iter_batches(PARQUET_ROWS, columns=chosen.columns):
                try:
                    rows = batch.to_pylist()
                except UnicodeDecodeError:  # some writers do not look at what they write as text
                    rows, bad = _replaced(batch)
                    not_utf8 += bad
                for row in rows:
                    yield from tally.text(row, chosen)
                del rows  # before the next ones are made
            if not_utf8:
                reading.report(f"{content.name}: {not_utf8:,} values are not UTF-8; replaced")
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{content.name}: cannot be read as parquet", got=str(error).splitlines()[0], wanted="a whole parquet file"
        ) from None
    tally.finish()


def _replaced(batch: Any) -> tuple[list[dict[str, Any]], int]:
    """The rows of a batch with U+FFFD for bytes that are not UTF-8, and how many values these are."""
    import pyarrow

    columns: dict[str, list[Any]] = {}
    bad = 0
    for field, values in zip(batch.schema, batch.columns, strict=True):
        if not _is_text_type(field.type):
            columns[field.name] = values.to_pylist()
            continue
        plain = values.dictionary_decode() if pyarrow.types.is_dictionary(field.type) else values
        columns[field.name] = []
        for value in plain.cast(pyarrow.large_binary()).to_pylist():
            text = None if value is None else value.decode("utf-8", errors="replace")
            bad += text is not None and text.encode() != value
            columns[field.name].append(text)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], bad


def _is_text_type(kind: Any) -> bool:
    import pyarrow.types

    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind)
    )
