"""The text of a tree of elements, with line ends where the markup means them.

In XHTML what is not inline stands on lines of its own; in other XML, where names mean nothing to us, children stand on
lines of their own when their parent has no text beside them. This file leaves out finding the main text of a web page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_INLINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|q|ruby|rb|s|samp|small|span|"
    "strike|strong|sub|sup|time|tt|u|var|wbr"
)
_UNSEEN = frozenset({"script", "style", "head", "template", "svg", "math", "rt", "rp", "noscript"})
_BLANKS = re.compile(r"[ \t\r\f\v]*\n[ \t\r\f\v\n]*")
_SPACE = re.compile(r"\s+")


def local_name(element: Any) -> str:
    """An element's name without its namespace; `""` for a comment, an instruction or an entity."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def page_text(root: Any) -> str:
    """The text of an XHTML element; one block on each line."""
    return _tidy("".join(_pieces(root, _is_block, _UNSEEN)))


def record_text(root: Any) -> str:
    """The text of an element of any XML."""
    return _tidy("".join(_pieces(root, _is_alone, frozenset())))


def _is_block(element: Any) -> bool:
    return not _INLINE.fullmatch(local_name(element).lower())


def _is_alone(element: Any) -> bool:
    parent = element.getparent()
    if parent is None:
        return True
    return not (parent.text and parent.text.strip()) and not any(one.tail and one.tail.strip() for one in parent)


def _pieces(root: Any, is_block: Callable[[Any], bool], unseen: frozenset[str]) -> Iterator[str]:
    """Text in order, a line end around each block. An own stack: a tree may be deeper than Python calls."""
    stack: list[Any] = [root]
    while stack:
        here = stack.pop()
        if isinstance(here, str):
            yield here
            continue
        name = local_name(here)
        tail = _SPACE.sub(" ", here.tail) if here.tail and here is not root else ""
        if not name or name.lower() in unseen:
            yield tail
            continue
        end = "\n" if is_block(here) else ""
        yield end
        if here.text and name.lower() != "pre":
            yield _SPACE.sub(" ", here.text)
        elif here.text:
            yield here.text
        stack.append(end + tail)
        stack.extend(reversed(here))


def _tidy(text: str) -> str:
    return _BLANKS.sub("\n", text).strip()
