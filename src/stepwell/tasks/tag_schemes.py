"""Tags of words: which scheme they are written in, which spans they mean, and which may follow one another.

A scheme says with a letter where in a span a word stands: B begins it, I goes on, E or L ends it, S or U is all of it,
and O is outside. Tags of another kind, parts of speech for one, mean a span of one word each. NumPy alone. This file
leaves out how tags are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import DataError

Scheme = Literal["lenient", "BIO", "BIOES", "BILOU", "tokens"]
"""How tags are read.

`lenient`: any of B I E S O, or B I L U O; a span begins at B, at S, and wherever nothing of its type goes on (seqeval's
default, CoNLL's script). `BIO`, `BIOES`, `BILOU`: a span begins with B (or S, U), goes on with its own type, and of the
last two must be closed (seqeval's strict mode). `tokens`: each token is a span of its whole tag (parts of speech).
"""

TagScheme = Literal["BIO", "BIOES", "BILOU", "IO", "plain"]
"""How tags are written; `IO` has no letter for the beginning, and `plain` tags have no letters."""

Span = tuple[str, int, int]
"""Type, first token, token after the last."""

OUTSIDE = "O"

LETTERS: dict[TagScheme, str] = {"BIO": "BI", "BIOES": "BIES", "BILOU": "BILU", "IO": "I"}

_READ_LETTERS = {"lenient": "BIESLUO", "BIO": "BIO", "BIOES": "BIESO", "BILOU": "BILUO"}
_AS_BIOES = {"L": "E", "U": "S"}
_OUTSIDE_SHARE = 0.2
"""Of the words, from which on `O` beside tags without letters means that they are spans, and not parts of speech."""


def spans_of(tags: Sequence[str], scheme: Scheme = "lenient") -> list[Span]:
    """The spans of a sentence, in order.

    Args:
        tags: such as `B-place`; a letter without a type is one of the type `_`.
        scheme: how they are read.

    Raises:
        DataError: when a tag does not begin with a letter of the scheme.
    """
    if scheme == "tokens":
        return [(tag, at, at + 1) for at, tag in enumerate(tags)]
    parts = [_letter_and_type(tag, scheme) for tag in tags]
    return _lenient(parts) if scheme == "lenient" else _strict(parts, closed=scheme != "BIO")


def _letter_and_type(tag: str, scheme: Scheme) -> tuple[str, str]:
    letter, dash, kind = tag[:1], tag[1:2], tag[2:]
    if not letter or letter not in _READ_LETTERS[scheme] or dash not in ("", "-"):
        raise DataError(
            f"tag {tag!r}: cannot be read",
            wanted=f"one of {' '.join(_READ_LETTERS[scheme])}, and a type after a dash, such as B-place",
            do="name the scheme of the tags; tags that are no spans, such as parts of speech, are scheme='tokens'",
        )
    return _AS_BIOES.get(letter, letter), "" if letter == "O" else kind or "_"


def _lenient(parts: Sequence[tuple[str, str]]) -> list[Span]:
    spans: list[Span] = []
    begin, last, last_type = 0, "O", ""
    for at, (letter, kind) in enumerate([*parts, ("O", "")]):
        goes_on = letter in "IE" and last in "BI" and kind == last_type
        if last != "O" and not goes_on:
            spans.append((last_type, begin, at))
        if not goes_on:
            begin = at
        last, last_type = letter, kind
    return spans


def _strict(parts: Sequence[tuple[str, str]], *, closed: bool) -> list[Span]:
    """Args: closed, whether a span must end with E or S."""
    spans: list[Span] = []
    at = 0
    while at < len(parts):
        letter, kind = parts[at]
        end = at + 1
        if letter == "B":
            while end < len(parts) and parts[end] == ("I", kind):
                end += 1
            is_span = not closed
            if closed and end < len(parts) and parts[end] == ("E", kind):
                end, is_span = end + 1, True
        else:
            is_span = letter == "S"
        if is_span:
            spans.append((kind, at, end))
        at = end
    return spans


def span_types(*corpora: Sequence[Sequence[str]], scheme: Scheme = "lenient") -> tuple[str, ...]:
    """Types of all spans of some tagged corpora, sorted; they name the columns of `evaluation.TaggingScores`.

    Raises:
        DataError: when a tag cannot be read.
    """
    return tuple(sorted({kind for corpus in corpora for tags in corpus for kind, _, _ in spans_of(tags, scheme)}))


def reading_of(scheme: TagScheme) -> Scheme:
    """How tags of a scheme are read when they are judged: spans as seqeval does by default, plain tags one by one."""
    return "tokens" if scheme == "plain" else "lenient"


def found_scheme(tags: Counter[str]) -> TagScheme:
    """The scheme that tags are written in, by their letters.

    Args:
        tags: how often each is there.
    """
    if not all(_is_lettered(tag) for tag in tags):
        some = any(tag != OUTSIDE and tag[1:2] == "-" and _is_lettered(tag) for tag in tags)
        outside = len(tags) > 1 and tags[OUTSIDE] >= _OUTSIDE_SHARE * tags.total()
        return "IO" if outside and not some else "plain"
    letters = {tag[0] for tag in tags}
    if letters <= {OUTSIDE}:
        return "plain"
    for scheme, own in (("BILOU", "LU"), ("BIOES", "ESM"), ("BIO", "B")):
        if letters & set(own):
            return scheme  # type: ignore[return-value]
    return "IO"


def _is_lettered(tag: str) -> bool:
    return tag[:1] in tuple("OBIMESLU") and (len(tag) == 1 or (tag[1] == "-" and tag[0] != OUTSIDE))


def spelled(tag: str, scheme: TagScheme) -> str:
    """A tag as it is spelled here: M (of B M E S) is I, a letter alone has the type `_`, a type alone the letter I."""
    if scheme == "plain" or tag == OUTSIDE:
        return tag
    if len(tag) == 1 and scheme != "IO":
        tag = f"{tag}-_"
    if scheme == "IO" and tag[:2] != "I-":
        return f"I-{tag}"
    return f"I{tag[1:]}" if tag[:2] == "M-" else tag


def all_tags(kinds: Iterable[str], scheme: TagScheme) -> tuple[str, ...]:
    """Every tag that spans of some types can need, `O` first; plain tags are the types themselves."""
    if scheme == "plain":
        return tuple(sorted(kinds))
    return (OUTSIDE, *(f"{letter}-{kind}" for kind in sorted(kinds) for letter in LETTERS[scheme]))


def tags_of(spans: Iterable[Span], length: int, scheme: TagScheme) -> list[str]:
    """Spans written as tags of a scheme; of `IO`, spans of a type that touch become one.

    Args:
        spans: that do not overlap.
        length: words.
        scheme: with letters.
    """
    begins, goes_on, ends, alone = tuple({"BIO": "BIIB", "BIOES": "BIES", "BILOU": "BILU", "IO": "IIII"}[scheme])
    tags = [OUTSIDE] * length
    for kind, first, last in spans:
        letters = alone if last - first == 1 else begins + goes_on * (last - first - 2) + ends
        tags[first:last] = [f"{letter}-{kind}" for letter in letters]
    return tags


def repaired(tags: Sequence[str], scheme: TagScheme) -> tuple[list[str], int]:
    """Tags that keep to their scheme, read as seqeval reads them: a span that begins with I begins with B then.

    Returns:
        The tags, and how many were changed.
    """
    if scheme == "plain":
        return list(tags), 0
    right = tags_of(spans_of(tags), len(tags), scheme)
    return right, sum(map(str.__ne__, tags, right))


def allowed_transitions(tags: Sequence[str], scheme: TagScheme) -> NDArray[np.bool_]:
    """(K + 1, K + 1) which of K tags may follow which; the last row is the beginning, the last column the end.

    Args:
        tags: K of them.
        scheme: whose rules count.
    """
    size = len(tags)
    allowed = np.ones((size + 1, size + 1), bool)
    if scheme in ("plain", "IO"):
        return allowed
    parts = [_letter_and_type(tag, "lenient") for tag in tags]
    outside = ("O", "")
    for row, (letter, kind) in enumerate([*parts, outside]):
        for column, (next_letter, next_kind) in enumerate([*parts, outside]):
            goes_on = next_letter in "IE"
            is_open = letter in "BI"
            rightly = goes_on and is_open and kind == next_kind
            allowed[row, column] = rightly if goes_on else scheme == "BIO" or not is_open
    return allowed
