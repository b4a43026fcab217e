"""Bytes become text in blocks of a few megabytes that end at line ends, so no file is too large.

Bytes that are not UTF-8 are counted and reported; a file of another encoding is refused by name. This file leaves out
encodings that a page or a dump declares for itself.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from stepwell.data.inputs.content import Content
from stepwell.data.inputs.reading import Reading
from stepwell.errors import DataError

HEAD_BYTES = 8192
CHUNK_BYTES = 1 << 20
BLOCK_CHARACTERS = 1 << 22
LINES_CHARACTERS = 1 << 18
"""Whole lines that are given at once, about; how they are cut to blocks changes nothing."""

HOPELESS_RATIO = 0.3  # a text with more bytes than this that are not UTF-8 is in another encoding altogether

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_UTF8 = re.compile("[\udc80-\udcff]+")


def text_blocks(content: Content, reading: Reading, *, whole_lines: bool = False) -> Iterator[str]:
    """A text in blocks that end at line ends.

    Args:
        content: where it is.
        reading: takes the report about bytes that are not UTF-8, at the end.
        whole_lines: never break a line.

    Raises:
        DataError: when it is binary, damaged, in another encoding, or has a line beyond all bounds.
    """
    decoder = Decoder(content.name)
    with content.whole(), content.open() as stream:
        chunks = decoder.decode(stream)
        yield from at_line_ends(chunks, content.name, content.limits.line_characters if whole_lines else None)
    if decoder.problem:
        reading.report(f"{decoder.problem}; replaced")


def not_utf8(content: Content) -> str | None:
    """What is wrong with the encoding of a text, as the beginning of a sentence; it is read to its end.

    Raises:
        DataError: when it is binary or damaged.
    """
    decoder = Decoder(content.name, hopeless_ratio=1)
    with content.whole(), content.open() as stream:
        for _ in decoder.decode(stream):
            pass
    return decoder.problem


def encoding_of(head: bytes) -> str:
    """The encoding that a text begins by saying: UTF-16 or UTF-32 by their marks, else UTF-8."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")


def refuse_binary(head: bytes, name: str) -> None:
    """Look for a NUL byte, which no text in UTF-8 has.

    Raises:
        DataError: when there is one.
    """
    if b"\0" in head and encoding_of(head) == "utf-8":
        raise DataError(
            f"{name}: binary, not text",
            got=f"a NUL byte at byte {head.index(0):,}",
            wanted="text in UTF-8",
            do="leave it out, or convert it to text first",
        )


class Decoder:
    """Decodes a stream and counts what is not UTF-8.

    Args:
        name: how messages name the stream.
        hopeless_ratio: share of bytes that are not UTF-8 above which the stream is refused.
    """

    def __init__(self, name: str, hopeless_ratio: float = HOPELESS_RATIO) -> None:
        self._name = name
        self._hopeless_ratio = hopeless_ratio
        self._bad_bytes = 0
        self._first: int | None = None

    @property
    def problem(self) -> str | None:
        """What was wrong, as the beginning of a sentence."""
        if self._first is None:
            return None
        return f"{self._name}: {self._bad_bytes:,} bytes are not UTF-8 (the first at byte {self._first:,})"

    def decode(self, stream: BinaryIO) -> Iterator[str]:
        """The stream's text in chunks.

        Raises:
            DataError: when it is binary or in another encoding.
        """
        head = stream.read(HEAD_BYTES)
        encoding = encoding_of(head)
        refuse_binary(head, self._name)
        decoder = codecs.getincrementaldecoder(encoding)("strict" if encoding == "utf-8" else "replace")
        chunk, seen = head + stream.read(CHUNK_BYTES), 0
        while chunk:
            start = seen - len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk)
            except UnicodeDecodeError:  # from here on with an eye on every character, which is slower
                state = decoder.getstate()
                decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
                decoder.setstate(state)
                text = decoder.decode(chunk)
            seen += len(chunk)
            yield self._replaced(text, start) if decoder.errors == "surrogateescape" else text
            if self._bad_bytes > self._hopeless_ratio * seen:
                raise self._other_encoding(head)
            chunk = stream.read(CHUNK_BYTES)
        rest = decoder.getstate()[0]
        if encoding == "utf-8":
            yield self._replaced(rest.decode("utf-8", errors="surrogateescape"), seen - len(rest))
        else:
            yield decoder.decode(b"", final=True)

    def _replaced(self, text: str, start: int) -> str:
        """Put U+FFFD for each run of bytes that are not UTF-8; `start` is where `text` stands in the file."""
        first = _NOT_UTF8.search(text)
        if first is None:
            return text
        if self._first is None:
            self._first = start + len(text[: first.start()].encode())
        self._bad_bytes += sum(len(run) for run in _NOT_UTF8.findall(text))
        return _NOT_UTF8.sub("\ufffd", text)

    def _other_encoding(self, head: bytes) -> DataError:
        try:
            codecs.getincrementaldecoder("gb18030")().decode(head)
            likely, do = "GB18030 (a Chinese encoding)", "iconv -f GB18030 -t UTF-8 FILE > FILE.utf8.txt"
        except UnicodeDecodeError:
            likely, do = "another encoding, or no text", "save it as UTF-8, or leave it out"
        return DataError(
            f"{self._name}: not UTF-8",
            got=f"{self._bad_bytes:,} bytes that are not, the first at byte {self._first:,}; it looks like {likely}",
            wanted="text in UTF-8",
            do=do,
        )


def at_line_ends(chunks: Iterable[str], name: str = "", longest: int | None = None) -> Iterator[str]:
    """Join chunks of text to blocks that end after a line end.

    Args:
        chunks: the text.
        name: how messages name it.
        longest: never break a line up to this many characters, and refuse a longer one; None to break lines that are
            longer than a block.

    Raises:
        DataError: for a line longer than `longest`.
    """
    wanted = BLOCK_CHARACTERS if longest is None else min(BLOCK_CHARACTERS, LINES_CHARACTERS)
    held: list[str] = []
    size, has_end = 0, False
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        has_end = has_end or "\n" in chunk
        if size < wanted:
            continue
        if longest is not None and not has_end:
            if size > longest:
                raise _too_long(name, longest)
            continue
        text = "".join(held)
        end = text.rfind("\n") + 1
        if end == 0:
            end = len(text) - text.endswith("\r")  # a line end may be torn in two here
        yield text[:end]
        held, size, has_end = [text[end:]], len(text) - end, False
    if text := "".join(held):
        yield text


def _too_long(name: str, longest: int) -> DataError:
    return DataError(
        f"{name}: a line that does not end",
        got=f"more than {longest:,} characters without a line end",
        wanted="a table with one row on each line",
        do="check that the name ends with what the file is",
    )
