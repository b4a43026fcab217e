"""What all inputs share: a file, a sample or a dataset gives texts, and says what went wrong on the way.

This file leaves out how any of them is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


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
class Reading:
    """How inputs are read.

    Attributes:
        text_column: the column with the text, or None to find it by its name.
        columns: further columns that go with each text.
        encoding_errors: what happens to text that is not UTF-8.
        report: takes a sentence about something that was skipped or replaced.
    """

    text_column: str | None
    encoding_errors: Literal["replace", "skip"]
    report: Callable[[str], None]
    columns: tuple[str, ...] = ()


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
