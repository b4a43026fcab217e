"""Every parser by its kind: bytes -> text in parts. Adding one is a file and a row.

These run in a process of their own (`process.py`). This file leaves out what is done with the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from stepwell.parsers.docx import docx_text
from stepwell.parsers.epub import chapters
from stepwell.parsers.pdf import pages
from stepwell.parsers.web_page import main_text
from stepwell.parsers.wikitext import plain_text

PARSERS: Mapping[str, Callable[[bytes], Iterator[str]]] = {
    "html": main_text,
    "pdf": pages,
    "docx": docx_text,
    "epub": chapters,
    "wikitext": plain_text,
}
LIBRARIES: Mapping[str, str] = {
    "html": "trafilatura",
    "pdf": "pypdf",
    "docx": "docx",
    "epub": "lxml",
    "wikitext": "mwparserfromhell",
}
"""What each parser is built on, as Python imports it."""
