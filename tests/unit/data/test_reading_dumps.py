"""Dumps: wiki pages and records of XML, and archives of the web."""

from __future__ import annotations

import bz2
import gzip
from html import escape
from pathlib import Path

import made_files
import pytest

from stepwell.data.inputs import warc, xml_dumps
from stepwell.data.inputs.content import split_suffixes
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.reading import Limits, Reading
from stepwell.errors import DataError
from stepwell.parsers.process import Parsed
from stepwell.parsers.wikitext import plain_text

Row = tuple[str, dict[str, object]]


def read(
    folder: Path,
    name: str,
    data: bytes,
    columns: tuple[str, ...] = (),
    column: str | None = None,
    limits: Limits | None = None,
) -> tuple[list[Row], list[str]]:
    """Texts with their columns, and reports without the path."""
    path = folder / name
    path.write_bytes(data)
    reports: list[str] = []
    reading = Reading(column, "replace", reports.append, columns, limits or Limits())
    texts = [("".join(text.blocks), dict(text.columns)) for text in FileInput.found("", path).read(reading)]
    return texts, [report.removeprefix(f"{path}: ") for report in reports]


def page(title: str, text: str, ns: int = 0, redirect: bool = False, versions: int = 1) -> str:
    revisions = "".join(
        f"<revision><id>{n}</id><timestamp>2026-01-0{n}</timestamp>"
        f"<text>{escape(text if n == versions else 'old')}</text></revision>"
        for n in range(1, versions + 1)
    )
    mark = '<redirect title="x"/>' if redirect else ""
    return f"<page><title>{title}</title><ns>{ns}</ns><id>7</id>{mark}{revisions}</page>"


def wiki(*pages: str) -> bytes:
    space = "http://www.mediawiki.org/xml/export-0.11/"
    return (
        f'<mediawiki xmlns="{space}"><siteinfo><sitename>W</sitename></siteinfo>{"".join(pages)}</mediawiki>'.encode()
    )


WIKITEXT = """{{Infobox|name={{nested|x}}}}
'''Wells''' are [[hole (ground)|holes]] in the [[ground]].<ref name="a">A book.</ref> [http://x.org A link] &amp; more.
[[File:well.jpg|thumb|A [[picture]].]]
== History ==
井是-{zh-hans:用来取水的; zh-hant:用來取水的}-洞。
{| class="wikitable"
! year
|-
| 1024
|}
* first
* second<!-- a comment -->
[[Category:Wells]]
[[分类:井]]
__NOTOC__
"""


def test_the_prose_of_a_wiki_page() -> None:
    (text,) = plain_text(WIKITEXT.encode())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines == [
        "Wells are holes in the ground. A link & more.",
        "History",
        "井是用来取水的洞。",
        "first",
        "second",
    ]


def test_articles_of_a_wiki_dump(tmp_path: Path) -> None:
    data = wiki(
        page("Well", "A '''well''' is deep.", versions=3),
        page("Talk:Well", "chatter", ns=1),
        page("Wells", "#REDIRECT [[Well]]", redirect=True),
        page("Empty", "{{stub}}"),
        page("井", "井水很凉。"),
    )
    texts, reports = read(tmp_path, "wiki.xml.bz2", bz2.compress(data), ("title", "timestamp"))
    assert texts == [
        ("A well is deep.", {"title": "Well", "timestamp": "2026-01-03"}),
        ("井水很凉。", {"title": "井", "timestamp": "2026-01-01"}),
    ]
    assert reports == [
        "3 of 5 pages were passed over (1 talk, templates and other spaces, 1 redirects, 1 without text)"
    ]


def test_a_part_of_a_wikipedia_dump_is_known_by_its_name() -> None:
    assert split_suffixes("enwiki-20260101-pages-articles1.xml-p1p41242.bz2") == (".xml", ".bz2")


