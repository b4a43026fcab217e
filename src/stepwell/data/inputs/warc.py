"""Archives of the web (WARC, and ARC before it): each page is one text, read by warcio.

Pages that a server gave with success are taken: HTML by its main text, plain text as it is, what a crawler had already
converted too. This file leaves out pictures, documents in other formats, and what was asked for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from stepwell.data.inputs.content import Content
from stepwell.data.inputs.html import decoded
from stepwell.data.inputs.passed import PassedOver
from stepwell.data.inputs.reading import Reading, Text
from stepwell.data.inputs.rows import check_columns
from stepwell.errors import DataError, StepwellError
from stepwell.parsers import parse

COLUMNS = ("url", "date", "content_type", "status")
_WITH_PAGES = ("response", "resource", "conversion")
_HTML = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)


def read_warc(content: Content, reading: Reading) -> Iterator[Text]:
    """The text of each page; of `columns` there are `url`, `date`, `content_type` and `status`.

    Raises:
        DataError: when it is damaged, or a column is asked for that it has not.
    """
    check_columns(content.name, COLUMNS, reading.columns)
    passed = PassedOver(content.name, "pages")
    pages = 0
    with content.whole(), content.open() as stream:
        for record in _records(stream, content.name, reading):
            pages += 1
            kind, said = _kind_of(record)
            if not (_status(record) or "200").startswith("2"):
                passed.add("not found or moved")
            elif kind not in (*_HTML, "text/plain"):
                passed.add("no text or HTML", kind)
            elif text := _text_of(record, kind, said, reading, passed):
                yield Text((text,), is_row=True, columns=_columns_of(record, kind, reading.columns))
    if not pages:
        reading.report(f"{content.name}: an archive without pages")
    passed.tell(reading.report, pages)


def _records(stream: Any, name: str, reading: Reading) -> Iterator[Any]:
    """Records that hold a page, with what its server said of it."""
    try:
        from warcio.archiveiterator import ArchiveIterator
        from warcio.statusandheaders import StatusAndHeadersParser
    except ImportError as error:
        raise DataError(
            f"{name}: WARC needs the library warcio", got=str(error), do="pip install 'stepwell[data]'"
        ) from None
    of_server = StatusAndHeadersParser([], verify=False)  # any version of HTTP
    records = ArchiveIterator(stream, no_record_parse=True, arc2warc=True)
    records.INC_RECORD = ""  # what it would print
    logging.getLogger("warcio").setLevel(logging.CRITICAL)  # it tells of odd addresses
    try:
        for record in records:
            if record.format == "warc" and record.rec_headers.get_header("Content-Length") is None:
                raise _damaged(name, "a record that does not say how long it is")
            if record.rec_type in _WITH_PAGES:
                if record.rec_type == "response" and record.length:
                    record.http_headers = of_server.parse(record.raw_stream)
                yield record
            while record.raw_stream.read(1 << 16):
                pass
            if getattr(record.raw_stream, "limit", 0) > 0:
                raise _damaged(name, "the end inside of a record")
    except (StepwellError, OSError):
        raise
    except Exception as error:  # warcio has errors of its own, and stumbles over a few things
        is_told = type(error).__module__.startswith("warcio") and str(error).strip()
        raise _damaged(name, str(error).strip() if is_told else "a record that is not whole") from None
    if records.err_count:
        reading.report(f"{name}: {records.err_count:,} records are longer than they say; what is too much was skipped")


def _status(record: Any) -> str | None:
    """What the server answered (`200`); None where no server was asked."""
    return None if record.http_headers is None else str(record.http_headers.get_statuscode())


def _damaged(name: str, got: str) -> DataError:
    return DataError(
        f"{name}: cannot be read as WARC",
        got=got.splitlines()[0][:200],
        wanted="a whole WARC file",
        do="fetch it again",
    )


def _kind_of(record: Any) -> tuple[str, str | None]:
    """Content type and the encoding that came with it."""
    headers = record.http_headers or record.rec_headers
    line = headers.get_header("Content-Type") or ""
    charset = _CHARSET.search(line)
    return line.partition(";")[0].strip().lower(), charset[1] if charset else None


def _text_of(record: Any, kind: str, said: str | None, reading: Reading, passed: PassedOver) -> str | None:
    limits = reading.limits
    data = record.content_stream().read(limits.page_bytes + 1)
    if len(data) > limits.page_bytes:
        passed.add("too large", _url(record))
        return None
    try:
        page, _ = decoded(data, "page", said)
    except DataError:
        passed.add("in an unknown encoding", _url(record))
        return None
    if kind == "text/plain":
        parts, problem = [page], None
    else:
        parsed = parse("html", page.encode("utf-8", errors="replace"), limits.seconds)
        parts, problem = list(parsed.parts), parsed.problem
    text = "".join(parts)
    if not text.strip():
        if problem:
            passed.add("that could not be taken apart", f"{_url(record)}: {problem}")
        else:
            passed.add("without text")
        return None
    return text


def _url(record: Any) -> str:
    return str(record.rec_headers.get_header("WARC-Target-URI") or "no address")


def _columns_of(record: Any, kind: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    if not wanted:
        return {}
    status = _status(record)
    there = {
        "url": _url(record),
        "date": record.rec_headers.get_header("WARC-Date"),
        "content_type": kind,
        "status": int(status) if status and status.isdigit() else None,
    }
    return {name: there[name] for name in wanted}
