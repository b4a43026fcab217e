"""A wording in English and in Chinese.

Both languages go into the page and a switch shows one of them. This file leaves out what is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup, escape

from stepwell.studies.report.markup import visible


class Words(NamedTuple):
    """One wording in two languages; in the page each stands in an element of its own."""

    en: str
    zh: str

    def __html__(self) -> str:
        return self._in("span")

    def capital(self) -> Words:
        """The wording as the beginning of a sentence."""
        return Words(self.en[:1].upper() + self.en[1:], self.zh)

    def in_svg(self) -> Markup:
        """The wording for an SVG text."""
        return Markup(self._in("tspan"))

    def _in(self, tag: str) -> str:
        if self.en == self.zh:
            return str(escape(visible(self.en)))
        pair = ((self.en, "en", "en"), (self.zh, "zh", "zh-Hans"))
        return "".join(
            f'<{tag} class="{name}" lang="{code}">{escape(visible(wording))}</{tag}>' for wording, name, code in pair
        )


def same(text: str) -> Words:
    """A text that is the same in both languages."""
    return Words(text, text)


def joined(parts: list[Words]) -> Words:
    """Wordings one after the other, with commas."""
    return Words(", ".join(part.en for part in parts), "，".join(part.zh for part in parts))


def paragraph(sentences: list[Words]) -> Words:
    """Sentences one after the other; Chinese has no space between them."""
    return Words(" ".join(part.en for part in sentences), "".join(part.zh for part in sentences))


def filled(pair: tuple[str, str], values: Mapping[str, object] | None = None) -> Words:
    """A wording in both languages with its values filled in; a value may be `Words` itself."""
    en, zh = pair
    values = values or {}
    return Words(
        en.format(**{key: value.en if isinstance(value, Words) else value for key, value in values.items()}),
        zh.format(**{key: value.zh if isinstance(value, Words) else value for key, value in values.items()}),
    )
