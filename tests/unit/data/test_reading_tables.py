"""Columns that go with each text, and rows that cannot be read."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.hub import HubInput
from stepwell.data.inputs.reading import Limits, Reading, Text
from stepwell.data.inputs.rows import plain_value
from stepwell.data.inputs.tables import _csv_rows
from stepwell.errors import DataError

ROWS = [{"text": "one 井", "label": "a", "stars": 5}, {"text": "two", "label": "b", "stars": None}]


def read(path: Path, columns: tuple[str, ...] = (), column: str | None = None) -> tuple[list[Text], list[str]]:
    reports: list[str] = []
    texts = list(FileInput.found("", path).read(Reading(column, "replace", reports.append, columns)))
    return texts, [report.removeprefix(f"{path}: ") for report in reports]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            writer.writerow(ROWS[0])
            writer.writerows(row.values() for row in ROWS)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv", "tsv"])
def test_columns_that_were_asked_for_go_with_each_text(tmp_path: Path, kind: str) -> None:
    texts, _ = read(write(tmp_path, kind), ("label", "stars"))
    assert [text.blocks for text in texts] == [("one 井",), ("two",)]
    as_text = kind in ("csv", "tsv")
    assert [dict(text.columns) for text in texts] == [
        {"label": "a", "stars": "5" if as_text else 5},
        {"label": "b", "stars": "" if as_text else None},
    ]
    assert [dict(text.columns) for text in read(write(tmp_path, kind))[0]] == [{}, {}]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv", "tsv"])
def test_a_column_that_is_not_there(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    with pytest.raises(DataError) as caught:
        read(path, ("label", "lable"))
    assert caught.value.what == f"{path}: no column 'lable'"
    assert caught.value.got == "columns text, label, stars"


@pytest.mark.slow
def test_columns_of_a_dataset(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write(tmp_path, "jsonl").rename(tmp_path / "train.jsonl")
    one = HubInput(f"hf://{tmp_path}")
    texts = list(one.read(Reading(None, "replace", print, ("label", "stars"))))
    assert [dict(text.columns) for text in texts] == [{"label": "a", "stars": 5}, {"label": "b", "stars": None}]
    with pytest.raises(DataError, match="no column 'x'") as caught:
        list(one.read(Reading(None, "replace", print, ("x",))))
    assert caught.value.got == "columns text, label, stars"


def test_a_column_that_only_some_rows_have(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "label": ["x", 1.5, true]}\n', encoding="utf-8")
    assert [dict(text.columns) for text in read(path, ("label",))[0]] == [{"label": None}, {"label": ["x", 1.5, True]}]


def test_the_text_may_be_a_column_too(tmp_path: Path) -> None:
    assert dict(read(write(tmp_path, "parquet"), ("text",))[0][0].columns) == {"text": "one 井"}


def test_values_become_plain_json() -> None:
    value = {"a": [1, float("nan"), "\ud800x"], 2: (date(2026, 1, 2), Decimal("1.50"), None, True)}
    plain = plain_value(value, "x")
    assert plain == {"a": [1, None, "\ufffdx"], "2": ["2026-01-02", "1.50", None, True]}
    json.dumps(plain, allow_nan=False).encode()
    with pytest.raises(DataError, match="table: column 'a' holds what cannot go with a text") as caught:
        plain_value([b"bytes"], "table: column 'a'")
    assert caught.value.got == "bytes"


def test_a_column_of_pictures(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a"], "image": [b"\x89PNG"]}), path)
    with pytest.raises(DataError, match="column 'image'"):
        read(path, ("image",))
    assert len(read(path)[0]) == 1


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_parquet_with_bytes_that_are_no_text(tmp_path: Path, as_dictionary: bool) -> None:
    path = tmp_path / "rows.parquet"
    raw = pa.array(["井".encode(), b"caf\xe9", None, b"good"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    pq.write_table(pa.table({"text": texts.dictionary_encode() if as_dictionary else texts, "n": [1, 2, 3, 4]}), path)
    got, reports = read(path, ("n",))
    assert [(*text.blocks, text.columns["n"]) for text in got] == [("井", 1), ("caf\ufffd", 2), ("good", 4)]
    assert reports == ["1 values are not UTF-8; replaced", "1 of 4 rows hold no text; skipped"]


def test_one_bad_line_in_very_many_is_counted_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = '{"text": "good"}\n' * 20_000
    path.write_text(good + '{"text": "torn\n' + good, encoding="utf-8")
    texts, reports = read(path)
    assert len(texts) == 40_000
    assert reports[0].startswith('1 of 40,001 lines could not be read (the first is line 20,001: \'{"text": "torn\'')


STRAY = 'id,text\n1,one\n2,"two\n3,three\n4,"four"\n5,"five,\nsix"\n6,"the ""last"" one"\n'


def test_a_quote_that_is_not_closed_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(STRAY + "7,more\n" * 200, encoding="utf-8")
    texts, reports = read(path)
    expected = ["one", "three", "four", "five,\nsix", 'the "last" one', *["more"] * 200]
    assert ["".join(text.blocks) for text in texts] == expected
    assert reports == [
        "1 of 206 lines could not be read (the first is line 3: '2,\"two' with a quote that is not closed); skipped"
    ]


@pytest.mark.parametrize("stray", ['9,"never closed\n', '9,"\n', '"9,x\n', '9,"a\n10,"b\n'])
def test_a_quote_without_end_does_not_swallow_the_file(tmp_path: Path, stray: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n" + "1,before\n" * 300 + stray + "2,after\n" * 300, encoding="utf-8")
    texts, reports = read(path)
    assert ["".join(text.blocks) for text in texts] == ["before"] * 300 + ["after"] * 300
    assert "could not be read (the first is line 302" in reports[0]


def test_a_row_longer_than_all_bounds_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n" + "1,a\n" * 150 + '2,"b\n' + "3,c\n" * 150, encoding="utf-8")
    reports: list[str] = []
    reading = Reading(None, "replace", reports.append, limits=Limits(line_characters=100))
    assert len(list(FileInput.found("", path).read(reading))) == 300
    assert len(reports) == 1


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width), min_size=1)))
def test_well_formed_csv_is_what_the_csv_module_reads(table: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows(table)
    lines = io.StringIO(out.getvalue(), newline="\n")
    wanted = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert [row for _, row in _csv_rows(lines, 10_000)] == wanted


@given(st.lists(st.text('a,"\n', max_size=8), max_size=12), st.integers(1, 30))
def test_any_csv_comes_to_an_end_and_numbers_its_lines(parts: list[str], longest: int) -> None:
    text = "".join(parts)
    rows = list(_csv_rows(iter(io.StringIO(text)), longest))
    numbers = [number for number, _ in rows]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= text.count("\n") + 1 for number in numbers)


def test_a_header_that_is_not_closed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,"text\n1,a\n', encoding="utf-8")
    with pytest.raises(DataError, match="a line of names first"):
        read(path)


def test_lines_that_do_not_end(tmp_path: Path) -> None:
    for kind in ("jsonl", "csv", "tsv"):
        path = tmp_path / f"rows.{kind}"
        path.write_text("text\n" + "x" * 9_000_000, encoding="utf-8")
        with pytest.raises(DataError, match="a line that does not end"):
            list(
                FileInput.found("", path).read(
                    Reading(None, "replace", print, limits=Limits(line_characters=5_000_000))
                )
            )
