"""PDF, Word and EPUB files give their text in its order; those that cannot be read are told and passed over."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import made_files
import pypdf
import pytest

from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.reading import Limits, Reading
from stepwell.parsers import office_zip
from stepwell.parsers.docx import docx_text
from stepwell.parsers.epub import chapters
from stepwell.parsers.process import CannotBeParsed


def read(folder: Path, name: str, data: bytes, limits: Limits | None = None) -> tuple[list[str], list[str]]:
    """Texts and reports, the latter without the path."""
    path = folder / name
    path.write_bytes(data)
    reports: list[str] = []
    texts = FileInput.found(name, path).read(Reading(None, "replace", reports.append, limits=limits or Limits()))
    return ["".join(text.blocks) for text in texts], [report.removeprefix(f"{path}: ") for report in reports]


def test_the_pages_of_a_pdf_in_both_scripts(tmp_path: Path) -> None:
    texts, reports = read(tmp_path, "book.pdf", made_files.pdf(["A page of text.", "第二页：井水很凉。", "The end."]))
    assert texts == ["A page of text.\n\n第二页：井水很凉。\n\nThe end.\n\n"]
    assert reports == []


def test_a_pdf_without_text(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    out = io.BytesIO()
    writer.write(out)
    assert read(tmp_path, "scan.pdf", out.getvalue()) == ([], ["no text (pictures of pages are not read); skipped"])


def encrypted(user_password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(made_files.pdf(["A secret."])))
    writer.encrypt(user_password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_an_encrypted_pdf(tmp_path: Path) -> None:
    assert read(tmp_path, "locked.pdf", encrypted("secret")) == ([], ["it is protected by a password; skipped"])
    assert read(tmp_path, "no-printing.pdf", encrypted("")) == (["A secret.\n\n"], [])


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.epub"])
@pytest.mark.parametrize("data", [b"", b"text", b"%PDF-1.7\n1 0 obj\n<<>>", b"PK\x03\x04" + bytes(100)])
def test_damaged_documents(tmp_path: Path, name: str, data: bytes) -> None:
    texts, reports = read(tmp_path, name, data)
    assert texts == []
    assert len(reports) == 1
    assert reports[0].endswith("skipped")


def test_a_document_that_is_cut_short(tmp_path: Path) -> None:
    for name, data in (("a.docx", made_files.docx(["text"])), ("a.epub", made_files.epub({"a.xhtml": "<p>text</p>"}))):
        texts, reports = read(tmp_path, name, data[: len(data) // 2])
        assert texts == []
        assert "it is damaged" in reports[0]


def test_a_document_that_is_too_large(tmp_path: Path) -> None:
    texts, reports = read(tmp_path, "a.pdf", made_files.pdf(["text"]), Limits(document_bytes=100))
    assert (texts, reports) == ([], ["more than 100 bytes; skipped, too large"])


def test_a_pdf_with_one_damaged_page_keeps_the_others(tmp_path: Path) -> None:
    data = made_files.pdf(["first", "second", "third"])
    at = data.index(b"/Contents 9 0 R")
    data = data[:at] + b"/Contents (no) " + data[at + 15 :]
    texts, reports = read(tmp_path, "a.pdf", data)
    assert "first" in texts[0]
    assert "third" in texts[0]
    assert "second" not in texts[0]
    assert reports in ([], ["1 of its 3 pages could not be read; the rest was read"])


def test_word_paragraphs_and_tables_in_order(tmp_path: Path) -> None:
    data = made_files.docx(["One paragraph.", "", "第二段。"], [["year", "rain"], ["1024", "多"]])
    assert read(tmp_path, "a.docx", data) == (["One paragraph.\n\n第二段。\n\nyear\train\n1024\t多\n\n"], [])


def word(body: str) -> bytes:
    """A Word document with this XML in its body."""
    namespaces = (
        'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    )
    document = f"<?xml version='1.0' encoding='UTF-8'?><w:document {namespaces}><w:body>{body}</w:body></w:document>"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made_files.docx([]))) as made, zipfile.ZipFile(out, "w") as changed:
        for name in made.namelist():
            changed.writestr(name, document if name == "word/document.xml" else made.read(name))
    return out.getvalue()


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def paragraph(inside: str) -> str:
    return f"<w:p>{inside}</w:p>"


def test_what_is_text_in_a_word_document() -> None:
    inner = f"<w:tbl><w:tr><w:tc>{paragraph(run('inner'))}</w:tc></w:tr></w:tbl>"
    cells = f"<w:tc>{paragraph(run('a'))}{inner}</w:tc><w:tc>{paragraph(run('b'))}</w:tc>"
    box = f"<w:txbxContent>{paragraph(run('in a box'))}</w:txbxContent>"
    both = f"<mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
    body = (
        paragraph(run("kept") + f"<w:ins>{run(' new')}</w:ins><w:del><w:r><w:delText> old</w:delText></w:r></w:del>")
        + paragraph("<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>")
        + f"<w:sdt><w:sdtContent>{paragraph(run('in a field'))}</w:sdtContent></w:sdt>"
        + f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>"
        + paragraph(run("with ") + f"<w:r>{both}</w:r>")
    )
    assert list(docx_text(word(body))) == ["kept new\n\na\tb\nc\n\nin a field\n\na inner\tb\n\nwith \n\nin a box\n\n"]


def test_word_entities_do_not_explode(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE l [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    data = word(paragraph(run("x")))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as made, zipfile.ZipFile(out, "w") as changed:
        for name in made.namelist():
            content = made.read(name)
            if name == "word/document.xml":
                content = content.replace(b"<w:document", f"{laughs}]><w:document".encode()).replace(b">x<", b">x &j;<")
            changed.writestr(name, content)
    texts, reports = read(tmp_path, "laughs.docx", out.getvalue())
    assert len("".join(texts)) < 100
    assert texts or reports


def test_word_files_that_are_locked_or_old(tmp_path: Path) -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    assert read(tmp_path, "a.docx", data)[1] == ["it is protected by a password, or an old .doc; skipped"]


@pytest.mark.parametrize("parser", [docx_text, chapters])
def test_documents_that_unpack_to_too_much(parser: Callable[[bytes], Iterator[str]], monkeypatch) -> None:
    monkeypatch.setattr(office_zip, "FREE_BYTES", 1 << 20)
    data = made_files.zipped({"a.xml": bytes(1 << 21)})
    with pytest.raises(CannotBeParsed, match="it unpacks to 2,097,152 bytes"):
        list(parser(data))


def test_chapters_of_an_epub_in_the_order_of_the_spine(tmp_path: Path) -> None:
    pages = {
        "two.xhtml": "<h1>Two</h1><p>A <b>bold</b> <i>word</i>&nbsp;&mdash; and<br/>a line.</p><pre>a  b\n  c</pre>",
        "one part.xhtml": "<p>第一章 <ruby>井<rt>jǐng</rt></ruby>水。</p><script>bad()</script>",
        "left-out.xhtml": "<p>not in the spine</p>",
    }
    texts, reports = read(tmp_path, "book.epub", made_files.epub(pages, ["one part.xhtml", "two.xhtml"]))
    assert texts == ["第一章 井水。\n\nTwo\nA bold word\xa0— and\na line.\na  b\n  c\n\n"]
    assert reports == []


def test_epub_pages_that_are_no_xml(tmp_path: Path) -> None:
    texts, _ = read(tmp_path, "book.epub", made_files.epub({"a.xhtml": "<p>one & two <br>three</p><p>four</p>"}))
    for word_ in ("one", "two", "three", "four"):
        assert word_ in texts[0]


def test_an_epub_with_a_lock_and_one_with_holes(tmp_path: Path) -> None:
    lock = "<encryption><EncryptedData><CipherReference URI='OEBPS/{}'/></EncryptedData></encryption>"
    pages = {"a.xhtml": "<p>text</p>"}
    for what, expected in (("text/a.xhtml", []), ("fonts/f.otf", ["text\n\n"])):
        data = made_files.epub(pages, more={"META-INF/encryption.xml": lock.format(what)})
        texts, reports = read(tmp_path, "book.epub", data)
        assert texts == expected
        assert reports == ([] if expected else ["it is locked against copying (DRM); skipped"])
    data = made_files.epub({"a.xhtml": "<p>text</p>", "b.xhtml": ""})
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as made, zipfile.ZipFile(out, "w") as changed:
        for name in made.namelist():
            if not name.endswith("b.xhtml"):
                changed.writestr(name, made.read(name))
    assert read(tmp_path, "book.epub", out.getvalue()) == (
        ["text\n\n"],
        ["1 of its 2 chapters are missing; the rest was read"],
    )


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch) -> None:
    from stepwell.data.inputs import parsed
    from stepwell.errors import DataError

    monkeypatch.setattr(parsed, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"stepwell\[data\]"):
        read(tmp_path, "a.pdf", b"")
