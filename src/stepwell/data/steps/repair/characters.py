"""Single characters that are not text, and remains of markup, taken out of a text or replaced.

Each function makes a text of a text and knows nothing of the others; `clean.py` says in which order they come. What
some script needs stays: joiners of emoji, of Persian and of Indic scripts, direction marks beside Hebrew and Arabic,
blanks of Thai. This file leaves out wrong encodings (`encodings.py`).
"""

from __future__ import annotations

import html
import html.entities
import re
import unicodedata
from collections.abc import Callable

_LINE_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile(
    "\x1b\\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u206a-\u206f\ufff9-\ufffc\ufdd0-\ufdef\ufffe\uffff]"
)
_ANY_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u206a-\u206f\ufdd0-\ufdef\ufff9-\ufffc\ufffe\uffff]"
)


def without_controls(text: str) -> str:
    """Every kind of line end as a line feed; no other control characters, and no colours of a terminal."""
    return _CONTROLS.sub("", _LINE_BREAKS.sub("\n", text)) if _ANY_CONTROL.search(text) else text


_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_JOINING = (  # scripts whose letters change with a joiner: Arabic to Mandaic, Indic, Tibetan, Burmese, Khmer, Mongolian
    "\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u17ff\u1800-\u18af\ua8e0-\ua8ff\ua980-\ua9df\ufb50-\ufdff\ufe70-\ufefc"
)
_EMOJI = "\u20e3\u2190-\u2bff\u3030\u303d\ufe0e\ufe0f\U0001f000-\U0001faff\U000e0020-\U000e007f"
_NO_SPACES = "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"  # Thai to Tai Tham
_ANY_INVISIBLE = re.compile("[\xad\u200b-\u200d\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
_INVISIBLE = re.compile(
    "[\u00ad\u2060-\u2064\ufeff]"
    f"|(?<![{_NO_SPACES}])\u200b(?![{_NO_SPACES}])"
    f"|(?<![{_JOINING}])\u200c(?![{_JOINING}])"
    f"|(?<![{_JOINING}{_EMOJI}])\u200d(?![{_JOINING}])"
    "|(\U0001f3f4[\U000e0020-\U000e007e]{1,6}\U000e007f)"  # the flag of Wales
    "|[\U000e0000-\U000e007f]+"
)


def without_invisible(text: str) -> str:
    """No characters that nobody sees, but for those that change how their neighbours look.

    Gone are soft hyphens, zero-width blanks and joiners where no script or emoji has a use for them, marks of direction
    in lines without a letter that is written from right to left, and tags that do not belong to a flag.
    """
    if text.isascii():
        return text
    if _ANY_INVISIBLE.search(text):
        text = _INVISIBLE.sub(lambda match: match[1] or "", text)
    if not _DIRECTIONS.search(text):
        return text
    return "\n".join(line if _RIGHT_TO_LEFT.search(line) else _DIRECTIONS.sub("", line) for line in text.split("\n"))


_BLANKS = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f]")


def with_plain_spaces(text: str) -> str:
    """Blanks of any width as a space; the ideographic one, which indents Chinese paragraphs, stays."""
    return text if text.isascii() else _BLANKS.sub(" ", text)


_LIGATURE = re.compile("[\ufb00-\ufb06]")
_LIGATURES = ("ff", "fi", "fl", "ffi", "ffl", "st", "st")


def without_ligatures(text: str) -> str:
    """Letters that a typesetter joined (`ﬁ`), as PDF files have them; letters of a language (`œ`, `æ`, `ĳ`) stay."""
    return _LIGATURE.sub(lambda match: _LIGATURES[ord(match.group()) - 0xFB00], text)


_WIDE_LETTERS = {
    code: code - 0xFEE0 for first, last in ("０９", "ＡＺ", "ａｚ") for code in range(ord(first), ord(last) + 1)
}
_WIDE_ALL = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_NARROW = re.compile("[\uff66-\uffdc]+")  # Katakana and Hangul; a sound mark joins the letter before it


def with_usual_width(text: str, punctuation: bool) -> str:
    """Letters and digits of ASCII width, Katakana and Hangul of full width.

    Args:
        text: any.
        punctuation: whether full-width punctuation and the ideographic space become ASCII too, which Chinese is
            not written with.
    """
    if text.isascii():
        return text
    text = _NARROW.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
    return text.translate(_WIDE_ALL if punctuation else _WIDE_LETTERS)


