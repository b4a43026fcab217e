"""What all inputs share: a file, a sample or a dataset gives texts, and says what went wrong on the way.

Reading has limits, so that no file can fill the disk, the memory or the evening. This file leaves out how any input is
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from stepwell.data.fields import Fields


@dataclass(frozen=True)
class Text:
    """One text, whole or in blocks that end at line ends.

    Attributes:
        blocks: the text; a long one comes in several blocks and is never held at once.
        is_row: whether it is one of many in its input (a row of a table), or a file of its own.
        columns: plain JSON values of its row that were asked for.
    """

    blocks: Iterable[str]
    is_row: bool
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What one stored file may ask for at most.

    Attributes:
        unpacked_bytes: of all that is unpacked from it, archives in archives included.
        expansion_ratio: unpacked bytes for each stored one; text rarely reaches 50.
        free_bytes: that may be unpacked whatever the ratio.
        members: files in an archive.
        nesting: archives in archives; 1 is an archive that lies in no other.
        page_bytes: of an HTML page or the text of one record.
        document_bytes: of a PDF, a Word or an EPUB file.
        line_characters: of one line of a table.
        seconds: for taking a page apart, or for each part of a larger document.
    """

    unpacked_bytes: int = 1 << 38
    expansion_ratio: int = 200
    free_bytes: int = 1 << 28
    members: int = 1_000_000
    nesting: int = 3
    page_bytes: int = 1 << 25
    document_bytes: int = 1 << 28
    line_characters: int = 1 << 28
    seconds: float = 30.0


@dataclass(frozen=True)
class Reading:
    """How inputs are read.

    Attributes:
        text_column: the column with the text, or None to find it by its name.
        encoding_errors: what happens to text that is not UTF-8.
        report: takes a sentence about something that was skipped or replaced.
        columns: further columns that go with each text.
        limits: what one file may ask for.
        fields: what an example of a task has; the text is then that of the fields, whatever `text_column` says.
    """

    text_column: str | None
    encoding_errors: Literal["replace", "skip"]
    report: Callable[[str], None]
    columns: tuple[str, ...] = ()
    limits: Limits = Limits()
    fields: Fields = field(default_factory=dict)


def with_care(texts: Iterable[Text], care: Callable[[], AbstractContextManager[None]]) -> Iterator[Text]:
    """Texts that are read inside of `care`, and so are their blocks, which are taken later.

    Args:
        texts: as they come.
        care: gives a context that may turn errors into others.
    """
    with care():
        for text in texts:
            in_hand = isinstance(text.blocks, tuple | list)
            yield text if in_hand else replace(text, blocks=_with_care(text.blocks, care))


def _with_care(blocks: Iterable[str], care: Callable[[], AbstractContextManager[None]]) -> Iterator[str]:
    with care():
        yield from blocks


@dataclass(frozen=True)
class NamedInput:
    """Something that is known by its name alone: a dataset, a sample.

    Attributes:
        source: as the person wrote it.
    """

    source: str

    @property
    def name(self) -> str:
        """How messages name it."""
        return self.source

    @property
    def num_bytes(self) -> int:
        """Not known."""
        return 0


class Input(Protocol):
    """Something that gives texts."""

    @property
    def source(self) -> str:
        """The source as the person wrote it."""

    @property
    def name(self) -> str:
        """How messages name this input."""

    @property
    def num_bytes(self) -> int:
        """Its size as it is stored; 0 where that is not known."""

    def fingerprint(self) -> str:
        """A hash of its content: the same content, the same hash.

        Raises:
            DataError: when it cannot be read.
        """

    def read(self, reading: Reading) -> Iterator[Text]:
        """Its texts, in a fixed order.

        Raises:
            DataError: when it cannot be read or is no text.
        """
