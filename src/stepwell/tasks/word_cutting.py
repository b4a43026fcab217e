"""Words of a text, cut as the words of the training data are.

Whoever asks gives a plain text; the data had words, and a model knows only such words. So how they were cut is found
once: each character for itself, at blanks, at blanks and signs, or as a dictionary finds words in Chinese. This file
leaves out tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stepwell.errors import DataError

Cut = Literal["characters", "signs", "blanks", "chinese_words"]
"""How words are cut: `characters`, each for itself; `blanks`, what stands between them; `signs`, likewise, and signs
at the ends of such a piece stand alone; `chinese_words`, likewise, and Chinese text as rjieba cuts it."""

_CHINESE = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_RUNS = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]+|[^\\s\u3400-\u9fff\U00020000-\U0003ffff]+")
_PIECES = re.compile(r"\S+")
_CLITICS = re.compile(r"(?i)(?<=\w)('s|'m|'re|'ve|'ll|'d|n't|’s|’m|’re|’ve|’ll|’d|n’t)$")
_KEPT_BEFORE = "@#$"
_SHARE = 0.98


@dataclass(frozen=True)
class Word:
    """A word in its text.

    Attributes:
        text: its characters.
        start: of the first of them.
        end: after the last.
    """

    text: str
    start: int
    end: int


def found_cut(sentences: Iterable[Sequence[str]]) -> Cut:
    """How the words of some sentences were cut.

    Args:
        sentences: words of each.
    """
    words = [word for sentence in sentences for word in sentence]
    chinese = [word for word in words if _CHINESE.search(word)]
    single = [word for word in chinese if len(word) == 1]
    if chinese and len(chinese) > 0.3 * len(words):
        return "characters" if len(single) >= _SHARE * len(chinese) else "chinese_words"
    signs = sum(len(word) > 1 and word[-1] in ".,;!?:。，；！？：" and word[-2].isalnum() for word in words)
    alone = sum(word in tuple(".,;!?:。，；！？：") for word in words)
    return "signs" if alone > signs else "blanks"


def cut_words(text: str, cut: Cut) -> list[Word]:
    """The words of a text with their places; blanks are no words.

    Raises:
        DataError: when Chinese words are wanted and rjieba is not there.
    """
    if cut == "characters":
        return [Word(one, at, at + 1) for at, one in enumerate(text) if not one.isspace()]
    found: list[Word] = []
    for piece in (_RUNS if cut == "chinese_words" else _PIECES).finditer(text):
        parts = [piece.group()]
        if cut == "chinese_words" and _CHINESE.match(parts[0]):
            parts = _chinese_words(parts[0])
        elif cut != "blanks":
            parts = _without_signs(parts[0])
        at = piece.start()
        for part in parts:
            found.append(Word(part, at, at + len(part)))
            at += len(part)
    return found


def _chinese_words(run: str) -> list[str]:
    try:
        import rjieba
    except ModuleNotFoundError:
        raise DataError(
            "words: Chinese text cannot be cut into words",
            got="no rjieba",
            wanted="the library rjieba, which stands in the extra `data`",
            do="pip install 'stepwell[data]', or give the words themselves, as a list",
        ) from None
    return list(rjieba.cut(run))


def _without_signs(piece: str) -> list[str]:
    """A piece between blanks: signs at its ends and endings such as 's for themselves; addresses stay whole."""
    if "://" in piece or piece.startswith("www."):
        return [piece]
    first, last = 0, len(piece)
    while first < last and not (piece[first].isalnum() or (piece[first] in _KEPT_BEFORE and last - first > 1)):
        first += 1
    while last > first and not piece[last - 1].isalnum():
        last -= 1
    middle = piece[first:last]
    ending = _CLITICS.search(middle)
    cut = [middle[: ending.start()], middle[ending.start() :]] if ending else [middle]
    return [*piece[:first], *(part for part in cut if part), *piece[last:]]


def words_in(value: Any) -> list[str] | None:
    """The words of a table's cell: a list, or a text whose words stand between blanks; None where it is neither."""
    if isinstance(value, str):
        return value.split()
    return None if not isinstance(value, list) else [str(one) for one in value]


def joined(words: Sequence[str], cut: Cut) -> tuple[str, list[Word]]:
    """Words as a text, and their places in it; between words that are no Chinese stands a blank.

    Args:
        words: in order.
        cut: how they were cut.
    """
    text, placed = "", []
    for word in words:
        if text and cut != "characters" and not (_CHINESE.match(text[-1]) or _CHINESE.match(word)):
            text += " "
        placed.append(Word(word, len(text), len(text) + len(word)))
        text += word
    return text, placed
