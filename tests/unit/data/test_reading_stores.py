"""Objects in a store are found and read as files are."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import made_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepwell.config import build
from stepwell.data import DataConfig, prepare_text
from stepwell.data.inputs.reading import Reading
from stepwell.data.inputs.sources import find_inputs
from stepwell.data.inputs.stores import ObjectInput
from stepwell.errors import DataError


@pytest.fixture
def bucket() -> Iterator[Any]:
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    files = {
        "a.txt": "plain 井".encode(),
        "deep/b.jsonl.gz": gzip.compress(b'{"text": "row"}\n'),
        "deep/c.pdf": made_files.pdf(["a page"]),
        "deep/d.zip": made_files.zipped({"x.txt": b"in a zip"}),
        "deep/e.png": b"x",
        "deep/.hidden/f.txt": b"x",
    }
    for name, data in files.items():
        store.pipe(f"/bucket/{name}", data)
    with store.open("/bucket/deep/g.parquet", "wb") as file:
        pq.write_table(pa.table({"text": ["column"]}), file)
    yield store
    store.store.clear()


def read(*sources: str) -> tuple[list[str], list[str]]:
    reports: list[str] = []
    found = find_inputs(sources, reports.append)
    texts = ["".join(text.blocks) for one in found for text in one.read(Reading(None, "replace", reports.append))]
    return texts, reports


ALL = ["plain 井", "row", "a page\n\n", "in a zip", "column"]


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("memory://bucket/a.txt", ALL[:1]),
        ("memory://bucket", ALL),
        ("memory://bucket/", ALL),
        ("memory://bucket/deep/*.jsonl.gz", ["row"]),
        ("memory://bucket/**/*.p*", ["a page\n\n", "column"]),
        ("memory://bucket/d*", ALL[1:]),
    ],
)
def test_objects_folders_and_patterns(bucket: Any, source: str, texts: list[str]) -> None:
    got, reports = read(source)
    assert got == texts
    assert all("files of other kinds were passed over" in report for report in reports)


def test_one_object_named_twice_comes_once(bucket: Any) -> None:
    assert read("memory://bucket/a.txt", "memory://bucket")[0] == ALL


def test_addresses_that_lead_nowhere(bucket: Any) -> None:
    for source, said in (
        ("memory://bucket/none.txt", "no such object"),
        ("memory://bucket/*.csv", "no such object"),
        ("memory://bucket/deep/e.png", "unknown kind of file"),
        ("klingon://bucket/a.txt", "cannot be read"),
    ):
        with pytest.raises(DataError) as caught:
            read(source)
        assert caught.value.what == f"{source}: {said}"
        assert caught.value.do or caught.value.wanted


def test_a_store_whose_library_is_not_there(monkeypatch) -> None:
    def missing(source: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(DataError, match="needs a library for this kind of store") as caught:
        read("s3://bucket/a.txt")
    assert caught.value.got == "Install s3fs to access S3"


def test_a_store_that_fails_while_it_is_read(bucket: Any, monkeypatch) -> None:
    (one,) = find_inputs(["memory://bucket/a.txt"], print)

    def broken(*args: object) -> None:
        raise RuntimeError("no credentials\nand more")

    monkeypatch.setattr(type(bucket), "open", broken)
    with pytest.raises(DataError, match=r"a\.txt: cannot be read") as caught:
        for text in one.read(Reading(None, "replace", print)):
            list(text.blocks)
    assert caught.value.got == "RuntimeError: no credentials"


def test_the_same_bytes_have_the_same_fingerprint(bucket: Any) -> None:
    (before,) = find_inputs(["memory://bucket/a.txt"], print)
    bucket.pipe("/bucket/a.txt", bucket.cat("/bucket/a.txt"))
    (again,) = find_inputs(["memory://bucket/a.txt"], print)
    assert before.fingerprint() == again.fingerprint()
    wanted = again.fingerprint()
    bucket.pipe("/bucket/a.txt", b"other")
    assert find_inputs(["memory://bucket/a.txt"], print)[0].fingerprint() != wanted


def test_an_object_can_be_sent_to_another_process(bucket: Any) -> None:
    (one,) = find_inputs(["memory://bucket/a.txt"], print)
    sent = pickle.loads(pickle.dumps(one))
    assert [list(text.blocks) for text in sent.read(Reading(None, "replace", print))] == [["plain 井"]]


def test_a_store_that_knows_hashes_is_not_read_for_them(bucket: Any, monkeypatch) -> None:
    told = bucket.info("/bucket/a.txt")
    monkeypatch.setattr(type(bucket), "open", lambda *_: pytest.fail("it was opened"))
    prints = []
    for etag in ("one", "two", "one"):
        monkeypatch.setattr(type(bucket), "info", lambda self, path, etag=etag: {**told, "ETag": etag})
        prints.append(ObjectInput("", "memory://bucket/a.txt", "/bucket/a.txt", bucket, 1).fingerprint())
    assert prints[0] == prints[2] != prints[1]


def test_an_object_that_changes_while_it_is_read(bucket: Any) -> None:
    bucket.pipe("/bucket/rows.jsonl", b'{"text": "a"}\n{"text": "b"}\n')
    (one,) = find_inputs(["memory://bucket/rows.jsonl"], print)
    texts = one.read(Reading(None, "replace", print))
    next(texts)
    bucket.pipe("/bucket/rows.jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n')
    with pytest.raises(DataError, match="changed while it was read"):
        list(texts)


def test_preparing_from_a_store_gives_what_the_same_files_give(bucket: Any, tmp_path: Path, small_text) -> None:
    rows = [json.dumps({"text": f"{n} {line}"}) for n, line in enumerate(small_text("mixed", 60_000).split("\n"))]
    data = "\n".join(rows).encode()
    bucket.pipe("/corpus/rows.jsonl", data)
    (tmp_path / "rows.jsonl").write_bytes(data)
    splits = []
    for source in ("memory://corpus", f"file://{tmp_path}/*.jsonl"):
        config = build(DataConfig, {"sources": [source]}, where="test")
        prepared = prepare_text(config, tmp_path / "out", engine="serial")
        splits.append({name: list(prepared.texts(name)) for name in ("train", "validation", "test")})
    assert splits[0] == splits[1]
    assert splits[0]["train"]
