"""The text of a PDF, page by page, by pypdf.

Only text that is there as text: a scanned page has none, and no characters are recognised in pictures. This file leaves
out joining lines that the layout broke.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

from stepwell.parsers.process import CannotBeParsed


def pages(data: bytes) -> Iterator[str]:
    """The text of each page.

    Raises:
        CannotBeParsed: when the file is locked, or when pages cannot be read.
    """
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every oddity; what matters is said below
    document = pypdf.PdfReader(io.BytesIO(data))
    if document.is_encrypted:
        _unlock(document)
    bad = 0
    for page in document.pages:
        try:
            text = page.extract_text()
        except Exception:  # a page of its own kind of damage
            bad += 1
        else:
            yield text.rstrip() + "\n\n" if text.strip() else ""
    if bad:
        raise CannotBeParsed(f"{bad:,} of its {len(document.pages):,} pages could not be read")


def _unlock(document: object) -> None:
    """Open what an empty password opens: many PDFs only forbid printing."""
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    assert isinstance(document, PdfReader)
    try:
        opened = document.decrypt("")
    except DependencyError:
        raise CannotBeParsed("it is encrypted in a way that needs the library cryptography") from None
    if opened == PasswordType.NOT_DECRYPTED:
        raise CannotBeParsed("it is protected by a password")
