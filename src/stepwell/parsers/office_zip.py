"""A document that is a zip of parts: opened only when it does not unpack to far more than it is.

This file leaves out archives that people make themselves.
"""

from __future__ import annotations

import io
import zipfile

from stepwell.parsers.process import CannotBeParsed

FREE_BYTES = 1 << 28
"""That a document may unpack to, whatever its size."""
EXPANSION_RATIO = 200
"""Unpacked bytes for each byte of a larger one, at most."""


def check_zip(data: bytes) -> zipfile.ZipFile:
    """Open a document, and add up what its parts unpack to; `zipfile` reads no more of a part than it declares.

    Raises:
        CannotBeParsed: when it is damaged, or unpacks to too much.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise CannotBeParsed(f"it is damaged ({error})") from None
    total = sum(info.file_size for info in archive.infolist())
    if total > max(FREE_BYTES, EXPANSION_RATIO * len(data)):
        raise CannotBeParsed(f"it unpacks to {total:,} bytes")
    return archive
