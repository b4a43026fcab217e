"""A text said a little differently, by draws alone: words left out, words swapped, words replaced by those of a list.

Words of an alphabet are found at their borders; Chinese ones by rjieba, or each character counts. Blanks and
punctuation stay where they are. This file leaves out rewriting by a model (`augment.py`).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from stepwell.data.steps.step import needed
from stepwell.errors import DataError

Chinese = Literal["words", "characters"]
"""What counts as a word of Chinese."""

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNIT = re.compile(rf"(?P<han>[{_HAN}]+)|(?:(?![{_HAN}])\w)+(?:['’-](?:(?![{_HAN}])\w)+)*|\s+|.", re.DOTALL)
_JOINED_UNITS = 4


def units_of(text: str, chinese: Chinese) -> list[str]:
    """Words, blanks and punctuation, in order; together they are the text again.

    Raises:
        DataError: when there is Chinese, its words are asked for, and rjieba is not installed.
    """
    units: list[str] = []
    for match in _UNIT.finditer(text):
        if match["han"] is None:
            units.append(match.group())
        elif chinese == "characters":
            units += match.group()
        else:
            jieba: Any = needed("rjieba", "data", "augment: Chinese words")
            units += jieba.cut(match.group())
    return units


def drop_words(text: str, ratio: float, chinese: Chinese, draw: random.Random) -> str:
    """Leave out each word with a chance of `ratio`, at least one and never all (random deletion of EDA).

    Source: Wei and Zou 2019, arXiv:1901.11196.
    """
    units = units_of(text, chinese)
    words = _words(units)
    if len(words) < 2:
        return text
    out = {place for place in words if draw.random() < ratio} or {draw.choice(words)}
    if len(out) == len(words):
        out.remove(draw.choice(words))
    kept: list[str] = []
    swallow = False
    for place, unit in enumerate(units):  # a word goes with the blank before it, or else the one behind
        if place in out and kept[-1:] == [" "]:
            kept.pop()
        elif place in out or (swallow and unit == " "):
            swallow = place in out
        else:
            swallow = False
            kept.append(unit)
    return "".join(kept)


def swap_words(text: str, ratio: float, distance: int, chinese: Chinese, draw: random.Random) -> str:
    """Let pairs of words change places, `ratio` of them, at least one pair (random swap of EDA).

    Args:
        text: any.
        ratio: share of the words, in (0, 1], that are moved.
        distance: how many words apart the two are at most.
        chinese: what counts as a word of Chinese.
        draw: gives the places.
    """
    units = units_of(text, chinese)
    words = _words(units)
    if len(words) < 2:
        return text
    for _ in range(max(1, round(ratio * len(words) / 2))):
        first = draw.randrange(len(words) - 1)
        second = min(first + draw.randint(1, distance), len(words) - 1)
        one, other = words[first], words[second]
        units[one], units[other] = units[other], units[one]
    return "".join(units)


def replace_words(text: str, ratio: float, synonyms: Mapping[str, Sequence[str]], draw: random.Random) -> str:
    """Put a synonym in the place of each word that has one, with a chance of `ratio`, at least one.

    A capital at the beginning stays. Chinese words that are cut finer than the list has them are found too.
    """
    units = units_of(text, "words")
    found: list[tuple[int, int]] = []
    place = 0
    while place < len(units):
        for end in range(min(place + _JOINED_UNITS, len(units)), place, -1):
            if "".join(units[place:end]).lower() in synonyms:
                found.append((place, end))
                place = end
                break
        else:
            place += 1
    if not found:
        return text
    chosen = [one for one in found if draw.random() < ratio] or [draw.choice(found)]
    for start, end in chosen:
        word = "".join(units[start:end])
        other = draw.choice(list(synonyms[word.lower()]))
        if word.isupper() and len(word) > 1:
            other = other.upper()
        elif word[0].isupper():
            other = other[0].upper() + other[1:]
        units[start:end] = [other, *[""] * (end - start - 1)]
    return "".join(units)


def _words(units: Sequence[str]) -> list[int]:
    return [place for place, unit in enumerate(units) if any(map(str.isalnum, unit))]


def read_synonyms(path: Path) -> dict[str, list[str]]:
    r"""A user's list of words with others that may stand for them.

    Args:
        path: lines of `word<TAB>other<TAB>other`, or with the ending `.jsonl` of `{"word": ..., "synonyms": [...]}`.

    Returns:
        Word in small letters -> the others, in the order of the file.

    Raises:
        DataError: when it cannot be read, or a line is not as it should be.
    """
    is_json = path.suffix == ".jsonl"
    wanted = '{"word": "big", "synonyms": ["large"]}' if is_json else "word<TAB>synonym, perhaps more after more tabs"
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"augment: {path}: cannot be read", got=str(error), wanted="text in UTF-8") from None
    synonyms: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word, others = _from_json(line) if is_json else _from_tabs(line)
        others = [one for one in others if one.lower() != word.lower()]
        if not word or not others:
            raise DataError(f"augment: {path}, line {number}: no word with synonyms", got=line[:80], wanted=wanted)
        held = synonyms.setdefault(word.lower(), [])
        held += (one for one in others if one not in held)
    if not synonyms:
        raise DataError(f"augment: {path}: no synonyms in it", wanted=wanted)
    return synonyms


def _from_tabs(line: str) -> tuple[str, list[str]]:
    word, *others = (part.strip() for part in line.split("\t"))
    return word, [one for one in others if one]


def _from_json(line: str) -> tuple[str, list[str]]:
    try:
        row = json.loads(line)
        word, others = row["word"], row["synonyms"]
    except (ValueError, KeyError, TypeError):
        return "", []
    if not isinstance(word, str) or not isinstance(others, list) or not all(isinstance(one, str) for one in others):
        return "", []
    return word.strip(), [one.strip() for one in others if one.strip()]
