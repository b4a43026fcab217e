"""What goes wrong with people's text, and what they are told: what, got, wanted, what to do."""

from __future__ import annotations

import errno
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepwell.config import build
from stepwell.data import DataConfig, prepare_text
from stepwell.errors import ConfigError, DataError, DiskError


def failure(tmp_path: Path, *sources: Path | str, **settings) -> DataError:
    """The error of preparing; nothing may be left of the attempt."""
    out = tmp_path / "out"
    with pytest.raises(DataError) as caught:
        prepare_text(DataConfig(sources=tuple(map(str, sources)), **settings), out)
    assert not out.exists() or not list(out.iterdir())
    return caught.value


def test_no_such_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text("x", encoding="utf-8")
    error = failure(tmp_path, tmp_path / "nvel.txt")
    assert error.what == f"{tmp_path}/nvel.txt: no such file"
    assert error.do == f"did you mean {tmp_path}/novel.txt?"
    assert "no folder" in str(failure(tmp_path, tmp_path / "nowhere" / "x.txt"))


def test_a_glob_without_matches(tmp_path: Path) -> None:
    assert "matches no file" in failure(tmp_path, f"{tmp_path}/*.txt").what


def test_an_empty_folder_and_only_unknown_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert failure(tmp_path, folder).got == "no files"
    (folder / "a.png").write_bytes(b"x")
    (folder / "b").write_bytes(b"x")
    error = failure(tmp_path, folder)
    assert error.what == f"{folder}: nothing to read"
    assert "1 .png" in str(error.got)
    assert ".parquet" in str(error.wanted)


def test_an_unknown_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "book.odt"
    path.write_text("text", encoding="utf-8")
    assert "unknown kind of file" in failure(tmp_path, path).what
    path.write_bytes(b"PK\x03\x04\0\0")
    assert "binary" in failure(tmp_path, path).what


@pytest.mark.parametrize("content", ["", "\n \n\n", "\ufeff"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "empty.txt"
    path.write_text(content, encoding="utf-8")
    error = failure(tmp_path, path)
    assert error.what == f"{path}: empty"
    assert "20,000 bytes" in str(error.wanted)


def test_too_little_text_says_how_much_is_needed(tmp_path: Path, small_text) -> None:
    path = tmp_path / "small.txt"
    path.write_text(small_text("mixed", 10_000), encoding="utf-8")
    error = failure(tmp_path, path)
    assert error.what == f"{path}: too little text to train on"
    assert "bytes of training text" in str(error.got)
    assert "at least 20,000 bytes" in str(error.wanted)
    path.write_text(small_text("mixed", 60_000), encoding="utf-8")
    assert "0 validation documents" in str(failure(tmp_path, path, validation_ratio=0).got)


@pytest.mark.parametrize("name", ["picture.txt", "picture.txt.gz", "rows.jsonl", "page.html"])
def test_binary_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = b"GIF89a" + bytes(range(256)) * 10
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    error = failure(tmp_path, tmp_path)
    assert error.what == f"{path}: binary, not text"
    assert error.got == "a NUL byte at byte 6"


def test_another_encoding(tmp_path: Path, small_text) -> None:
    path = tmp_path / "gbk.txt"
    path.write_bytes(small_text("zh", 40_000).encode("gb18030"))
    error = failure(tmp_path, path)
    assert error.what == f"{path}: not UTF-8"
    assert "GB18030" in str(error.got)
    assert "iconv" in str(error.do)


def test_a_table_without_a_column_of_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"en": "a well", "zh": "一口井", "n": 1}) + "\n", encoding="utf-8")
    error = failure(tmp_path, path)
    assert error.what == f"{path}: which column is the text?"
    assert error.got == "columns en, zh, n"
    assert "data.text_column" in str(error.do)
    error = failure(tmp_path, path, text_column="fr")
    assert error.what == f"{path}: no column 'fr'"
    assert error.got == "columns en, zh, n"


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_table_of_numbers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"numbers.{suffix}"
    path.write_text("1,2\n3,4\n" if suffix == "csv" else "1\t2\n3\t4\n", encoding="utf-8")
    assert failure(tmp_path, path).got == "columns 1, 2"


