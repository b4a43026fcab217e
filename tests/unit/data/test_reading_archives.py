"""Members of archives are read as files are; nothing can make an archive grow beyond its limits."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import made_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepwell.data.inputs import content
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.reading import Limits, Reading
from stepwell.errors import DataError


def read(path: Path, errors: str = "replace", limits: Limits | None = None) -> tuple[list[str], list[str]]:
    """Texts and reports, the latter without the path."""
    reports: list[str] = []
    reading = Reading(None, errors, reports.append, limits=limits or Limits())
    texts = ["".join(text.blocks) for text in FileInput.found("", path).read(reading)]
    return texts, [report.removeprefix(str(path)) for report in reports]


def parquet(rows: list[str]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": rows}), out)
    return out.getvalue()


MEMBERS = {
    "one.txt": b"plain",
    "deep/er/two.jsonl.gz": gzip.compress('{"text": "row 井"}\n{"text": "row 2"}\n'.encode()),
    "three.parquet": parquet(["column", "列"]),
    "four.docx": made_files.docx(["word"]),
    "five.zip": made_files.zipped({"x.txt": b"in a zip", "y.tar": made_files.tarred({"z.txt": b"in a tar in a zip"})}),
    "six.tgz": made_files.tarred({"q.csv": b"id,text\n1,cell\n", "r.parquet": parquet(["deep"])}, "w:gz"),
}
TEXTS = ["plain", "row 井", "row 2", "column", "列", "word\n\n", "in a zip", "in a tar in a zip", "cell", "deep"]

ARCHIVES = {
    "a.zip": made_files.zipped(MEMBERS),
    "stored.zip": made_files.zipped(MEMBERS, zipfile.ZIP_STORED),
    "a.tar": made_files.tarred(MEMBERS),
    "a.tar.gz": made_files.tarred(MEMBERS, "w:gz"),
    "a.tgz": made_files.tarred(MEMBERS, "w:gz"),
    "a.tar.bz2": made_files.tarred(MEMBERS, "w:bz2"),
    "a.tar.xz": made_files.tarred(MEMBERS, "w:xz"),
    "a.tar.zst": pa.Codec("zstd").compress(made_files.tarred(MEMBERS), asbytes=True),
}


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("errors", ["replace", "skip"])
@pytest.mark.parametrize("held_bytes", [content.HELD_BYTES, 16])
def test_members_are_read_as_their_own_kinds(
    tmp_path: Path, name: str, errors: str, held_bytes: int, monkeypatch
) -> None:
    monkeypatch.setattr(content, "HELD_BYTES", held_bytes)
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name])
    assert read(path, errors) == (TEXTS, [])


def test_what_is_passed_over(tmp_path: Path) -> None:
    files = {
        "a.txt": b"text",
        "b.png": b"x",
        ".hidden.txt": b"x",
        "__MACOSX/._a.txt": b"x",
        "./d/c.txt": b"more",
        "e": b"",
    }
    for name, data in (("a.zip", made_files.zipped(files)), ("a.tar", made_files.tarred(files))):
        path = tmp_path / name
        path.write_bytes(data)
        assert read(path) == (["text", "more"], [": 2 files inside were passed over (1 .png, 1 no suffix)"])


def test_names_that_point_elsewhere_do_no_harm(tmp_path: Path) -> None:
    files = {"../../evil.txt": b"one", "/etc/evil.txt": b"two", "ok.txt": b"three"}
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for name, data in (("a.zip", made_files.zipped(files)), ("a.tar", made_files.tarred(files))):
        (folder / name).write_bytes(data)
        assert read(folder / name)[0] == ["one", "two", "three"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a.tar", "a.zip", "b"]


def test_links_and_devices_in_a_tar_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("l.txt", tarfile.SYMTYPE), ("h.txt", tarfile.LNKTYPE), ("f.txt", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert read(path) == ([], [": 3 files inside were passed over (3 links or devices)"])


def test_links_and_locked_members_in_a_zip_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.txt", "text")
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.rindex(mark) + offset] |= 1  # says that the last member is locked
    path.write_bytes(data)
    assert read(path) == ([], [": 2 files inside were passed over (1 links, 1 locked by a password)"])


def test_an_empty_archive_is_told(tmp_path: Path) -> None:
    for name, data in (("a.zip", made_files.zipped({})), ("a.tar", made_files.tarred({}))):
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name) == ([], [": an archive without files"])


def test_archives_in_archives_have_an_end(tmp_path: Path) -> None:
    data = made_files.zipped({"a.txt": b"text"})
    for level in range(4):
        data = made_files.zipped({f"{level}.zip": data, f"{level}.txt": b"beside"})
    (tmp_path / "a.zip").write_bytes(data)
    texts, reports = read(tmp_path / "a.zip")
    assert texts == ["beside"] * 3
    assert reports == ["/3.zip/2.zip/1.zip: an archive inside of 3 others; passed over"]


BOMB = b"a\n" * (1 << 21)
SMALL = Limits(free_bytes=1 << 20)


@pytest.mark.parametrize(
    "name",
    ["a.txt.gz", "a.txt.bz2", "a.txt.xz", "a.txt.zst", "a.zip", "a.tar.gz", "nested.zip", "parquet.zip", "a.jsonl.gz"],
)
def test_bombs_are_stopped(tmp_path: Path, name: str) -> None:
    import bz2
    import lzma

    data = {
        "a.txt.gz": lambda: gzip.compress(BOMB),
        "a.jsonl.gz": lambda: gzip.compress(b'{"text": "a"}\n' * (1 << 18)),
        "a.txt.bz2": lambda: bz2.compress(BOMB),
        "a.txt.xz": lambda: lzma.compress(BOMB),
        "a.txt.zst": lambda: pa.Codec("zstd").compress(BOMB, asbytes=True),
        "a.zip": lambda: made_files.zipped({"a.txt": BOMB}),
        "a.tar.gz": lambda: made_files.tarred({"a.txt": BOMB}, "w:gz"),
        "nested.zip": lambda: made_files.zipped(
            {"in.zip": made_files.zipped({f"{n}.txt": BOMB[: 1 << 19] for n in range(5)})}
        ),
        "parquet.zip": lambda: made_files.zipped({"a.parquet": bytes(1 << 22)}),
    }[name]()
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match="unpacks to more than a corpus should") as caught:
        read(path, limits=SMALL)
    assert caught.value.what.startswith(str(path))
    assert "unpack it yourself" in str(caught.value.do)


def test_too_much_and_too_many_are_stopped_whatever_the_ratio(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(made_files.zipped({f"{n}.txt": b"x" * 1000 for n in range(20)}, zipfile.ZIP_STORED))
    assert len(read(path)[0]) == 20
    with pytest.raises(DataError, match="more than 10,000 bytes"):
        read(path, limits=Limits(unpacked_bytes=10_000))
    with pytest.raises(DataError, match="more than 19 files"):
        read(path, limits=Limits(members=19))


def test_text_that_packs_well_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "log.txt.gz"
    lines = "".join(f"line {n} of a log that says the same all day\n" for n in range(100_000))
    path.write_bytes(gzip.compress(lines.encode()))
    assert read(path, limits=Limits(free_bytes=1))[0] == [lines]


@pytest.mark.parametrize("how", ["cut", "changed", "no archive"])
@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.zst", "in.zip"])
def test_damaged_archives(tmp_path: Path, name: str, how: str) -> None:
    noise = random.Random(0)
    files = {f"{n}.txt": "".join(noise.choices("abcdef \n", k=3000)).encode() for n in range(3)}
    whole = {
        "a.zip": lambda: made_files.zipped(files),
        "a.tar": lambda: made_files.tarred(files),
        "a.tar.gz": lambda: made_files.tarred(files, "w:gz"),
        "a.tar.zst": lambda: pa.Codec("zstd").compress(made_files.tarred(files), asbytes=True),
        "in.zip": lambda: made_files.tarred(files),
    }[name]()
    cuts = [len(whole) // 2, *((3000, 512 * 7 + 100) if name in ("a.tar", "in.zip") else ())]
    at = 512 * 7 + 150 if name in ("a.tar", "in.zip") else len(whole) // 2
    changed = whole[:at] + b"\x07" * 200 + whole[at + 200 :]
    for data in {"cut": [whole[:cut] for cut in cuts], "changed": [changed], "no archive": [b"text" * 300]}[how]:
        path = tmp_path / name
        path.write_bytes(made_files.zipped({"in.tar": data}) if name == "in.zip" else data)
        with pytest.raises(DataError, match="cannot be read") as caught:
            read(path)
        assert caught.value.what.startswith(str(path))


def test_a_zip_whose_list_lies(tmp_path: Path) -> None:
    data = bytearray(made_files.zipped({"a.txt": b"text " * 100, "b.txt": b"more"}))
    data[data.index(b"PK\x03\x04") + 30] ^= 0xFF  # another name in front of the bytes than in the list
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        read(path)
    data = bytearray(made_files.zipped({"a.txt": b"text " * 100}))
    data[data.rindex(b"PK\x01\x02") + 10] = 97  # packed in a way that nobody knows
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        read(path)