@pytest.mark.parametrize("fed_bytes", [1, 7, 1 << 16])
def test_records_of_any_xml(tmp_path: Path, fed_bytes: int, monkeypatch) -> None:
    monkeypatch.setattr(xml_dumps, "FED_BYTES", fed_bytes)
    monkeypatch.setattr(xml_dumps, "PEEKED_BYTES", 250)
    items = "".join(f"<item id='{n}'><head>T{n}</head><body>Body <i>number</i> {n} 井</body></item>" for n in range(30))
    data = f"<?xml version='1.0'?><rss><channel><name>News</name>{items}</channel></rss>".encode()
    texts, reports = read(tmp_path, "a.xml", data, ("id", "head"))
    assert texts == [(f"Body number {n} 井", {"id": str(n), "head": f"T{n}"}) for n in range(30)]
    assert reports == ["elements beside the <item> were passed over (1 <name>)"]
    assert read(tmp_path, "a.xml", data, column="head")[0] == [(f"T{n}", {}) for n in range(30)]


def test_records_whose_text_is_an_attribute(tmp_path: Path) -> None:
    data = b'<posts><row Id="1" Body="One"/><row Id="2" Body="Two"/><row Id="3"/></posts>'
    texts, reports = read(tmp_path, "Posts.xml", data, ("Id",))
    assert texts == [("One", {"Id": "1"}), ("Two", {"Id": "2"})]
    assert reports == ["1 of 3 rows hold no text; skipped"]


def test_records_without_a_column_of_text_give_all_they_hold(tmp_path: Path) -> None:
    data = b"<all><doc><t>One</t><d>Two</d><d>Three</d></doc><doc><t>Four</t></doc></all>"
    assert read(tmp_path, "a.xml", data)[0] == [("One\nTwo\nThree", {}), ("Four", {})]


def test_an_xml_file_that_is_one_text(tmp_path: Path) -> None:
    body = "".join(f"<p>Paragraph {n} with <hi>a word</hi> in it.</p>\n" for n in range(3))
    texts, _ = read(tmp_path, "book.xml", f"<TEI><header><t>Wells</t></header><text>{body}</text></TEI>".encode())
    assert texts == [("Wells\n" + "".join(f"Paragraph {n} with a word in it.\n" for n in range(3)), {})]


@pytest.mark.parametrize("encoding", ["gb2312", "utf-16", "iso-8859-1"])
def test_xml_says_its_own_encoding(tmp_path: Path, encoding: str) -> None:
    word = "café" if encoding == "iso-8859-1" else "井水"
    data = f"<?xml version='1.0' encoding='{encoding}'?><r><d><text>{word}</text></d><d/></r>".encode(encoding)
    assert read(tmp_path, "a.xml", data)[0] == [(word, {})]


LAUGHS = '<!DOCTYPE r [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize("inside", ["<d>x &j; y</d><d>z</d>", '<d k="&j;">y</d><d>z</d>', "<p>&j;</p>"])
def test_a_billion_laughs_do_no_harm(tmp_path: Path, inside: str) -> None:
    data = f"{LAUGHS}]><r>{inside}</r>".encode()
    with pytest.raises(DataError, match="cannot be read as XML") as caught:
        read(tmp_path, "laughs.xml", data)
    assert "amplification" in str(caught.value.got)


def test_entities_of_other_files_are_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET", encoding="utf-8")
    for entity in (f'<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt">', '<!ENTITY x "a short one">'):
        data = f"<!DOCTYPE r [{entity}]><r><d>one &x; two</d><d>three</d></r>".encode()
        texts, reports = read(tmp_path, "a.xml", data)
        assert [text.split() for text, _ in texts] == [["one", "two"], ["three"]]
        assert reports == ["defines entities of its own; they are left out of the text"]


