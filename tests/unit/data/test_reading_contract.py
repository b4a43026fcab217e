"""The same text comes back from every kind of file, in English and Chinese; and whoever reads it, it is the same."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import docx
import made_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepwell.data import DataConfig, prepare_text
from stepwell.data.inputs.content import PACKINGS
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.kinds import READERS
from stepwell.data.inputs.reading import Reading
from stepwell.errors import DataError

Lines = Sequence[str]


def table(lines: Lines, delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([["id", "text"], *enumerate(lines)])
    return out.getvalue().encode()


def parquet(lines: Lines) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": list(lines)}), out)
    return out.getvalue()


def jsonl(lines: Lines) -> bytes:
    return "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines).encode()


def html(lines: Lines) -> bytes:
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f"<html><head><title>T</title></head><body><article>{body}</article></body></html>".encode()


def wiki(lines: Lines) -> bytes:
    revision = f"<revision><text>{escape(chr(10).join(lines))}</text></revision>"
    return f"<mediawiki><page><title>A</title><ns>0</ns>{revision}</page></mediawiki>".encode()


MADE: dict[str, Callable[[Lines], bytes]] = {
    "a.txt": lambda lines: "\n".join(lines).encode(),
    "a.md": lambda lines: "\n\n".join(lines).encode(),
    "a.html": html,
    "a.htm": html,
    "a.xhtml": html,
    "a.pdf": made_files.pdf,
    "a.docx": made_files.docx,
    "a.epub": lambda lines: made_files.epub({"a.xhtml": "".join(f"<p>{escape(line)}</p>\n" for line in lines)}),
    "a.jsonl": jsonl,
    "a.csv": lambda lines: table(lines, ","),
    "a.tsv": lambda lines: table(lines, "\t"),
    "a.parquet": parquet,
    "a.xml": lambda lines: f"<r>{''.join(f'<d><text>{escape(line)}</text></d>' for line in lines)}</r>".encode(),
    "wiki.xml": wiki,
    "a.warc": lambda lines: made_files.warc(
        [("http://x", "200 OK", "text/plain", "\n".join(lines).encode())], packed=False
    ),
    "a.wet": lambda lines: made_files.warc([("http://x", "200 OK", "text/html", html(lines))], packed=False),
    "a.zip": lambda lines: made_files.zipped({"b.jsonl": jsonl(lines)}),
    "a.tar": lambda lines: made_files.tarred({"b.docx": made_files.docx(lines)}),
}


def read(path: Path) -> str:
    reports: list[str] = []
    texts = FileInput.found("", path).read(Reading(None, "replace", reports.append))
    text = "\n".join("".join(one.blocks) for one in texts)
    assert reports == []
    return text


def blanks_apart(text: str) -> list[str]:
    return text.split()


def test_every_kind_is_tried() -> None:
    assert {Path(name).suffix for name in MADE} == set(READERS)


@pytest.fixture(scope="module", params=["made", "real"])
def lines(request: pytest.FixtureRequest) -> Lines:
    """Lines of text without marks that mean something to a wiki."""
    if request.param == "made":
        text = request.getfixturevalue("small_text")("mixed", 2_000)
    else:
        real_data = request.getfixturevalue("real_data")
        text = real_data("lm/tinyshakespeare.txt").read_text(encoding="utf-8")[:2_000]
        with gzip.open(real_data("lm/hongloumeng.zh.txt.gz"), "rt", encoding="utf-8") as file:
            text += file.read(4_000)
    found = [re.sub(r"['\[\]{}|=*#<>&\s]+", " ", line).strip() for line in text.splitlines()]
    return [line for line in dict.fromkeys(found) if len(line) > 8 and not line.startswith((":", ";"))]


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("name", MADE)
def test_the_same_text_from_every_kind(tmp_path: Path, lines: Lines, name: str, packing: str) -> None:
    path = tmp_path / f"{name}{packing}"
    data = MADE[name](lines)
    path.write_bytes(gzip.compress(data) if packing else data)
    assert blanks_apart(read(path)) == blanks_apart("\n".join(lines))


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_same_text_from_every_packing(tmp_path: Path, lines: Lines, packing: str) -> None:
    import bz2
    import lzma

    pack = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
    }[packing]
    path = tmp_path / f"a.txt{packing}"
    text = "\n".join(lines)
    path.write_bytes(pack(text.encode()))
    assert read(path) == text


def test_word_files_give_what_their_library_gives(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(made_files.docx(lines))
    assert read(path).split("\n\n")[:-1] == [one.text for one in docx.Document(str(path)).paragraphs]


def test_records_give_what_a_plain_parser_gives(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(MADE["a.xml"](lines))
    assert read(path).split("\n") == [one.text for one in ElementTree.parse(path).iter("text")]


@pytest.mark.slow
def test_every_kind_at_once_whoever_works(tmp_path: Path, lines: Lines) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, (name, make) in enumerate(MADE.items()):
        many = [f"{number} {copy} {line}" for copy in range(5) for line in lines]
        (folder / f"{number:02d}-{name}").write_bytes(make(many))
    splits = []
    for engine, workers in (("serial", 1), ("processes", 2)):
        config = DataConfig(sources=(str(folder),))
        prepared = prepare_text(config, tmp_path / engine, engine=engine, workers=workers)
        assert prepared.facts.problems == ()
        splits.append({name: list(prepared.texts(name)) for name in ("train", "validation", "test")})
    assert splits[0] == splits[1]
    assert sum(map(len, splits[0]["train"])) > len(MADE) * sum(map(len, lines)) / 2


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, lost, added or said twice, at one to four places."""
    some = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.randrange(len(some) + 1)
        how = chance.randrange(5)
        if how == 0:
            some[at : at + 1] = chance.randbytes(1)
        elif how == 1:
            del some[at : at + chance.choice([1, 4, 100])]
        elif how == 2:
            some[at:at] = chance.randbytes(chance.choice([1, 30]))
        elif how == 3:
            some[at:at] = some[: chance.choice([50, 500])]
        else:
            del some[at:]
    return bytes(some)


@pytest.mark.slow_but("a.zip", "a.csv", "a.xml")
@pytest.mark.parametrize("name", MADE)
def test_damage_is_told_or_does_no_harm(tmp_path: Path, small_text, name: str) -> None:
    chance = random.Random(name)
    whole = MADE[name](small_text("mixed", 600).splitlines())
    path = tmp_path / name
    for _ in range(60):
        path.write_bytes(damaged(whole, chance))
        texts = FileInput.found("", path).read(Reading(None, chance.choice(["replace", "skip"]), lambda problem: None))
        said = ""
        try:
            assert all(isinstance(block, str) for text in texts for block in text.blocks)
        except DataError as error:
            said = error.what
        assert not said or said.startswith(str(path))
