"""Where a detector needs to look, so that clean text costs next to nothing.

All texts of a shard are scanned together once, as bytes: those without a long number, an `@`, colons close together or
a long run of letters and digits have nothing in them. In the others each clue gives windows, and the exact patterns run
in these only. This file leaves out what a value must look like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

Span = tuple[int, int]
"""First character and the one after the last."""

Clue = Callable[[str], Sequence[Span]]
"""Windows of a text that are worth a closer look, in order, apart from each other."""

# -- which texts -------------------------------------------------------------------------------------------------------

_GAP_BYTES = rb"(?:[ .\-()/]|\xc2\xa0|\xe2\x80[\x90-\x94]|\xe3\x80\x80|\xef\xbc[\x88\x89\x8d])"
_NUMBER_BYTES = re.compile(
    rb"[0-9](?:(?:" + _GAP_BYTES + rb"{0,3}+[0-9]){6,}+|[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9])"
)
_AT_BYTES = re.compile(rb"@[0-9A-Za-z]")
_COLON_BYTES = re.compile(rb":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]")
_WIDE_BYTES = re.compile(rb"\xef\xbc[\x90-\x99\xa0]")
_LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_+-"
_LETTERS_AS_X = bytes(120 if one in _LETTERS else 32 for one in range(256))


def suspects(texts: Sequence[str]) -> list[int]:
    """Which texts have a clue of any kind; in the others nothing can be found.

    Args:
        texts: of a shard.

    Returns:
        Their places in the list, in order.
    """
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]  # JSON may spell half a character
    data = b"\n".join(encoded)
    ends = np.cumsum([len(one) + 1 for one in encoded])
    places = np.fromiter(_clue_places(data), np.int64)
    return [int(one) for one in np.unique(np.searchsorted(ends, places, side="right"))]


def _clue_places(data: bytes) -> Iterator[int]:
    for pattern in (_NUMBER_BYTES, _COLON_BYTES, _WIDE_BYTES):
        yield from (match.start() for match in pattern.finditer(data))
    yield from (match.start() for match in _AT_BYTES.finditer(data) if data[match.start() - 1] > 32)
    yield from (start for start, _ in _runs(data))


def _runs(data: bytes) -> Iterator[Span]:
    """Runs of 16 or more letters; looking for 16 times the same skips most of a text."""
    letters = data.translate(_LETTERS_AS_X) + b" "
    start = letters.find(b"x" * 16)
    while start >= 0:
        end = letters.find(b" ", start)
        yield start, end
        start = letters.find(b"x" * 16, end)


# -- where in a text ---------------------------------------------------------------------------------------------------

GAP = r"[ \u00a0\u3000.\-\u2010-\u2014/()（）－]"
"""What may stand between the digits of one number."""

_AROUND = 40
"""Characters on both sides of what a scan found that belong to its window."""

_NUMBER = re.compile(rf"[0-9](?:(?:{GAP}{{0,3}}+[0-9]){{6,}}+|[0-9]{{0,2}}\.[0-9]{{1,3}}\.[0-9]{{1,3}}\.[0-9])")
_AT = re.compile(r"@[0-9A-Za-z]")
_COLON = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]")
_WIDE_RUN = re.compile("[０-９Ａ-Ｚａ-ｚ＠＋－．＿]+")
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}


def narrow(text: str) -> str:
    """A text with full-width digits and letters as one to read: the same length, ASCII for full width.

    It is for finding only; a text without full-width digits and `@` is given back as it is.
    """
    if text.isascii() or not _WIDE_BYTES.search(text.encode("utf-8", "surrogatepass")):
        return text
    return _WIDE_RUN.sub(lambda match: match.group().translate(_NARROW), text)


def long_numbers(text: str) -> list[Span]:
    """Around numbers of seven digits or more, what parts them not counted, and four parted by dots."""
    return list(_windows((match.span() for match in _NUMBER.finditer(text)), len(text)))


def ats(text: str) -> list[Span]:
    """Around each `@` with a letter or digit after it."""
    return list(_windows((match.span() for match in _AT.finditer(text)), len(text), 80)) if "@" in text else []


def colons(text: str) -> list[Span]:
    """Around hexadecimal digits between two colons."""
    return list(_windows((match.span() for match in _COLON.finditer(text)), len(text)))


def long_runs(text: str) -> list[Span]:
    """Around 16 or more ASCII letters, digits, `_`, `+` and `-` without a break."""
    return list(_windows(_runs(text.encode("ascii", "replace")), len(text), 80))


def key_blocks(text: str) -> list[Span]:
    """All of a text that speaks of a private key."""
    return [(0, len(text))] if "PRIVATE KEY" in text else []


def _windows(spans: Iterable[Span], length: int, around: int = _AROUND) -> Iterator[Span]:
    """Spans with their surroundings; those that touch are one."""
    begin, end = 0, -1
    for start, stop in spans:
        if end < 0 or start - around > end:
            if end >= 0:
                yield begin, end
            begin = max(0, start - around)
        end = min(stop + around, length)
    if end >= 0:
        yield begin, end
