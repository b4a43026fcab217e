"""Dumps in XML, read as a stream: wiki pages, or the records that a file repeats.

A dump of MediaWiki gives one text for each article. In other XML the element that is repeated is a row, whose columns
are its attributes and the elements inside; a file without one is a single text. Entities are never expanded and nothing
is fetched. This file leaves out the markup of wiki pages (`stepwell.parsers`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from stepwell.data.inputs.content import Content
from stepwell.data.inputs.decoding import at_line_ends
from stepwell.data.inputs.parsed import need_parser
from stepwell.data.inputs.passed import PassedOver
from stepwell.data.inputs.reading import Reading, Text
from stepwell.data.inputs.rows import PEEKED_ROWS, TEXT_COLUMNS, check_columns, read_rows
from stepwell.errors import DataError
from stepwell.parsers import local_name, parse, record_text

PEEKED_BYTES = 1 << 22
FED_BYTES = 1 << 16
WIKI_COLUMNS = ("title", "id", "timestamp")
_PROSE = re.compile("p|para|l|lg|ab|s|seg|w|pc|head|title|br|lb|pb|hi|note|i|b|em|emph|li|tr|td", re.IGNORECASE)
"""Elements that are parts of a text, however often they come."""


def read_xml(content: Content, reading: Reading) -> Iterator[Text]:
    """The pages, records or the one text of an XML file.

    Raises:
        DataError: when it is no whole XML, or a column is asked for that it has not.
    """
    with content.whole(), content.open() as stream:
        head = stream.read(PEEKED_BYTES)
        root, place = _shape(head, content.name)
        if b"<!ENTITY" in head:
            reading.report(f"{content.name}: defines entities of its own; they are left out of the text")
        if root == "mediawiki":
            yield from _wiki_texts(_elements(stream, head, content, 1, "page"), content, reading)
        elif place is not None:
            passed: Counter[str] = Counter()
            records = _elements(stream, head, content, *place, passed)
            yield from read_rows(_rows_of(records, reading), content.name, reading)
            if passed:
                names = ", ".join(f"{count:,} <{name}>" for name, count in passed.most_common(8))
                reading.report(f"{content.name}: elements beside the <{place[1]}> were passed over ({names})")
        else:
            yield from _one_text(stream, head, content, reading)


def _parser(events: tuple[str, ...]) -> Any:
    from lxml import etree

    return etree.XMLPullParser(
        events,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,  # libxml2 then has limits of its own for what entities in attributes may grow to
        remove_comments=True,
        remove_pis=True,
    )


def _shape(head: bytes, name: str) -> tuple[str, tuple[int, str] | None]:
    """The root's name, and the depth and name of the records.

    A record is what comes most often at the first depth where anything is repeated; a part of prose is none.
    """
    from lxml import etree

    parser = _parser(("start", "end"))
    try:
        parser.feed(head)
        events = list(parser.read_events())
    except etree.XMLSyntaxError as error:
        raise _no_xml(name, error) from None
    root, depth = "", 0
    counts: dict[int, Counter[str]] = {}
    for event, element in events:
        if event == "start":
            root = root or local_name(element)
            counts.setdefault(depth, Counter())[local_name(element)] += 1
            depth += 1
        else:
            depth -= 1
    for at, names in sorted(counts.items()):
        record, count = max(names.items(), key=lambda one: one[1])
        if at and count > 1:
            return root, None if _PROSE.fullmatch(record) else (at, record)
    return root, None


def _no_xml(name: str, error: Exception) -> DataError:
    return DataError(f"{name}: cannot be read as XML", got=str(error).splitlines()[0][:200], wanted="a whole XML file")


def _elements(
    stream: BinaryIO, head: bytes, content: Content, at: int, name: str, passed: Counter[str] | None = None
) -> Iterator[Any]:
    """Whole elements of a name at a depth, each forgotten after it was looked at.

    Raises:
        DataError: when the XML is damaged, or one element is too large.
    """
    from lxml import etree

    parser = _parser(("start", "end"))
    depth, held_bytes, chunk = 0, 0, head
    try:
        while chunk:
            parser.feed(chunk)
            held_bytes += len(chunk)
            for event, element in parser.read_events():
                if event == "start":
                    depth += 1
                    continue
                depth -= 1
                if depth == at:
                    held_bytes = 0
                    if local_name(element) == name:
                        yield element
                    elif passed is not None and "".join(element.itertext()).strip():
                        passed[local_name(element)] += 1
                if depth <= at or local_name(element) == "revision":  # of a page's history only the last is looked at
                    _forget(element, is_whole=depth <= at)
            if held_bytes > content.limits.document_bytes:
                raise DataError(
                    f"{content.name}: an element of more than {content.limits.document_bytes:,} bytes",
                    wanted=f"many elements <{name}>",
                    do="cut the file into records, or convert it to text",
                )
            chunk = stream.read(FED_BYTES)
        parser.close()
    except etree.XMLSyntaxError as error:
        raise _no_xml(content.name, error) from None


def _forget(element: Any, *, is_whole: bool) -> None:
    """Free an element and what stands before it."""
    if is_whole:
        element.clear(keep_tail=True)
    parent = element.getparent()
    while parent is not None and (before := element.getprevious()) is not None:
        if not is_whole and local_name(before) != "revision":
            return
        parent.remove(before)


def _wiki_texts(pages: Iterator[Any], content: Content, reading: Reading) -> Iterator[Text]:
    """The prose of each article; talk, templates and redirects are passed over."""
    need_parser("wikitext", content.name)
    check_columns(content.name, WIKI_COLUMNS, reading.columns)
    passed = PassedOver(content.name, "pages")
    number = 0
    for page in pages:
        number += 1
        found = {local_name(one): one for one in page}
        revision = found.get("revision")
        parts = {} if revision is None else {local_name(one): one for one in revision}
        if "redirect" in found:
            passed.add("redirects")
        elif "ns" in found and _words(found["ns"]) != "0":
            passed.add("talk, templates and other spaces")
        else:
            parsed = parse("wikitext", _words(parts.get("text")).encode(), reading.limits.seconds)
            text = "".join(parsed.parts)
            there = {"title": found.get("title"), "id": found.get("id"), "timestamp": parts.get("timestamp")}
            if parsed.problem:
                passed.add("that could not be taken apart", f"{_words(found.get('title'))}: {parsed.problem}")
            elif text.strip():
                yield Text((text,), True, {column: _words(there[column]) for column in reading.columns})
            else:
                passed.add("without text")
    passed.tell(reading.report, number)


def _words(element: Any) -> str:
    return "" if element is None else (element.text or "").strip()


def _rows_of(records: Iterator[Any], reading: Reading) -> Iterator[Mapping[str, Any]]:
    """A record's attributes and the elements inside of it, by name, and where none of these is the text, all of it."""
    wanted = {*reading.columns, reading.text_column}
    for number, record in enumerate(records):
        row: dict[str, Any] = {name.rpartition("}")[2]: value for name, value in record.attrib.items()}
        inside: dict[str, list[str]] = {}
        for element in record.iterdescendants():
            name = local_name(element)
            may_be_text = reading.text_column is None and name.lower() in TEXT_COLUMNS
            if not name or not (number < PEEKED_ROWS or may_be_text or name in wanted):
                continue  # only the first rows tell which columns there are
            if text := record_text(element):
                inside.setdefault(name, []).append(text)
        row.update({name: "\n".join(texts) for name, texts in inside.items()})
        if reading.text_column is None:
            lower = {name.lower(): name for name in reversed(row)}
            named = next((lower[name] for name in TEXT_COLUMNS if name in lower), None)
            text = record_text(record) if named is None else row[named]
            if text:
                row[TEXT_COLUMNS[0]] = text
        yield row


def _one_text(stream: BinaryIO, head: bytes, content: Content, reading: Reading) -> Iterator[Text]:
    from lxml import etree

    most_bytes = content.limits.document_bytes
    parser = _parser(("start",))
    size, chunk = 0, head
    try:
        while chunk and size <= most_bytes:
            parser.feed(chunk)
            size += len(chunk)
            chunk = stream.read(FED_BYTES)
        if chunk:
            reading.report(f"{content.name}: one text of more than {most_bytes:,} bytes; skipped, too large")
            return
        text = record_text(parser.close())
    except etree.XMLSyntaxError as error:
        raise _no_xml(content.name, error) from None
    if text:
        yield Text(at_line_ends(f"{line}\n" for line in text.splitlines()), is_row=False)
    else:
        reading.report(f"{content.name}: no text; skipped")
