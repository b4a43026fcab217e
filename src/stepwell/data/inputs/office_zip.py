"""A document that is a zip of parts: opened only when it does not unpack to far more than it is.

This file leaves out archives that people make themselves (`archives.py`).
"""

from __future__ import annotations

import io
import zipfile

from stepwell.data.inputs.reading import Limits
from stepwell.data.inputs.worker import CannotBeParsed


def check_zip(data: bytes) -> zipfile.ZipFile:
    """Open a document, and add up what its parts unpack to; `zipfile` reads no more of a part than it declares.

    Raises:
        CannotBeParsed: when it is damaged, or unpacks to too much.
    """
    limits = Limits()
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise CannotBeParsed(f"it is damaged ({error})") from None
    total = sum(info.file_size for info in archive.infolist())
    if total > max(limits.free_bytes, limits.expansion_ratio * len(data)):
        raise CannotBeParsed(f"it unpacks to {total:,} bytes")
    return archive
