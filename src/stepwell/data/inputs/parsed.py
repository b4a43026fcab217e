"""Files that are one document each and are taken apart as a whole: PDF, Word, EPUB.

One that cannot be read is reported and passed over, for a folder of thousands always holds a few. This file leaves out
how each is taken apart (`stepwell.parsers`).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from stepwell.data.inputs.content import Content, split_suffixes
from stepwell.data.inputs.decoding import at_line_ends
from stepwell.data.inputs.reading import Reading, Text
from stepwell.errors import DataError
from stepwell.parsers import LIBRARIES, parse


def read_document_file(content: Content, reading: Reading) -> Iterator[Text]:
    """The text of a document.

    Raises:
        DataError: when it cannot be read to its end, or when the library that it needs is not there.
    """
    kind = split_suffixes(content.name)[0].removeprefix(".")
    need_parser(kind, content.name)
    data = content.read_all(reading.limits.document_bytes)
    if data is None:
        reading.report(f"{content.name}: more than {reading.limits.document_bytes:,} bytes; skipped, too large")
        return
    parsed = parse(kind, data, reading.limits.seconds)
    has_text = any(not part.isspace() for part in parsed.parts if part)
    if parsed.problem:
        reading.report(f"{content.name}: {parsed.problem}; {'the rest was read' if has_text else 'skipped'}")
    elif not has_text:
        reading.report(f"{content.name}: no text (pictures of pages are not read); skipped")
    if has_text:
        yield Text(at_line_ends(parsed.parts), is_row=False)


def need_parser(kind: str, name: str) -> None:
    """See that the library for a kind is there.

    Raises:
        DataError: when it is not.
    """
    library = LIBRARIES[kind]
    if find_spec(library) is None:
        raise DataError(
            f"{name}: {kind} needs the library {library}", got="it is not installed", do="pip install 'stepwell[data]'"
        )
