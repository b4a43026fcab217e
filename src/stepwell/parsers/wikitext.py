"""The prose of a wiki page: its markup taken apart by mwparserfromhell.

Templates, tables, references, pictures and categories are left out; links and headings leave their words. The parser's
tokens are read as they come: building its tree of nodes would take ten times as long. This file leaves out the dumps
that hold the pages.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_DROPPED_TAGS = re.compile(
    "ref|references|table|gallery|math|timeline|score|syntaxhighlight|source|templatestyles|style", re.IGNORECASE
)
_NOT_PROSE = re.compile(
    r"\s*(file|image|category|media|文件|檔案|档案|图像|圖像|圖片|图片|分类|分類|媒体|媒體)\s*:", re.IGNORECASE
)
_VARIANTS = re.compile(r"-\{([^{}]*)\}-")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_MAGIC_WORDS = re.compile(r"__[A-Z]+__")


def plain_text(data: bytes) -> Iterator[str]:
    """The prose of one page."""
    text = _MAGIC_WORDS.sub("", _prose(data.decode("utf-8", errors="replace")))
    yield _BLANK_LINES.sub("\n\n", _VARIANTS.sub(_first_variant, text)).strip()


@dataclass
class _Open:
    """A piece of markup that is not closed yet.

    Attributes:
        parts: its text, in parts where it has several (of a link where it leads and what it shows).
    """

    parts: list[list[str]] = field(default_factory=lambda: [[]])

    def part(self, number: int) -> str:
        """The text of a part; `""` for one that it has not."""
        return "".join(self.parts[number]) if number < len(self.parts) else ""


def _nothing(markup: _Open) -> str:
    return ""


def _of_link(link: _Open) -> str:
    return "" if _NOT_PROSE.match(link.part(0)) else "".join(link.parts[-1])


def _of_tag(tag: _Open) -> str:
    """The contents of a tag: its parts are its name, its attributes, its contents, and its name again."""
    return "" if _DROPPED_TAGS.fullmatch(tag.part(0).strip()) else "".join(tag.parts[-2])


_OPEN = frozenset(
    {"TemplateOpen", "ArgumentOpen", "WikilinkOpen", "ExternalLinkOpen", "TagOpenOpen"}
    | {"HTMLEntityStart", "HeadingStart", "CommentStart"}
)
_NEXT_PART = frozenset({"WikilinkSeparator", "ExternalLinkSeparator", "TagAttrStart", "TagCloseOpen", "TagOpenClose"})
_CLOSE: Mapping[str, Callable[[_Open], str]] = {
    "TemplateClose": _nothing,
    "ArgumentClose": _nothing,
    "CommentEnd": _nothing,
    "WikilinkClose": _of_link,
    "ExternalLinkClose": lambda link: link.part(1),
    "TagCloseSelfclose": lambda tag: "\n" if tag.part(0).strip().lower() == "br" else "",
    "TagCloseClose": _of_tag,
    "HTMLEntityEnd": lambda entity: html.unescape(f"&{entity.part(0)};"),
    "HeadingEnd": lambda heading: f"\n{heading.part(0).strip()}\n",
}
"""Tokens that close markup -> the words that it leaves."""


def _prose(text: str) -> str:
    stack = [_Open()]
    for token in _tokenizer().tokenize(text):
        kind = type(token).__name__
        if kind == "Text":
            stack[-1].parts[-1].append(token.text)
        elif kind in _OPEN:
            stack.append(_Open())
        elif kind in _NEXT_PART:
            stack[-1].parts.append([])
        elif kind in _CLOSE:
            done = stack.pop()
            stack[-1].parts[-1].append(_CLOSE[kind](done))
        elif kind == "HTMLEntityNumeric":
            stack[-1].parts[-1].append("#")
        elif kind == "HTMLEntityHex":
            stack[-1].parts[-1].append(token.char)
    return "".join(one.part(0) for one in stack)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from mwparserfromhell import parser

    made = parser.Parser()  # type: ignore[no-untyped-call]
    return made._tokenizer  # the fast one where it was built; its tokens are documented, the way to them is not


def _first_variant(both: re.Match[str]) -> str:
    """Of words in two scripts (`-{zh-hans:计算机; zh-hant:電腦}-`) the first; of a rule without them nothing."""
    inside = both[1].rpartition("|")[2]
    return inside.partition(";")[0].rpartition(":")[2].strip()
