"""One file of text: opened, unpacked, decoded and read by what its name ends with.

A long text comes in blocks of a few megabytes that end at line ends, so no file is too large. Bytes that are not UTF-8
are counted and reported. This file leaves out tables (see `tables`) and finding the files (see `sources`).
"""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stepwell.data.inputs.reading import Reading, Text
from stepwell.data.inputs.tables import read_csv, read_jsonl, read_parquet, read_tsv
from stepwell.data.packages import file_checksum
from stepwell.errors import DataError

HEAD_BYTES = 8192
CHUNK_BYTES = 1 << 20
BLOCK_CHARACTERS = 1 << 22
HOPELESS_RATIO = 0.3  # a text with more bytes than this that are not UTF-8 is in another encoding altogether
LARGEST_HTML_BYTES = 1 << 25

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HTML_BEGINS = re.compile("<(html|body)", re.IGNORECASE)
_NOT_UTF8 = re.compile("[\udc80-\udcff]+")


@dataclass(frozen=True)
class FileInput:
    """One file.

    Attributes:
        source: the source that it was found by.
        path: where it is.
    """

    source: str
    path: Path

    @property
    def name(self) -> str:
        """How messages name it."""
        return str(self.path)

    @property
    def num_bytes(self) -> int:
        """Its size; 0 when it is gone."""
        return self.path.stat().st_size if self.path.exists() else 0

    def fingerprint(self) -> str:
        """SHA-256 (hex) of its bytes.

        Raises:
            DataError: when it cannot be read.
        """
        try:
            return file_checksum(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read", got=str(error.strerror or error)) from None

    def read(self, reading: Reading) -> Iterator[Text]:
        """Its texts.

        Raises:
            DataError: when it is binary, damaged, or a table without a column of text; for a long text, when its blocks
                are taken.
        """
        kind, packed = split_suffixes(self.path)
        if kind == ".parquet":
            with self._whole():
                yield from read_parquet(self.open, not packed, self.name, reading)
        elif reading.encoding_errors == "skip" and (problem := self._not_utf8()):
            reading.report(f"{problem}; the file was skipped")
        else:
            yield from READERS[kind](self, reading)

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked.

        Raises:
            OSError: when it cannot be opened, or is no archive.
        """
        packed = split_suffixes(self.path)[1]
        if packed == ".gz":
            return io.BufferedReader(gzip.open(self.path, "rb"))
        if packed == ".zst":
            return io.BufferedReader(_ZstdStream(self.path))
        return self.path.open("rb")

    def blocks(self, reading: Reading, *, whole_lines: bool = False) -> Iterator[str]:
        """Its text in blocks that end at line ends.

        Args:
            reading: takes the report about bytes that are not UTF-8, at the end.
            whole_lines: never break a line, however long.

        Raises:
            DataError: when it is binary, damaged, or in another encoding.
        """
        decoder = _Decoder(self.name)
        with self._whole(), self.open() as stream:
            yield from _at_line_ends(decoder.decode(stream), whole_lines)
        if decoder.problem:
            reading.report(f"{decoder.problem}; replaced")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Say in our words what is wrong with a file that cannot be read or unpacked to its end."""
        try:
            yield
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{self.path}: cannot be read to its end",
                got=str(error) or type(error).__name__,
                wanted="a whole file",
                do="fetch or unpack it again" if split_suffixes(self.path)[1] else None,
            ) from error

    def _not_utf8(self) -> str | None:
        decoder = _Decoder(self.name, hopeless_ratio=1)
        with self._whole(), self.open() as stream:
            for _ in decoder.decode(stream):
                pass
        return decoder.problem


