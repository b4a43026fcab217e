"""What goes wrong with sources of every kind, and what people are told when a whole corpus is prepared from them."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import made_files
import pytest

from stepwell.data import DataConfig, prepare_text
from stepwell.data.inputs import decoding, files
from stepwell.data.inputs.reading import Limits, Reading
from stepwell.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, small_text) -> Path:
    """A folder with text enough to train on."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "novel.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    return folder


def problems(folder: Path, out: Path, **settings: object) -> list[str]:
    """What was said beside the text, without the folder's name."""
    prepared = prepare_text(DataConfig(sources=(str(folder),), **settings), out, engine="serial")
    assert prepared.facts.bytes > 40_000
    return [problem.replace(f"{folder}/", "").replace(str(folder), "FOLDER") for problem in prepared.facts.problems]


def failure(folder: Path, out: Path, **settings: object) -> DataError:
    """The error of preparing; nothing may be left of the attempt."""
    with pytest.raises(DataError) as caught:
        prepare_text(DataConfig(sources=(str(folder),), **settings), out, engine="serial")
    assert not out.exists() or not list(out.iterdir())
    return caught.value


def test_documents_that_cannot_be_read_are_told_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    (folder / "a.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "b.docx").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (folder / "c.epub").write_bytes(made_files.zipped({"a": b"b"}))
    (folder / "d.html").write_bytes(b"<html></html>")
    said = problems(folder, tmp_path / "out")
    assert [one.partition(":")[0] for one in said] == ["a.pdf", "b.docx", "c.epub", "d.html"]
    assert all(one.endswith("skipped") for one in said)


def test_a_source_that_is_only_a_locked_document(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    error = failure(path, tmp_path / "out")
    assert error.what == f"{path}: empty"
    assert "protected by a password" in str(error.got)


@pytest.mark.parametrize(
    "name", ["a.zip", "a.tar", "a.tgz", "a.warc.gz", "a.xml", "a.parquet", "a.txt.xz", "a.txt.bz2"]
)
def test_broken_archives_and_dumps_name_the_file_and_what_to_do(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_bytes(b"this is not what the name says " * 100)
    error = failure(folder, tmp_path / "out")
    assert error.what.startswith(f"{folder / name}: cannot be read")
    assert error.got
    assert error.wanted


def test_a_bomb_in_a_folder_ends_the_preparation(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (folder / "logs.zip").write_bytes(made_files.zipped({"a.txt": b"a\n" * (1 << 20)}))
    monkeypatch.setattr(Reading, "__init__", _with_limits(Limits(free_bytes=1 << 16)))
    error = failure(folder, tmp_path / "out")
    assert error.what == f"{folder}/logs.zip: unpacks to more than a corpus should"
    assert "stored ones" in str(error.got)
    assert "unpack it yourself" in str(error.do)


def _with_limits(limits: Limits):
    before = Reading.__init__

    def init(self, *several, **named):
        before(self, *several, **{"limits": limits, **named})

    return init


def test_a_column_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "井", "label": 1}\n' * 10, encoding="utf-8")
    error = failure(tmp_path / "rows.jsonl", tmp_path / "out", columns=("lable",))
    assert error.what == f"{tmp_path}/rows.jsonl: no column 'lable'"
    assert error.got == "columns text, label"
    assert error.do == "name one of these"


def test_one_bad_line_is_counted_and_shown(folder: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"row {n}"}) for n in range(2000)]
    rows[999] = '{"text": "torn'
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "rows.csv").write_text("id,text\n" + "1,fine\n" * 500 + '2,"torn\n' + "3,after\n" * 500, encoding="utf-8")
    csv, jsonl = problems(folder, tmp_path / "out")
    assert csv.startswith("rows.csv: 1 of 1,001 lines could not be read (the first is line 502: '2,\"torn'")
    assert jsonl.startswith(
        'rows.jsonl: 1 of 2,000 lines could not be read (the first is line 1,000: \'{"text": "torn\''
    )


def test_links_out_of_the_folder_are_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET " * 1000, encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    out = tmp_path / "out"
    said = problems(folder, out)
    assert said == ["link.txt: a link that leaves FOLDER; not followed (name what it points to if you want it)"]
    assert not any(b"SECRET" in path.read_bytes() for path in out.rglob("*.bin"))


def test_a_file_that_grows_while_a_corpus_is_prepared(folder: Path, tmp_path: Path, monkeypatch) -> None:
    path = folder / "growing.jsonl"
    path.write_text('{"text": "a row of text"}\n' * 1000, encoding="utf-8")
    before = decoding.Decoder.decode

    def decode(self: decoding.Decoder, stream) -> Iterator[str]:
        yield from before(self, stream)
        if str(path) in self._name:
            with path.open("a", encoding="utf-8") as file:
                file.write('{"text": "one more"}\n')

    monkeypatch.setattr(decoding.Decoder, "decode", decode)
    error = failure(folder, tmp_path / "out")
    assert error.what == f"{path}: changed while it was read"
    assert "26,000 bytes before" in str(error.got)
    assert error.do == "wait until it is written, or read a copy"


def test_a_file_that_changes_between_its_fingerprint_and_its_reading(folder: Path, tmp_path: Path, monkeypatch) -> None:
    path = folder / "novel.txt"
    before = files.FileInput.fingerprint

    def fingerprint(self: files.FileInput) -> str:
        known = before(self)
        path.write_text(path.read_text(encoding="utf-8") + "more", encoding="utf-8")
        return known

    monkeypatch.setattr(files.FileInput, "fingerprint", fingerprint)
    assert failure(folder, tmp_path / "out").what == f"{path}: changed while it was read"


def test_a_folder_with_a_pipe_does_not_hang(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    assert problems(folder, tmp_path / "out") == ["pipe.txt: no regular file; passed over"]


def test_pages_are_read_off_the_main_thread_too(tmp_path: Path) -> None:
    paragraph = "The stepwell was dug nine hundred years ago, and people still draw water from it. " * 3
    path = tmp_path / "page.html"
    path.write_text(f"<html><body><article><p>{paragraph}</p></article></body></html>", encoding="utf-8")
    got: list[str] = []

    def work() -> None:
        for text in files.FileInput.found("", path).read(Reading(None, "replace", got.append)):
            got.extend(text.blocks)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert got == [paragraph.strip()]


def test_a_packed_file_whose_end_is_lost_gives_no_half_text(folder: Path, tmp_path: Path, small_text) -> None:
    data = gzip.compress(small_text("mixed", 60_000).encode())
    (folder / "more.txt.gz").write_bytes(data[:-20])
    error = failure(folder, tmp_path / "out")
    assert error.what == f"{folder}/more.txt.gz: cannot be read to its end"
    assert error.do == "fetch or unpack it again"
