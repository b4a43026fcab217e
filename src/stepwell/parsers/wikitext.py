"""The prose of a wiki page: its markup read by mwparserfromhell.

Templates, tables, references, pictures and categories are left out; links and headings leave their words. This file
leaves out the dumps that hold the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_DROPPED_TAGS = frozenset(
    {"ref", "references", "table", "gallery", "math", "timeline", "score", "syntaxhighlight", "templatestyles"}
)
_NOT_PROSE = re.compile(
    r"\s*(file|image|category|media|文件|檔案|档案|图像|圖像|圖片|图片|分类|分類|媒体|媒體)\s*:", re.IGNORECASE
)
_VARIANTS = re.compile(r"-\{([^{}]*)\}-")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_MAGIC_WORDS = re.compile(r"__[A-Z]+__")


def plain_text(data: bytes) -> Iterator[str]:
    """The prose of one page."""
    import mwparserfromhell

    text = "".join(_words(mwparserfromhell.parse(data.decode("utf-8", errors="replace"))))
    text = _VARIANTS.sub(_first_variant, _MAGIC_WORDS.sub("", text))
    yield _BLANK_LINES.sub("\n\n", text).strip()


def _words(code: Any) -> Iterator[str]:
    from mwparserfromhell import nodes

    for node in code.nodes:
        if isinstance(node, nodes.Text):
            yield node.value
        elif isinstance(node, nodes.Wikilink):
            if not _NOT_PROSE.match(str(node.title)):
                yield from _words(node.title if node.text is None else node.text)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                yield from _words(node.title)
        elif isinstance(node, nodes.Tag):
            yield from _of_tag(node)
        elif isinstance(node, nodes.Heading):
            yield "\n"
            yield from (word.strip() for word in _words(node.title))
            yield "\n"
        elif isinstance(node, nodes.HTMLEntity):
            yield node.normalize() or ""


def _of_tag(node: Any) -> Iterator[str]:
    name = str(node.tag).strip().lower()
    if name in _DROPPED_TAGS:
        return
    if name == "br":
        yield "\n"
    elif node.contents is not None:
        yield from _words(node.contents)


def _first_variant(both: re.Match[str]) -> str:
    """Of words in two scripts (`-{zh-hans:计算机; zh-hant:電腦}-`) the first; of a rule without them nothing."""
    inside = both[1].rpartition("|")[2]
    return inside.partition(";")[0].rpartition(":")[2].strip()
