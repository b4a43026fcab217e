"""Documents that are taken apart as a whole, by kind: bytes -> their text, in parts.

These run in a process of their own (`worker.py`). This file leaves out what is done with the text (`parsed.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from stepwell.data.inputs.docx import docx_text
from stepwell.data.inputs.epub import chapters
from stepwell.data.inputs.html import main_text
from stepwell.data.inputs.pdf import pages
from stepwell.data.inputs.wikitext import plain_text

PARSERS: Mapping[str, Callable[[bytes], Iterator[str]]] = {
    "html": main_text,
    "pdf": pages,
    "docx": docx_text,
    "epub": chapters,
    "wikitext": plain_text,
}
