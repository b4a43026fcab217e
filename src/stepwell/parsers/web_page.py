"""The main text of a web page by trafilatura, or all of its text where none stands out.

This file leaves out how the bytes of a page become characters.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

_BEGINS = re.compile("<(html|body)", re.IGNORECASE)


def main_text(data: bytes) -> Iterator[str]:
    """The text of a page in UTF-8, if it has any."""
    import trafilatura

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what matters is said once, by who asked
    page = data.decode("utf-8", errors="replace")
    if not _BEGINS.search(page):
        page = f"<html><body>{page}</body></html>"  # a fragment
    text = trafilatura.extract(page, include_comments=False, favor_recall=True) or trafilatura.html2txt(page)
    if text:
        yield text