@pytest.mark.parametrize(
    "data", [b"", b"no xml at all", b"<a><b>x</b><b>y</a>", b"<a><b>x</b><b>y</b>", b"<a>&nbsp;</a>"]
)
def test_damaged_xml(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read as XML"):
        read(tmp_path, "a.xml", data)


def test_one_element_that_is_too_large(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(xml_dumps, "PEEKED_BYTES", 1000)
    data = b"<r><d>a</d><d>" + b"<e>b</e>" * 50_000 + b"</d></r>"
    with pytest.raises(DataError, match="an element of more than 100,000 bytes"):
        read(tmp_path, "a.xml", data, limits=Limits(document_bytes=100_000))
    data = b"<r><p>" + b"text " * 50_000 + b"</p></r>"
    texts, reports = read(tmp_path, "a.xml", data, limits=Limits(document_bytes=100_000))
    assert (texts, reports) == ([], ["one text of more than 100,000 bytes; skipped, too large"])


def test_columns_that_a_dump_has_not(tmp_path: Path) -> None:
    for data, there in ((wiki(page("A", "b")), "title, id, timestamp"), (b"<r><d k='1'>a</d><d>b</d></r>", "k, text")):
        with pytest.raises(DataError, match="no column 'label'") as caught:
            read(tmp_path, "a.xml", data, ("label",))
        assert caught.value.got == f"columns {there}"


ARTICLE = "<html><body><nav><a href='/'>Home</a></nav><article><h1>Wells</h1><p>{}</p></article></body></html>"
ENGLISH = "The stepwell was dug nine hundred years ago, and people still come here to draw water from it. " * 3
CHINESE = "村里的人每天都来这里打水，聊天，洗菜，井水冬暖夏凉，从来没有干过。" * 5

PAGES = [
    ("http://x/1", "200 OK", "text/html; charset=utf-8", ARTICLE.format(ENGLISH).encode()),
    ("http://x/2", "404 Not Found", "text/html", b"<html><body>gone</body></html>"),
    ("http://x/3", "200 OK", "text/plain", "plain 井".encode()),
    ("http://x/4", "200 OK", "image/png", b"\x89PNG"),
    (
        "http://x/5",
        "200 OK",
        "text/html",
        ARTICLE.format(CHINESE).replace("<body>", '<meta charset="gbk"><body>').encode("gbk"),
    ),
    ("http://x/6", "200 OK", "text/html", b"<html><body><script>1</script></body></html>"),
    ("http://x/7", "301 Moved", "text/html", b""),
    ("http://x/8", "200 OK", "text/plain; charset=gb2312", "朱镕基的井".encode("gbk")),
]


@pytest.mark.parametrize("name", ["crawl.warc.gz", "crawl.warc"])
def test_pages_of_a_web_archive(tmp_path: Path, name: str) -> None:
    data = made_files.warc(PAGES, packed=name.endswith(".gz"))
    texts, reports = read(tmp_path, name, data, ("url", "status", "date", "content_type"))
    assert [columns["url"] for _, columns in texts] == ["http://x/1", "http://x/3", "http://x/5", "http://x/8"]
    assert texts[0][1] == {
        "url": "http://x/1",
        "status": 200,
        "date": "2026-01-02T03:04:05Z",
        "content_type": "text/html",
    }
    assert ENGLISH.strip() in texts[0][0]
    assert "Home" not in texts[0][0]
    assert [texts[1][0], texts[3][0]] == ["plain 井", "朱镕基的井"]
    assert CHINESE in texts[2][0]
    assert reports == [
        "4 of 8 pages were passed over (2 not found or moved, 1 no text or HTML: image/png, 1 without text)"
    ]


def test_a_web_archive_that_is_damaged(tmp_path: Path) -> None:
    packed, plain = made_files.warc(PAGES), made_files.warc(PAGES, packed=False)
    last = plain.rindex(b"WARC/1.0")
    cases = [("a.warc.gz", packed[:cut]) for cut in (len(packed) // 2, len(packed) - 3, len(packed) - 100)]
    cases += [("a.warc", plain[:cut]) for cut in (len(plain) // 2, len(plain) - 10, last + 5, last + 100)]
    cases += [("a.warc", plain[:cut]) for cut in range(last + 1, len(plain) - 4, 20)]
    cases += [("a.warc", b"no archive\r\n\r\n" * 9)]
    for name, data in cases:
        with pytest.raises(DataError, match="cannot be read") as caught:
            read(tmp_path, name, data)
        assert caught.value.what.startswith(str(tmp_path / name))
    assert read(tmp_path, "a.warc", b"") == ([], ["an archive without pages"])


def test_pages_that_are_too_large_or_take_too_long(tmp_path: Path, monkeypatch) -> None:
    data = made_files.warc([*PAGES[:1], ("http://x/9", "200 OK", "text/plain", b"x" * 5000)])
    texts, reports = read(tmp_path, "a.warc", data, limits=Limits(page_bytes=4000))
    assert len(texts) == 1
    assert reports == ["1 of 2 pages were passed over (1 too large: http://x/9)"]
    monkeypatch.setattr(warc, "parse", lambda *_: Parsed((), "it could not be taken apart within 30 seconds"))
    assert read(tmp_path, "a.warc", data)[1] == [
        "1 of 2 pages were passed over (1 that could not be taken apart: "
        "http://x/1: it could not be taken apart within 30 seconds)"
    ]


def test_a_body_that_is_packed_and_unpacks_to_too_much(tmp_path: Path) -> None:
    pages = [("http://x", "200 OK", "text/plain", gzip.compress(body)) for body in (b"x" * 1_000_000, b"small")]
    data = made_files.warc(pages, more_headers="Content-Encoding: gzip\r\n")
    texts, reports = read(tmp_path, "a.warc.gz", data, limits=Limits(page_bytes=100_000))
    assert texts == [("small", {})]
    assert reports == ["1 of 2 pages were passed over (1 too large: http://x)"]


def test_servers_that_speak_oddly(tmp_path: Path) -> None:
    pages = [(f"http://x/{n}", "200 OK", "text/plain", b"words of some length") for n in range(3)]
    data = made_files.warc(pages, packed=False).replace(b"HTTP/1.1 200 OK", b"HTTP/2   200   ", 2)
    assert len(read(tmp_path, "a.warc", data)[0]) == 3


def test_a_record_that_is_longer_than_it_says(tmp_path: Path, capfd) -> None:
    pages = [(f"http://x/{n}", "200 OK", "text/plain", b"words of some length") for n in range(3)]
    data = made_files.warc(pages, packed=False)
    at = data.index(b"Content-Length: ", data.index(b"WARC-Type: response")) + 16
    end = data.index(b"\r", at)
    data = data[:at] + str(int(data[at:end]) - 6).encode() + data[end:]
    texts, reports = read(tmp_path, "a.warc", data)
    assert [text for text, _ in texts] == ["words of some ", "words of some length", "words of some length"]
    assert reports == ["1 records are longer than they say; what is too much was skipped"]
    assert capfd.readouterr() == ("", "")


def test_a_column_that_a_web_archive_has_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'language'") as caught:
        read(tmp_path, "a.warc", made_files.warc(PAGES), ("language",))
    assert caught.value.got == "columns url, date, content_type, status"


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "big5", "utf-16", "utf-8"])
def test_a_page_says_its_own_encoding(tmp_path: Path, encoding: str) -> None:
    chinese = "井水很涼，村裡的人每天都來打水。" * 9
    meta = f'<meta http-equiv="Content-Type" content="text/html; charset={encoding}">'
    html = f"<html><head>{meta}</head><body><p>{chinese}</p></body></html>"
    texts, reports = read(tmp_path, "a.html", html.encode(encoding))
    assert texts == [(chinese, {})]
    assert reports == []


def test_a_page_that_says_a_wrong_encoding(tmp_path: Path) -> None:
    html = '<html><meta charset="gbk"><body><p>' + "A well is a hole. " * 20 + "</p></body></html>"
    texts, reports = read(tmp_path, "a.html", html.encode() + b"\xff\xff")
    assert "A well is a hole." in texts[0][0]
    assert "are not gbk, as which it is declared; replaced" in reports[0]
    unknown = html.replace("gbk", "klingon").encode()
    assert read(tmp_path, "a.html", unknown)[1] == []
