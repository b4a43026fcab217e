"""Texts cut into what counts as a word when two texts are compared.

Chinese and Japanese put no blanks between words, so each of their characters is one; elsewhere letters, marks and
digits that stand together are one. Capitals do not count. This file leaves out stems, and languages such as Thai that
need a dictionary.
"""

from __future__ import annotations

import re
import unicodedata

_ALONE = re.compile(
    "[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""Characters of Chinese and Japanese."""


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters.

    In English this is what rouge-score cuts (without stems), and other letters than a to z are kept.
    """
    found: list[str] = []
    together = False
    for character in unicodedata.normalize("NFC", text.lower()):
        if unicodedata.category(character)[0] not in "LMN":
            together = False
        elif _ALONE.match(character):
            found.append(character)
            together = False
        elif together:
            found[-1] += character
        else:
            found.append(character)
            together = True
    return found
