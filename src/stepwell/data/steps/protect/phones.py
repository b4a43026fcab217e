"""Telephone numbers: mainland China's mobile and fixed ones, those of North America, and any with a country code.

Shapes come first and cheaply; where a shape alone says too little, the plan of the country (phonenumbers, Google's
libphonenumber) or the words beside the number decide. This file leaves out short numbers of services (110, 95588),
which belong to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stepwell.data.steps.protect.clues import Span
from stepwell.data.steps.protect.labels import apart, label_of
from stepwell.data.steps.step import needed

_S = r"[ \u00a0\-\u2010-\u2014－]"
_END = r"(?![0-9A-Za-z_]|[.,][0-9]|[%％]|\.(?:html?|jpe?g|png|gif|webp|pdf|txt|mp[34]|zip|docx?|xlsx?)\b)"
_CODE = rf"(?:[(（](?:\+|00)?86[)）]|(?:\+|00)?86){_S}?"
_EXTENSION = rf"(?:(?:[\-\u2010-\u2014－]|转|{_S}?(?:ext\.?|x|分机)[ :：]?)[0-9]{{1,5}}(?![0-9\-]))?"

_GROUPS = r"[0-9]{4}(?P=gap)[0-9]{4}|[0-9]{8}|[0-9]{3}(?P=gap)[0-9]{5}"
_MOBILE = re.compile(
    rf"(?<![0-9])(?:{_CODE})?1[3-9][0-9]"
    rf"(?:[0-9]{{8}}|(?P<gap>{_S})(?:{_GROUPS})(?!(?P=gap)[0-9]{{4}}(?![0-9]))|\.[0-9]{{4}}\.[0-9]{{4}}){_END}"
)
_FIXED = re.compile(
    rf"(?<![0-9])(?:(?P<code>{_CODE})[(（]?0?|[(（]?0)(?:(?P<city>10|2[0-9])|[3-9][0-9]{{2}})(?P<gap>[)）]{_S}?|{_S}{{1,3}}+)?"
    rf"(?(city)[1-9][0-9]{{3}}|[1-9][0-9]{{2,3}}){_S}?[0-9]{{4}}{_EXTENSION}{_END}"
)
_SERVICE = re.compile(
    rf"(?<![0-9])[48]00(?P<gap>{_S}?)(?:[0-9]{{3}}{_S}?[0-9]{{4}}|(?P<rare>[0-9]{{4}}{_S}?[0-9]{{3}})){_EXTENSION}{_END}"
)
_AMERICA = re.compile(
    rf"(?<![0-9])(?:\+?1{_S}?|\+?1\.)?"
    rf"(?:\([2-9][0-9]{{2}}\){_S}?[1-9][0-9]{{2}}[ .\-\u2010-\u2014][0-9]{{4}}"
    rf"|[1-9][0-9]{{2}}(?P<gap>[ .\-\u2010-\u2014])[0-9]{{3}}(?P=gap)[0-9]{{4}})"
    rf"(?: ?(?:x|ext\.?|extension|#) ?[0-9]{{1,6}})?{_END}",
    re.IGNORECASE,
)
_ABROAD = re.compile(r"(?<![0-9A-Za-z_])(?:\+|00)[1-9](?:[ \u00a0.\-\u2010-\u2014()/]{0,3}+[0-9]){6,16}+(?![A-Za-z_])")
_DECIMAL = re.compile(r"\+[0-9]+\.[0-9]+")
_DECIMAL_ENDS = re.compile(r"[.,][0-9]")
_GROUPED = re.compile(r"[0-9][ \u00a0.\-\u2010-\u2014()/]+[0-9]")
_LAST_GROUP = re.compile(r"[ \u00a0.\-\u2010-\u2014()/]+[0-9]+\Z")
_MOST_GROUPS_LEFT_OUT = 3
_BARE = re.compile(rf"(?<![0-9A-Za-z_.,-])(?:[0-9]{{3}}-[0-9]{{4}}|[2-9][0-9]{{6,9}}){_END}")
_AMOUNT = re.compile(
    r"\s?(?:元(?!旦|宵)|万|亿|美元|港元|日元|円|人民币|块|吨|公里|字节|千米"
    r"|(?:dollars|euros|yen|yuan|bytes|[kKMGT]B|[kcmn]m|ms|kg|[kMG]?Hz|px)\b)"
)
_UNCLOSED = re.compile(r"[(（][^)）]*\Z")
_JOINING = tuple("/=?&_-")
_ELSEWHERE = re.compile(r"(?:://|\bwww\.|\.(?:com|cn|net|org)/)[!-~]*[/=?&_\-]\Z|(?:\A|[\s=(*/+])-\Z")
"""Within the address of a page, and after a minus."""
_LONE_PRICE = re.compile(r"[$¥￥€£]\s?\Z")


def find_phones(regions: Sequence[str]) -> Callable[[str, Span], Iterator[Span]]:
    """What finds telephone numbers.

    Args:
        regions: whose national way of writing counts: CN, US, and others by their letters in ISO 3166.
    """
    shapes = [_abroad]
    if "CN" in regions:
        shapes += [_mobile, _fixed, _service]
    if {"US", "CA"} & set(regions):
        shapes += [_america]
    others = [region for region in regions if region not in ("CN", "US", "CA")]

    def find(text: str, window: Span) -> Iterator[Span]:
        for shape in (*shapes, _bare):
            for start, end in shape(text, window):
                start += _UNCLOSED.match(text, start, end) is not None  # it opens what goes on after the number
                if _is_alone(text, start, end):
                    yield start, end
        for region in others:
            yield from _national(text, window, region)

    return find


def _mobile(text: str, window: Span) -> Iterator[Span]:
    for match in _MOBILE.finditer(text, *window):
        if not (match["gap"] and _goes_on_before(text, match.start())):
            yield match.span()


def _fixed(text: str, window: Span) -> Iterator[Span]:
    for match in _FIXED.finditer(text, *window):
        start = match.start()
        if match["code"]:
            plausible = not match["code"][0].isdigit() or match["code"].startswith("00") or match["gap"] is not None
        elif match["gap"]:
            plausible = not _goes_on_before(text, start)
        else:
            plausible = _is_valid(match.group(), "CN")
        if plausible or label_of(text, start) == "phone":
            yield match.span()


def _service(text: str, window: Span) -> Iterator[Span]:
    for match in _SERVICE.finditer(text, *window):
        parted = match["gap"] and not (match["gap"] == " " and match["rare"])
        if (parted and not _goes_on_before(text, match.start())) or label_of(text, match.start()) == "phone":
            yield match.span()


def _america(text: str, window: Span) -> Iterator[Span]:
    for match in _AMERICA.finditer(text, *window):
        start, found = match.start(), match.group()
        if _goes_on_before(text, start):
            continue
        if match["gap"] in (" ", ".") and not _is_valid(found, "US") and label_of(text, start) != "phone":
            continue
        yield match.span()


def _abroad(text: str, window: Span) -> Iterator[Span]:
    for match in _ABROAD.finditer(text, *window):
        start, end = match.span()
        number = match.group()
        if _DECIMAL.fullmatch(number) or _DECIMAL_ENDS.match(text, end):
            continue
        valid_end = _valid_end(text, start, end)
        if valid_end is not None:
            yield start, valid_end
            continue
        marked = number[0] == "+" and (_GROUPED.search(number) or label_of(text, start) == "phone")
        if marked and _ask("is_possible_number", number, None):
            yield start, end


def _valid_end(text: str, start: int, end: int) -> int | None:
    """Where the longest valid number ends that begins here; numbers of other things may follow it."""
    for _ in range(_MOST_GROUPS_LEFT_OUT + 1):
        if _is_valid("+" + text[start:end].lstrip("+0"), None):
            return end
        last = _LAST_GROUP.search(text, start, end)
        if last is None:
            return None
        end = last.start()
    return None


def _bare(text: str, window: Span) -> Iterator[Span]:
    """Without area code or any mark: believed beside a word such as `call` only."""
    for match in _BARE.finditer(text, *window):
        if label_of(text, match.start()) == "phone":
            yield match.span()


def _national(text: str, window: Span, region: str) -> Iterator[Span]:
    """As a country writes its numbers, groups and all."""
    library: Any = needed("phonenumbers", "data", "protect")
    begin, end = window
    found = library.PhoneNumberMatcher(
        text[begin:end], region, leniency=library.Leniency.STRICT_GROUPING, max_tries=1000
    )
    for match in found:
        start = begin + match.start
        if label_of(text, start) != "other":
            yield start, begin + match.end


def _is_alone(text: str, start: int, end: int) -> bool:
    """Whether this is neither a part of a word or a decimal, nor a price, nor said to be another number."""
    if start >= 2 and text[start - 1] in ".," and text[start - 2].isdigit():
        return False
    if _AMOUNT.match(text, end) or _LONE_PRICE.search(text[max(0, start - 2) : start]):
        return False
    label = label_of(text, start)
    in_a_row = " " in text[start:end] and text[start] != "+" and re.match(" [0-9]", text[end : end + 2])
    if in_a_row and label != "phone":
        return False
    elsewhere = (
        label != "phone"
        and text[start - 1 : start] in _JOINING
        and _ELSEWHERE.search(text[max(0, start - 100) : start])
    )
    return apart(text, start) and label != "other" and not elsewhere


def _goes_on_before(text: str, start: int) -> bool:
    """Whether digits stand before this with a blank or a hyphen between: then this is only a part of a number."""
    return start >= 2 and text[start - 1] in " \u00a0-./" and text[start - 2].isdigit()


def _is_valid(number: str, region: str | None) -> bool:
    return _ask("is_valid_number", number, region)


def _ask(question: str, number: str, region: str | None) -> bool:
    library: Any = needed("phonenumbers", "data", "protect")
    try:
        return bool(getattr(library, question)(library.parse(number, region)))
    except library.NumberParseException:
        return False