_BLOCK_TAGS = (
    "address|article|aside|blockquote|body|br|center|dd|div|dl|dt|figcaption|figure|footer|form|h[1-6]|head|header|hr"
    "|html|li|main|nav|ol|option|p|pre|section|select|table|tbody|td|tfoot|th|thead|title|tr|ul"
)
_INLINE_TAGS = (
    "a|abbr|b|big|button|cite|code|del|em|font|i|iframe|img|input|ins|kbd|label|link|mark|meta|noscript|samp|small|span"
    "|strike|strong|sub|sup|svg|tt|u|var|video|wbr"
)
_TAG = re.compile(rf"</?(?:{_BLOCK_TAGS}|{_INLINE_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_BLOCK = re.compile(rf"(?:</?(?:{_BLOCK_TAGS})(?:\s[^<>]*)?/?>[ \t]*)+\n?", re.IGNORECASE)
_INLINE = re.compile(rf"</?(?:{_INLINE_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_OPENINGS = re.compile(r"<!--|<(script|style)(?:\s[^<>]*)?>", re.IGNORECASE)
_FENCE = re.compile(r"^[ ]{0,3}(```|~~~).*?(?:^[ ]{0,3}\1[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_NUMBERED = "#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}"
# Names that nobody gives a variable: `&sum;` and `&int;` are entities, and in C they are addresses.
_SURE = (
    "amp|lt|gt|quot|apos|nbsp|[mn]dash|hellip|[lr][sd]quo|[lr]aquo|middot|bull|euro|pound|szlig"
    "|[a-zA-Z](?:acute|grave|uml|circ|tilde|cedil|ring|slash)|(?:ae|AE)lig"
)
_SURE_ENTITY = re.compile(f"&(?:{_NUMBERED}|{_SURE});")
_ENTITY = re.compile(f"&(?:{_NUMBERED}|[A-Za-z][0-9A-Za-z]{{1,31}});")


def has_tags(text: str) -> bool:
    """Whether there is a tag of HTML in a text."""
    return "<" in text and _TAG.search(text) is not None


def without_entities(text: str) -> str:
    """Characters for `&amp;`, `&nbsp;`, `&#163;`, where that is surely meant.

    A text with a `<` is taken for a page that is meant as it is (the rule of ftfy's `unescape_html="auto"`), and names
    that may be those of variables stay.
    """
    return (
        text if "<" in text or "&" not in text else _outside_fences(text, lambda part: _unescaped(part, _SURE_ENTITY))
    )


def _unescaped(text: str, entity: re.Pattern[str]) -> str:
    for _ in range(2):  # `&amp;nbsp;` was escaped twice
        text = entity.sub(lambda match: _character(match.group()), text)
    return text


def _character(entity: str) -> str:
    return html.unescape(entity) if entity[1] == "#" else html.entities.html5.get(entity[1:], entity)


def _outside_fences(text: str, repair: Callable[[str], str]) -> str:
    """A repair done to everything but what stands between code fences."""
    parts, start = [], 0
    for fence in _FENCE.finditer(text):
        parts += [repair(text[start : fence.start()]), fence.group()]
        start = fence.end()
    return "".join([*parts, repair(text[start:])])


def without_tags(text: str) -> str:
    """No tags of HTML: lines where there were blocks, nothing of scripts, styles and comments; entities too.

    Only tags of HTML by their names, so `a < b` and `List<String>` stay; what stands between code fences stays as well.
    """
    return _outside_fences(text, _stripped) if "<" in text or "&" in text else text


def _stripped(text: str) -> str:
    return _unescaped(_INLINE.sub("", _BLOCK.sub("\n", _without_elements(text))), _ENTITY)


def _without_elements(text: str) -> str:
    """No scripts, styles and comments; one without an end loses its beginning only."""
    parts, start = [], 0
    missing: set[str] = set()  # ends that do not come any more, so that the search for them is not done again
    for opening in _OPENINGS.finditer(text):
        if opening.start() < start:
            continue
        name = (opening.group(1) or "").lower()
        end = None if name in missing else _end_of(name).search(text, opening.end())
        if end is None:
            missing.add(name)
        parts.append(text[start : opening.start()])
        start = opening.end() if end is None else end.end()
    return "".join([*parts, text[start:]])


def _end_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s*>" if name else "-->", re.IGNORECASE)