def test_bad_json_lines_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n\n{"text": \n[1]\n', encoding="utf-8")
    error = failure(tmp_path, path)
    assert error.what == f"{path}:3: cannot be read (2 of 3 lines are like this)"
    assert '{"text":' in str(error.got)


def test_ragged_tables_name_file_and_line(tmp_path: Path) -> None:
    for suffix, comma in (("csv", ","), ("tsv", "\t")):
        path = tmp_path / f"rows.{suffix}"
        path.write_text(f"id{comma}text\n1{comma}good\n2{comma}bad{comma}worse\n", encoding="utf-8")
        error = failure(tmp_path, path)
        assert error.what.startswith(f"{path}:3: cannot be read")
        assert error.got == "3 fields"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "changed", "not packed"])
def test_damaged_archives(tmp_path: Path, suffix: str, damage: str, small_text) -> None:
    path = tmp_path / f"novel.txt{suffix}"
    text = small_text("mixed", 60_000).encode()
    packed = gzip.compress(text) if suffix == ".gz" else pa.Codec("zstd").compress(text, asbytes=True)
    half = len(packed) // 2
    path.write_bytes(
        {"cut": packed[:half], "changed": packed[:half] + b"\1" * 90 + packed[half:], "not packed": text}[damage]
    )
    error = failure(tmp_path, path)
    assert error.what == f"{path}: cannot be read to its end"
    assert error.do == "fetch or unpack it again"


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["井"] * 100}), path)
    for data in (path.read_bytes()[:-10], b"not parquet", b""):
        path.write_bytes(data)
        assert failure(tmp_path, path).what == f"{path}: cannot be read as parquet"


def test_samples_and_datasets(tmp_path: Path) -> None:
    assert "sample:python-docs" in str(failure(tmp_path, "sample:python").wanted)
    assert "no such folder" in failure(tmp_path, "hf://./nowhere").what
    assert "cannot be understood" in failure(tmp_path, "hf://a/b/c/d").what


@pytest.mark.slow
def test_datasets_name_their_splits(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"en": "a", "zh": "b"}\n', encoding="utf-8")
    error = failure(tmp_path, f"hf://{folder}:dev")
    assert error.what == f"hf://{folder}:dev: no split 'dev'"
    assert error.got == "splits train"
    assert failure(tmp_path, f"hf://{folder}").got == "columns en, zh"
    (folder / "train.jsonl").unlink()
    assert "cannot be read" in failure(tmp_path, f"hf://{folder}").what


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "sources"),
        ({"sources": []}, "sources"),
        ({"sources": ["a.txt"], "valdation_ratio": 0.1}, "validation_ratio"),
        ({"sources": ["a.txt"], "validation_ratio": 0.7, "test_ratio": 0.3}, "together below 1"),
        ({"sources": ["a.txt"], "document_bytes": 10}, "document_bytes"),
        ({"sources": ["a.txt"], "normalization": "nfc"}, "normalization"),
    ],
)
def test_settings(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(DataConfig, settings, where="recipe.yaml")


def test_a_full_disk(tmp_path: Path, small_text, monkeypatch) -> None:
    path = tmp_path / "novel.txt"
    path.write_text(small_text("mixed", 60_000), encoding="utf-8")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stepwell.data.text_package.np.save", full)
    with pytest.raises(DiskError, match="No space left"):
        prepare_text(DataConfig(sources=(str(path),)), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path, small_text) -> None:
    (tmp_path / "novel.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(DiskError, match="cannot be written"):
        prepare_text(DataConfig(sources=(str(tmp_path / "novel.txt"),)), tmp_path / "out")


def test_html_without_text_is_reported_and_runs_nothing(tmp_path: Path, small_text) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "empty.html").write_text("<html><body><script>alert(1)</script></body></html>", encoding="utf-8")
    (folder / "deep.html").write_text("<div>" * 20_000 + "x", encoding="utf-8")
    (folder / "novel.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    prepared = prepare_text(DataConfig(sources=(str(folder),)), tmp_path / "out")
    assert [problem.partition(": ")[2] for problem in prepared.facts.problems] == ["a page without text; skipped"] * 2
    assert not any("alert" in text for text in prepared.texts("train"))