class _Decoder:
    """Decodes a stream and counts what is not UTF-8."""

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
        head = stream.read(HEAD_BYTES)
        encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")
        if encoding == "utf-8" and b"\0" in head:
            raise DataError(
                f"{self._name}: binary, not text",
                got=f"a NUL byte at byte {head.index(0):,}",
                wanted="text in UTF-8",
                do="leave it out, or convert it to text first",
            )
        errors = "surrogateescape" if encoding == "utf-8" else "replace"
        decoder = codecs.getincrementaldecoder(encoding)(errors=errors)
        chunk, seen = head + stream.read(CHUNK_BYTES), 0
        while chunk:
            start = seen - len(decoder.getstate()[0])
            text = decoder.decode(chunk)
            seen += len(chunk)
            yield self._replaced(text, start) if errors == "surrogateescape" else text
            if self._bad_bytes > self._hopeless_ratio * seen:
                raise self._other_encoding(head)
            chunk = stream.read(CHUNK_BYTES)
        yield self._replaced(decoder.decode(b"", final=True), seen)

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


def _at_line_ends(chunks: Iterator[str], whole_lines: bool) -> Iterator[str]:
    """Join chunks of text to blocks that end after a line end."""
    held: list[str] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size < BLOCK_CHARACTERS:
            continue
        text = "".join(held)
        end = text.rfind("\n") + 1
        if end == 0 and not whole_lines:
            end = len(text) - text.endswith("\r")  # a line end may be torn in two here
        if end:
            yield text[:end]
        held, size = [text[end:]], len(text) - end
    if text := "".join(held):
        yield text


class _ZstdStream(io.RawIOBase):
    """A `.zst` file's bytes, unpacked by Arrow."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        self._failure = pyarrow.ArrowException
        self._stream = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except self._failure as error:
            raise OSError(f"damaged zstd data ({error})") from error
        buffer[: len(data)] = data
        return len(data)


def _read_text(file: FileInput, reading: Reading) -> Iterator[Text]:
    yield Text(file.blocks(reading), is_row=False)


def _read_html(file: FileInput, reading: Reading) -> Iterator[Text]:
    """The main text of a page, or all of its text where none stands out."""
    page = "".join(file.blocks(reading))
    if len(page) > LARGEST_HTML_BYTES:
        reading.report(f"{file.name}: a page of {len(page):,} characters; skipped, it is too large to be taken apart")
        return
    try:
        import trafilatura
    except ImportError as error:
        raise DataError(
            f"{file.name}: HTML needs the trafilatura library", got=str(error), do="pip install trafilatura"
        ) from None
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what matters is said below, once
    if not _HTML_BEGINS.search(page):
        page = f"<html><body>{page}</body></html>"  # a fragment
    text = trafilatura.extract(page, include_comments=False, favor_recall=True) or trafilatura.html2txt(page)
    if text:
        yield Text((text,), is_row=False)
    else:
        reading.report(f"{file.name}: a page without text; skipped")


def _read_jsonl(file: FileInput, reading: Reading) -> Iterator[Text]:
    return read_jsonl(file.blocks(reading, whole_lines=True), file.name, reading)


def _read_csv(file: FileInput, reading: Reading) -> Iterator[Text]:
    return read_csv(file.blocks(reading, whole_lines=True), file.name, reading)


def _read_tsv(file: FileInput, reading: Reading) -> Iterator[Text]:
    return read_tsv(file.blocks(reading, whole_lines=True), file.name, reading)


READERS: Mapping[str, Callable[[FileInput, Reading], Iterator[Text]]] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
}
SUFFIXES = (*READERS, ".parquet")
PACKED = (".gz", ".zst")


def split_suffixes(path: Path) -> tuple[str, str]:
    """What a file's name ends with: its kind and how it is packed (`.jsonl`, `.gz`), in lower case, or `""`."""
    suffix = path.suffix.lower()
    if suffix in PACKED:
        return Path(path.stem).suffix.lower(), suffix
    return suffix, ""


def is_known(path: Path) -> bool:
    """Whether a file's name ends with something that can be read."""
    return split_suffixes(path)[0] in SUFFIXES
