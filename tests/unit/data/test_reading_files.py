"""Every kind of file, plain and packed, gives its texts."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepwell.data.inputs import decoding
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.reading import Limits, Reading

ROWS = ["The first, with a comma.", "第二行，“引号”。", 'A "quoted" third\tone.']


def plain(rows: list[str]) -> bytes:
    return "\n\n".join(rows).encode()


def jsonl(rows: list[str]) -> bytes:
    return "".join(json.dumps({"id": n, "text": row}) + "\n" for n, row in enumerate(rows)).encode()


def table(rows: list[str], delimiter: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([["id", "text"], *([n, row] for n, row in enumerate(rows))])
    return out.getvalue().encode()


def parquet(rows: list[str]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": list(range(len(rows))), "text": rows}), out)
    return out.getvalue()


def html(rows: list[str]) -> bytes:
    body = "".join(f"<p>{row}</p>" for row in rows)
    return f"<html><head><title>T</title><script>bad()</script></head><body>{body}</body></html>".encode()


KINDS = {
    "txt": plain,
    "md": plain,
    "html": html,
    "htm": html,
    "jsonl": jsonl,
    "csv": lambda rows: table(rows, ","),
    "tsv": lambda rows: table(rows, "\t"),
    "parquet": parquet,
}


def pack(data: bytes, packing: str) -> bytes:
    if packing == ".gz":
        return gzip.compress(data)
    if packing == ".zst":
        return pa.Codec("zstd").compress(data, asbytes=True)
    return data


def read(path: Path, column: str | None = None, errors: str = "replace") -> tuple[list[str], list[str]]:
    """Texts and reports."""
    reports: list[str] = []
    reading = Reading(column, errors, reports.append)
    return ["".join(text.blocks) for text in FileInput(str(path), path).read(reading)], reports


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_packed_and_plain(tmp_path: Path, kind: str, packing: str) -> None:
    rows = ROWS[:2] if kind == "tsv" else ROWS
    path = tmp_path / f"file.{kind}{packing}"
    path.write_bytes(pack(KINDS[kind](rows), packing))
    texts, reports = read(path)
    if kind in ("html", "htm"):
        assert [line for line in texts[0].splitlines() if line] == [row.replace("\t", " ") for row in rows]
    else:
        assert texts == (["\n\n".join(rows)] if kind in ("txt", "md") else rows)
    assert reports == []


def test_names_are_read_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "BOOK.TXT.GZ"
    path.write_bytes(gzip.compress(b"text"))
    assert read(path)[0] == ["text"]


def test_packed_in_several_parts(tmp_path: Path) -> None:
    for packing in (".gz", ".zst"):
        path = tmp_path / f"parts.txt{packing}"
        path.write_bytes(pack(b"one\n", packing) + pack(b"two\n", packing))
        assert read(path)[0] == ["one\ntwo\n"]


def test_utf16_with_a_mark_is_text(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes("井水 and text".encode("utf-16"))
    assert read(path) == (["井水 and text"], [])


def test_bad_bytes_are_counted_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("井 caf".encode() + b"\xe9 and na\xefve")
    texts, reports = read(path)
    assert texts == ["井 caf\ufffd and na\ufffdve"]
    assert reports == [f"{path}: 2 bytes are not UTF-8 (the first at byte 7); replaced"]


def test_bad_bytes_can_skip_the_file(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9")
    texts, reports = read(path, errors="skip")
    assert texts == []
    assert "the file was skipped" in reports[0]
    path.write_bytes(b"cafe")
    assert read(path, errors="skip") == (["cafe"], [])


def test_bad_bytes_are_found_wherever_a_chunk_ends(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "torn.txt"
    data = "井水井水".encode() + b"\xff" + "井水\n".encode() * 5 + b"\xe4\xba"
    path.write_bytes(data)
    for head in range(1, 12):
        monkeypatch.setattr(decoding, "HEAD_BYTES", head)
        monkeypatch.setattr(decoding, "CHUNK_BYTES", 3)
        texts, reports = read(path)
        assert texts == ["井水井水\ufffd" + "井水\n" * 5 + "\ufffd"]
        assert "3 bytes are not UTF-8 (the first at byte 12)" in reports[0]


def test_long_text_comes_in_blocks_that_end_at_line_ends(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "HEAD_BYTES", 10)
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 10)
    monkeypatch.setattr(decoding, "BLOCK_CHARACTERS", 50)
    path = tmp_path / "long.txt"
    text = "".join(f"line {n} of the text\r\n" for n in range(50)) + "x" * 200 + "\n井\n"
    path.write_bytes(text.encode())
    content, reading = FileInput("", path).content(Limits()), Reading(None, "replace", print)
    blocks = list(decoding.text_blocks(content, reading))
    assert "".join(blocks) == text
    assert len(blocks) > 10
    assert all(block.endswith("\n") for block in blocks if "x" not in block)
    whole = list(decoding.text_blocks(content, reading, whole_lines=True))
    assert "".join(whole) == text
    assert all(block.endswith("\n") for block in whole)


@pytest.mark.parametrize("name", ["content", "sentence", "body", "text"])
def test_columns_found_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"title": "a title", name: "the text"}), encoding="utf-8")
    assert read(path)[0] == ["the text"]


def test_the_only_column_of_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,review,stars\n1,good,5\n2,,4\n3,bad,1.5\n", encoding="utf-8")
    texts, reports = read(path)
    assert texts == ["good", "bad"]
    assert reports == [f"{path}: 1 of 3 rows hold no text; skipped"]


def test_the_named_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("text\ttitle\nlong\tshort\n", encoding="utf-8")
    assert read(path, column="title")[0] == ["short"]


def test_first_rows_without_text_do_not_hide_the_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": null, "n": 1}\n{"text": "here"}\n"and a plain string"\n\n', encoding="utf-8")
    assert read(path)[0] == ["here", "and a plain string"]


def test_csv_fields_with_line_ends_and_large_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    long = "word " * 50_000
    path.write_bytes(f'\ufefftext,n\r\n"two\nlines",1\r\n"{long}",2\r\n'.encode())
    limit = csv.field_size_limit()
    assert read(path)[0] == ["two\nlines", long]
    assert csv.field_size_limit() == limit


def test_a_stray_quote_in_tsv_swallows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n"that\'s right\t1\nnext\t0\n"a ""b"""\t1\n', encoding="utf-8")
    assert read(path)[0] == ["\"that's right", "next", 'a "b"']


