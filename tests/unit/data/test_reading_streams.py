"""A corpus may be larger than memory: reading holds blocks, not files; and a file stays the same while it is read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import made_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepwell.data.inputs import content, decoding, xml_dumps
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.reading import Reading
from stepwell.errors import DataError

LINE = "A line of text about a well, 井水很凉, that is long enough to count for something."
SMALL, LARGE = 400, 4000


def jsonl(lines: int) -> Iterator[bytes]:
    return (json.dumps({"text": f"{n} {LINE}"}, ensure_ascii=False).encode() + b"\n" for n in range(lines))


def table(lines: int) -> Iterator[bytes]:
    yield b"id,text\n"
    for n in range(lines):
        out = io.StringIO()
        csv.writer(out).writerow([n, f"{LINE}\n{n}"])
        yield out.getvalue().encode()


def plain(lines: int) -> Iterator[bytes]:
    return (f"{n} {LINE}\n".encode() for n in range(lines))


def one_line(lines: int) -> Iterator[bytes]:
    return (f"{n} {LINE} ".encode() for n in range(lines))


def xml(lines: int) -> Iterator[bytes]:
    yield b"<all>"
    yield from (f"<row id='{n}'><text>{LINE}</text></row>\n".encode() for n in range(lines))
    yield b"</all>"


def warc(lines: int) -> Iterator[bytes]:
    text = LINE * 10
    pages = [(f"http://x/{n}", "200 OK", "text/plain", f"{n} {text}".encode()) for n in range(lines // 10)]
    yield made_files.warc(pages, packed=False)


def tar(lines: int) -> Iterator[bytes]:
    yield made_files.tarred({f"{n}.txt": b"".join(plain(100)) for n in range(lines // 100)})


KINDS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "a.jsonl": jsonl,
    "a.csv": table,
    "a.txt": plain,
    "b.txt": one_line,
    "a.xml": xml,
    "a.warc": warc,
    "a.tar": tar,
    "a.jsonl.gz": jsonl,
    "a.tar.gz": tar,
    "a.xml.gz": xml,
}


@pytest.mark.slow_but("a.jsonl.gz", "a.txt", "a.tar")
@pytest.mark.parametrize("name", KINDS)
def test_a_file_ten_times_as_large_takes_no_more_memory(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 1 << 12)
    monkeypatch.setattr(decoding, "HEAD_BYTES", 1 << 12)
    monkeypatch.setattr(decoding, "BLOCK_CHARACTERS", 1 << 13)
    monkeypatch.setattr(content, "BUFFER_BYTES", 1 << 12)
    monkeypatch.setattr(xml_dumps, "PEEKED_BYTES", 1 << 13)
    monkeypatch.setattr(xml_dumps, "FED_BYTES", 1 << 12)
    path = tmp_path / name
    sizes, most = [], []
    for lines in (10, SMALL, LARGE):  # the first for what is imported on the way, which stays
        with gzip.open(path, "wb", 1) if name.endswith(".gz") else path.open("wb") as file:
            file.writelines(KINDS[name](lines))
        read_bytes, most_bytes = measured(path)
        sizes.append(read_bytes)
        most.append(most_bytes)
    assert sizes[2] > 9 * sizes[1]
    assert most[2] < most[1] + (sizes[2] - sizes[1]) / 10


def measured(path: Path) -> tuple[int, int]:
    """Bytes of text that were read, and the most memory that was held meanwhile."""
    tracemalloc.start()
    try:
        texts = FileInput.found("", path).read(Reading(None, "replace", print))
        total = sum(len(block.encode()) for text in texts for block in text.blocks)
        return total, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_parquet_is_read_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"{n} {LINE * 10}" for n in range(10_000)]}), path, row_group_size=500)
    list(FileInput.found("", path).read(Reading(None, "replace", print)))
    total, most_bytes = measured(path)
    assert most_bytes < total / 4


def test_a_tree_of_records_is_forgotten(tmp_path: Path, monkeypatch) -> None:
    """What lxml holds is not seen by tracemalloc, so count the elements that are still there."""
    monkeypatch.setattr(xml_dumps, "FED_BYTES", 100)
    path = tmp_path / "a.xml"
    path.write_bytes(b"<all><head>x</head>" + b"<row><text>a</text></row><other>b</other>" * 3000 + b"</all>")
    one = FileInput.found("", path).content(Reading(None, "replace", print).limits)
    with one.open() as stream:
        most = 0
        for element in xml_dumps._elements(stream, stream.read(100), one, 1, "row"):
            most = max(most, len(element.getparent()))
    assert most < 20


def test_old_versions_of_a_wiki_page_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    versions = "".join(f"<revision><id>{n}</id><text>version {n}</text></revision>" for n in range(2000))
    path.write_text(f"<mediawiki><page><title>A</title><ns>0</ns>{versions}</page></mediawiki>", encoding="utf-8")
    one = FileInput.found("", path).content(Reading(None, "replace", print).limits)
    with one.open() as stream:
        (size,) = [len(page) for page in xml_dumps._elements(stream, stream.read(100), one, 1, "page")]
    assert size == 3
    (text,) = FileInput.found("", path).read(Reading(None, "replace", print))
    assert text.blocks == ("version 1999",)


def change(path: Path, how: str) -> None:
    if how == "grows":
        with path.open("ab") as file:
            file.write(b'{"text": "more"}\n')
    elif how == "shrinks":
        os.truncate(path, 20)
    elif how == "is replaced":
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["grows", "shrinks", "is replaced", "goes"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.parquet"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, name: str, how: str, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "HEAD_BYTES", 10)
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 10)
    monkeypatch.setattr(decoding, "BLOCK_CHARACTERS", 10)
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"text": ["井"] * 5000}), path)
    else:
        path.write_text('{"text": "a row"}\n' * 5000, encoding="utf-8")

    def read_it() -> None:
        texts = FileInput.found("", path).read(Reading(None, "replace", print))
        blocks = (block for text in texts for block in text.blocks)
        next(blocks)
        change(path, how)
        for _ in blocks:
            pass

    with pytest.raises(DataError, match="changed while it was read") as caught:
        read_it()
    assert caught.value.what == f"{path}: changed while it was read"
    assert ("it is gone" in str(caught.value.got)) == (how == "goes")


def test_a_file_that_changes_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text", encoding="utf-8")
    found = FileInput.found("", path)
    found.fingerprint()
    path.write_text("other text", encoding="utf-8")
    with pytest.raises(DataError, match="4 bytes before, 10 now"):
        found.fingerprint()
    with pytest.raises(DataError, match="changed"):
        list(found.read(Reading(None, "replace", print)))
