"""Text made safe for the page.

Text of a corpus, of a recipe or of a model goes into the page as text and never as markup: every element is built
here or by the template, and both escape. Characters that would be invisible or would reorder a line are shown by a
sign. This file leaves out the page's own wording.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup, escape

# C0 and C1 controls (but tab and line feed), bidirectional overrides and isolates, lone surrogates, noncharacters.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def visible(text: str) -> str:
    """The text with control characters as their signs (`␀`, `␛`), and a lone surrogate as the replacement sign."""
    return _UNSEEN.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def element(name: str, attributes: Mapping[str, object], *children: object) -> Markup:
    """One element; children that are not markup are escaped, attributes always are, None attributes are left out.

    Args:
        name: the tag, a constant of this package.
        attributes: attribute name -> value; a float is written with one decimal.
        children: text, numbers, markup, or objects with `__html__`.
    """
    pairs = [f' {key}="{escape(_plain(value))}"' for key, value in attributes.items() if value is not None]
    inside = "".join(escape(visible(child) if type(child) is str else child) for child in children)
    return Markup(f"<{name}{''.join(pairs)}>{inside}</{name}>")


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else visible(str(value))