def test_json_lines_keep_unusual_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one\u2028two\x85three"}\r\n{"text": "井"}', encoding="utf-8")
    assert read(path)[0] == ["one\u2028two\x85three", "井"]


def test_a_few_bad_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n' * 150 + "not json\n", encoding="utf-8")
    texts, reports = read(path)
    assert len(texts) == 150
    assert reports[0].startswith(f"{path}: 1 of 151 lines could not be read (the first is line 151: 'not json' (")


def test_html_main_text(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    paragraph = "The stepwell was dug nine hundred years ago, and people still come here to draw water from it. " * 3
    chinese = "村里的人每天都来这里打水，聊天，洗菜。" * 5
    path.write_text(
        "<?xml version='1.0' encoding='utf-8'?><html><body><nav><a href='/'>Home</a> <a href='/x'>Shop</a></nav>"
        f"<article><h1>Wells</h1><p>{paragraph}</p><p>井水很凉。{chinese}</p></article>"
        "<script>alert(1)</script></body></html>",
        encoding="utf-8",
    )
    (text,), _ = read(path)
    assert paragraph.strip() in text
    assert "井水很凉。" in text
    assert "alert" not in text
    assert "<" not in text


def test_html_without_main_text_and_without_any(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<p>井</p>", encoding="utf-8")
    assert read(path)[0] == ["井"]
    path.write_text("<html><body><script>x</script></body></html>", encoding="utf-8")
    assert "".join(read(path)[0]).strip() == ""


def test_parquet_with_other_kinds_of_text_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    column = pa.array(["one", None, "one"]).dictionary_encode()
    pq.write_table(pa.table({"n": [1, 2, 3], "review": column}), path)
    assert read(path)[0] == ["one", "one"]
    pq.write_table(pa.table({"review": pa.array(["big"], pa.large_string())}), path)
    assert read(path)[0] == ["big"]
