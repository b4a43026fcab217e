"""Web pages: the main text of a page by trafilatura, or all of its text where none stands out.

A page says its own encoding, in a mark, in what its server said of it, or in its head. Taking it apart has a limit of
size and of time. This file leaves out archives of pages (`warc.py`).
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator

from stepwell.data.inputs.content import Content
from stepwell.data.inputs.decoding import HEAD_BYTES, Decoder, encoding_of, refuse_binary
from stepwell.data.inputs.reading import Reading, Text
from stepwell.parsers import parse

_DECLARED = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE
)


def read_html(content: Content, reading: Reading) -> Iterator[Text]:
    """The text of a page.

    Raises:
        DataError: when it is binary, damaged, or in an encoding that it does not declare.
    """
    data = content.read_all(reading.limits.page_bytes)
    if data is None:
        reading.report(f"{content.name}: a page of more than {reading.limits.page_bytes:,} bytes; skipped, too large")
        return
    refuse_binary(data[:HEAD_BYTES], content.name)
    page, problem = decoded(data, content.name)
    if problem and reading.encoding_errors == "skip":
        reading.report(f"{problem}; the file was skipped")
        return
    if problem:
        reading.report(f"{problem}; replaced")
    parsed = parse("html", page.encode("utf-8", errors="replace"), reading.limits.seconds)
    if parsed.parts:
        yield Text(parsed.parts, is_row=False)
    elif parsed.problem:
        reading.report(f"{content.name}: {parsed.problem}; skipped")
    else:
        reading.report(f"{content.name}: a page without text; skipped")


def decoded(data: bytes, name: str, said: str | None = None) -> tuple[str, str | None]:
    """A page as text.

    Args:
        data: the page.
        name: how messages name it.
        said: the encoding that its server named, if any.

    Returns:
        The text, and what was wrong with its encoding as the beginning of a sentence.

    Raises:
        DataError: when it is in an encoding that nobody names.
    """
    declared = _DECLARED.search(data[:4096])
    for encoding in (said, declared[1].decode("ascii") if declared else None):
        if encoding is None or encoding_of(data) != "utf-8":
            continue
        try:
            known = codecs.lookup("gb18030" if encoding.lower() in ("gb2312", "gbk") else encoding).name
        except LookupError:
            continue
        if known in ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            break  # one that could be read so far is not UTF-16 without a mark
        text = data.decode(known, errors="replace")
        bad = text.count("\ufffd")
        return text, f"{name}: {bad:,} places are not {encoding}, as which it is declared" if bad else None
    decoder = Decoder(name)
    text = "".join(decoder.decode(io.BytesIO(data)))
    return text, f"{decoder.problem}" if decoder.problem else None
