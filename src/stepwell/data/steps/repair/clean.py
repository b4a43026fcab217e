"""Text repaired: broken encodings, characters that are not text, remains of HTML, lines in a row.

Every repair has a setting and a count, and what is on by default leaves good English, Chinese and code as they are.
This file leaves out the repairs themselves (`encodings.py`, `characters.py`), lines that many documents share
(`boilerplate.py`), and what is dropped as a whole (`filters/quality`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, Literal
from unicodedata import is_normalized

from pydantic import Field

from stepwell.data.documents import Document, normalize
from stepwell.data.steps.repair import characters, encodings
from stepwell.data.steps.step import Arrays, Outcome, Step, StepConfig, needed
from stepwell.parsers import parse

Conversion = Literal["t2s", "s2t", "tw2s", "tw2sp", "s2tw", "s2twp", "hk2s", "s2hk", "t2tw", "t2hk"]


class CleanConfig(StepConfig):
    """What is repaired, in this order.

    Attributes:
        html: what remains of HTML: kept; entities (`&amp;`) replaced in texts without a `<`; tags taken out too; or of
            whole pages in rows the main text, as of a file, and of other texts the tags.
        page_seconds: a page that takes longer is dropped.
        mojibake: bring back text that was read in the wrong encoding.
        control_characters: take out what is not text; page breaks and the like become line ends.
        invisible_characters: take out soft hyphens, zero-width blanks and direction marks where no script needs them.
        ligatures: take joined letters of typesetters (`ﬁ`) apart.
        spaces: make blanks of any width spaces, but for the ideographic one.
        width: full-width letters and digits as ASCII, narrow Katakana wide; `all` takes the punctuation too, which is
            not how Chinese is written.
        chinese: a conversion of OpenCC between traditional and simplified characters; lines with Kana or Hangul stay.
        line_repeats: a line that follows itself is kept this many times.
        blank_lines: empty lines in a row that are kept.
    """

    kind: Literal["clean"] = "clean"
    html: Literal["keep", "entities", "tags", "main_text"] = "entities"
    page_seconds: float = Field(default=20.0, gt=0)
    mojibake: bool = True
    control_characters: bool = True
    invisible_characters: bool = True
    ligatures: bool = True
    spaces: bool = False
    width: Literal["keep", "letters", "all"] = "keep"
    chinese: Literal["keep"] | Conversion = "keep"
    line_repeats: int | None = Field(default=None, ge=1)
    blank_lines: int | None = Field(default=None, ge=0)


Repair = Callable[[str], str]


class Clean(Step[CleanConfig]):
    """Repair texts; drop those that are empty then."""

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        repairs = list(self._repairs())
        for document in documents:
            text = self._main_text(document.text, outcome)
            if text is None:
                outcome.dropped.append((document, "page_not_readable"))
                continue
            for name, repair in repairs:
                fixed = repair(text)
                if fixed != text:
                    outcome.changed[name] += 1
                    text = fixed
            if not text or text.isspace():
                outcome.dropped.append((document, "empty"))
                continue
            if "\ufffd" in text or _LOST_IN_GBK in text:
                outcome.findings["documents_with_lost_characters"] += 1
            if self.config.html in ("keep", "entities") and characters.has_tags(text):
                outcome.findings["documents_with_tags"] += 1
            outcome.kept.append(document.with_text(text))
        return outcome

    def _main_text(self, text: str, outcome: Outcome) -> str | None:
        """The main text of a page, other texts as they are; None when it cannot be had."""
        if self.config.html != "main_text" or not _PAGE.search(text[:_HEAD_CHARACTERS]):
            return text
        parsed = parse("html", text.encode(), self.config.page_seconds)
        if parsed.problem:
            return None
        outcome.changed["main_text"] += 1
        return normalize("\n".join(parsed.parts), "NFC" if is_normalized("NFC", text) else "none")

    def _repairs(self) -> Iterator[tuple[str, Repair]]:
        """The names of the repairs that are on, and how they are done, in order.

        An entity may stand for a control character, and the controls of Latin-1 say what went wrong with the encoding,
        so they go after both.
        """
        settings = self.config
        if settings.html != "keep":
            yield "html", characters.without_entities if settings.html == "entities" else characters.without_tags
        if settings.mojibake:
            yield "mojibake", encodings.repaired
        if settings.control_characters:
            yield "control_characters", characters.without_controls
        if settings.invisible_characters:
            yield "invisible_characters", characters.without_invisible
        if settings.ligatures:
            yield "ligatures", characters.without_ligatures
        if settings.spaces:
            yield "spaces", characters.with_plain_spaces
        if settings.width != "keep":
            yield "width", partial(characters.with_usual_width, punctuation=settings.width == "all")
        if settings.chinese != "keep":
            yield "chinese", partial(converted, conversion=settings.chinese)
        if settings.line_repeats is not None:
            yield "line_repeats", partial(with_fewer_repeats, times=settings.line_repeats)
        if settings.blank_lines is not None:
            yield "blank_lines", partial(with_fewer_blank_lines, lines=settings.blank_lines)


_LOST_IN_GBK = "锟斤拷"  # two U+FFFD in UTF-8, read as GBK
_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_HEAD_CHARACTERS = 4096
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_KANA_OR_HANGUL = re.compile("[\u3041-\u3096\u30a1-\u30fa\uac00-\ud7a3]")


@lru_cache
def _converter(conversion: Conversion) -> Any:
    return needed("opencc", "data", "clean: chinese").OpenCC(conversion)


def converted(text: str, conversion: Conversion) -> str:
    """Traditional Chinese made simplified, or the other way round.

    Args:
        text: lines with Kana or Hangul are Japanese or Korean, whose characters have another standard, and stay.
        conversion: a configuration of OpenCC, by its name.

    Raises:
        DataError: when OpenCC is not installed.
    """
    if text.isascii() or not _HAN.search(text):
        return text
    converter = _converter(conversion)
    if not _KANA_OR_HANGUL.search(text):
        return str(converter.convert(text))
    lines = text.split("\n")
    return "\n".join(line if _KANA_OR_HANGUL.search(line) else converter.convert(line) for line in lines)


def with_fewer_repeats(text: str, times: int) -> str:
    """A line that follows itself, kept so many times; blanks at its end do not count, those before it do."""
    kept: list[str] = []
    last, count = "", 0
    for line in text.split("\n"):
        same = line.rstrip()
        count = count + 1 if same == last else 1
        last = same
        if count <= times or not same:
            kept.append(line)
    return "\n".join(kept)


def with_fewer_blank_lines(text: str, lines: int) -> str:
    """At most so many empty lines in a row; one of blanks alone counts as empty."""
    return re.sub(rf"\n(?:[^\S\n]*\n){{{lines + 1},}}", "\n" * (lines + 1), text)
