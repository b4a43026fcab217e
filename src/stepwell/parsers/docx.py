"""The text of a Word document: paragraphs and tables in their order, by python-docx.

Text in boxes and in insertions that nobody has accepted yet is text too; deletions are not. This file leaves out
headers, footers, footnotes and comments.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from stepwell.parsers.office_zip import check_zip
from stepwell.parsers.process import CannotBeParsed

_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIPPED = frozenset({f"{_WORD}del", f"{_WORD}moveFrom", f"{_WORD}sectPr", _FALLBACK})
_SIGNS = {f"{_WORD}tab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n", f"{_WORD}noBreakHyphen": "-"}


def docx_text(data: bytes) -> Iterator[str]:
    """All text, in one part.

    Raises:
        CannotBeParsed: when the file is locked, of another kind, or unpacks to too much.
    """
    import docx

    if data.startswith(_OLD_OFFICE):
        raise CannotBeParsed("it is protected by a password, or an old .doc")
    check_zip(data)
    body = docx.Document(io.BytesIO(data)).element.body
    yield "".join(f"{block}\n\n" for block in _blocks(body))


def _blocks(parent: Any) -> Iterator[str]:
    """Paragraphs and tables under an element; a row of a table is a line, its cells are parted by tabs."""
    for element in parent:
        if element.tag == f"{_WORD}p":
            if (text := "".join(_signs(element))).strip():
                yield text
            for box in _nearest(element, "txbxContent"):
                yield from _blocks(box)
        elif element.tag == f"{_WORD}tbl":
            rows = (
                "\t".join(" ".join(_blocks(cell)) for cell in _nearest(row, "tc")) for row in _nearest(element, "tr")
            )
            if table := "\n".join(row for row in rows if row.strip()):
                yield table
        elif element.tag not in _SKIPPED:
            yield from _blocks(element)


def _nearest(parent: Any, name: str) -> Iterator[Any]:
    """Elements of a name under another, not those inside of these."""
    for child in parent:
        if child.tag == f"{_WORD}{name}":
            yield child
        elif child.tag not in _SKIPPED:
            yield from _nearest(child, name)


def _signs(element: Any) -> Iterator[str]:
    """The text of a paragraph without that of boxes that hang on it."""
    for child in element:
        if child.tag == f"{_WORD}t":
            yield child.text or ""
        elif child.tag in _SIGNS:
            yield _SIGNS[child.tag]
        elif child.tag not in _SKIPPED and child.tag != f"{_WORD}txbxContent":
            yield from _signs(child)
