"""The text of a tree of elements, with line ends where the markup means them.

In XHTML what is not inline stands on lines of its own; in other XML, where names mean nothing to us, children stand on
lines of their own when their parent has no text beside them. This file leaves out finding the main text of a web page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_INLINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|q|ruby|rb|s|samp|small|span|"
    "strike|strong|sub|sup|time|tt|u|var|wbr"
)
_UNSEEN = frozenset({"script", "style", "head", "template", "svg", "math", "rt", "rp", "noscript"})
_SPACE = re.compile("[ \t\r\n\f]+")  # not the spaces that are signs of their own (no-break, ideographic)
_LINE_ENDS = re.compile("[ \t]*\n(?:[ \t]*\n)*")


def local_name(element: Any) -> str:
    """An element's name without its namespace; `""` for a comment, an instruction or an entity."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def page_text(root: Any) -> str:
    """The text of an XHTML element; one block on each line."""
    return _text(root, _by_name, _UNSEEN)


def record_text(root: Any) -> str:
    """The text of an element of any XML."""
    return _text(root, _by_company, frozenset())


def _by_name(parent: Any) -> list[bool]:
    """Whether each child stands on lines of its own: in XHTML by its name."""
    return [not _INLINE.fullmatch(local_name(child).lower()) for child in parent]


def _by_company(parent: Any) -> list[bool]:
    """Likewise where names mean nothing: when no text stands beside the children."""
    texts = [parent.text, *(child.tail for child in parent)]
    return [not any(text and text.strip() for text in texts)] * len(parent)


def _text(root: Any, are_blocks: Callable[[Any], list[bool]], unseen: frozenset[str]) -> str:
    """The text in order, a line end around each block; blanks count as in HTML: one for many, but for `pre`."""
    pieces = ["\n"]

    def add(text: str | None, as_it_is: bool) -> None:
        if text and not as_it_is:
            text = _SPACE.sub(" ", text)
            if pieces[-1][-1] in " \n":
                text = text.lstrip(" ")
        if text:
            pieces.append(text)

    stack: list[tuple[Any, bool, bool]] = [(root, True, False)]  # a tree may be deeper than Python calls
    while stack:
        here, is_block, as_it_is = stack.pop()
        if isinstance(here, str):
            add(here, as_it_is)
            continue
        name = local_name(here).lower()
        if here is not root:
            stack.append((here.tail or "", False, as_it_is))
        if not name or name in unseen:
            continue
        if is_block:
            pieces.append("\n")
            stack.append(("\n", False, True))
        as_it_is = as_it_is or name == "pre"
        add(here.text, as_it_is)
        stack.extend(
            (child, block, as_it_is) for child, block in reversed(list(zip(here, are_blocks(here), strict=True)))
        )
    return _LINE_ENDS.sub("\n", "".join(pieces)).strip("\n ")
