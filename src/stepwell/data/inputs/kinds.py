"""Every kind of file that can be read, by what its name ends with. Adding one is a file with its reader and a row.

This file leaves out where the files are (`sources.py`), and how they are packed (`content.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext

from stepwell.data.inputs.archives import members_of
from stepwell.data.inputs.content import PACKINGS, Content, split_suffixes
from stepwell.data.inputs.decoding import not_utf8, text_blocks
from stepwell.data.inputs.html import read_html
from stepwell.data.inputs.parsed import read_document_file
from stepwell.data.inputs.reading import Reading, Text
from stepwell.data.inputs.tables import read_csv, read_jsonl, read_parquet, read_tsv
from stepwell.data.inputs.warc import read_warc
from stepwell.data.inputs.xml_dumps import read_xml


def read_content(content: Content, reading: Reading) -> Iterator[Text]:
    """The texts of a file, an object or a member of an archive.

    Raises:
        DataError: when it is binary, damaged, or a table without a column of text; for a long text, when its blocks
            are taken.
    """
    kind = split_suffixes(content.name)[0]
    if kind not in _OF_UTF8 or reading.encoding_errors != "skip":
        yield from READERS[kind](content, reading)
        return
    with content.held() if not content.opens_again else nullcontext(content) as again:
        if problem := not_utf8(again):
            reading.report(f"{problem}; the file was skipped")
        else:
            yield from READERS[kind](again, reading)


def _read_text(content: Content, reading: Reading) -> Iterator[Text]:
    yield Text(text_blocks(content, reading), is_row=False)


def _read_archive(content: Content, reading: Reading) -> Iterator[Text]:
    for member in members_of(content, reading, is_known):
        yield from read_content(member, reading)


READERS: Mapping[str, Callable[[Content, Reading], Iterator[Text]]] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".pdf": read_document_file,
    ".docx": read_document_file,
    ".epub": read_document_file,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".xml": read_xml,
    ".warc": read_warc,
    ".wet": read_warc,
    ".zip": _read_archive,
    ".tar": _read_archive,
}
_OF_UTF8 = (".txt", ".md", ".jsonl", ".csv", ".tsv")
KINDS = f"{' '.join(READERS)} (also {' '.join(PACKINGS)})"
"""All of them, for messages."""


def is_known(name: str) -> bool:
    """Whether a name ends with something that can be read."""
    return split_suffixes(name)[0] in READERS
