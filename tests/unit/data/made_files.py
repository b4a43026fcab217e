"""Files of many kinds, made on the spot for tests of reading."""

from __future__ import annotations

import gzip
import io
import tarfile
import uuid
import zipfile
from collections.abc import Mapping, Sequence

from docx import Document


def pdf(pages: Sequence[str]) -> bytes:
    """A PDF with one line of text on each page, in any script: glyph numbers are the characters' places in the text."""
    signs = sorted(set("".join(pages)))
    glyph = {sign: number for number, sign in enumerate(signs, start=1)}
    to_unicode = "\n".join(f"<{number:04x}> <{sign.encode('utf-16-be').hex()}>" for sign, number in glyph.items())
    cmap = (
        "/CIDInit /ProcSet findresource begin\nbegincmap\n1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n"
        f"{len(signs)} beginbfchar\n{to_unicode}\nendbfchar\nendcmap\nend"
    )
    kids = " ".join(f"{6 + 2 * n} 0 R" for n in range(len(pages)))
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type0 /BaseFont /F /Encoding /Identity-H "
        "/DescendantFonts [4 0 R] /ToUnicode 5 0 R >>",
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /F /DW 1000 /CIDSystemInfo "
        "<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream",
    ]
    for number, page in enumerate(pages):
        shown = "".join(f"{glyph[sign]:04x}" for sign in page)
        drawn = f"BT /F1 12 Tf 72 700 Td <{shown}> Tj ET"
        bodies.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {7 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        bodies.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    out, places = b"%PDF-1.7\n", []
    for number, body in enumerate(bodies, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    rows = "".join(f"{place:010d} 00000 n \n" for place in places)
    return (
        out
        + (
            f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n{rows}"
            f"trailer\n<< /Size {len(bodies) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
        ).encode()
    )


def docx(paragraphs: Sequence[str], table: Sequence[Sequence[str]] = ()) -> bytes:
    """A Word document: paragraphs, then a table."""
    document = Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if table:
        made = document.add_table(rows=len(table), cols=len(table[0]))
        for row, cells in zip(made.rows, table, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def epub(
    chapters: Mapping[str, str], spine: Sequence[str] | None = None, more: Mapping[str, str] | None = None
) -> bytes:
    """An e-book of chapters (file name -> what is in its body), which lie in the zip in the order they are given."""
    items = "".join(
        f'<item id="id-{name}" href="text/{name.replace(" ", "%20")}" media-type="application/xhtml+xml"/>'
        for name in chapters
    )
    refs = "".join(f'<itemref idref="id-{name}"/>' for name in (spine or chapters))
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        f"{items}</manifest><spine>{refs}</spine></package>",
    }
    for name, body in chapters.items():
        files[f"OEBPS/text/{name}"] = (
            "<?xml version='1.0' encoding='utf-8'?><!DOCTYPE html><html xmlns='http://www.w3.org/1999/xhtml'>"
            f"<head><title/></head><body>{body}</body></html>"
        )
    return zipped({name: text.encode() for name, text in {**files, **(more or {})}.items()})


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    """A tar of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def warc(pages: Sequence[tuple[str, str, str, bytes]], *, packed: bool = True, more_headers: str = "") -> bytes:
    """A web archive of (url, status, content type, body)."""
    records = [_record("warcinfo", "", "application/warc-fields", b"software: made\r\n")]
    for url, status, kind, body in pages:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more_headers}Content-Length: {len(body)}\r\n\r\n"
        records.append(_record("request", url, "application/http; msgtype=request", b"GET / HTTP/1.1\r\n\r\n"))
        records.append(_record("response", url, "application/http; msgtype=response", head.encode() + body))
    return b"".join(gzip.compress(record) if packed else record for record in records)


def _record(kind: str, url: str, content_type: str, block: bytes) -> bytes:
    target = f"WARC-Target-URI: {url}\r\n" if url else ""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, kind + url)}>\r\n"
        f"{target}WARC-Date: 2026-01-02T03:04:05Z\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"
