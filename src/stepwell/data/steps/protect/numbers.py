"""Numbers with a rule: resident ID cards, bank cards, IBAN, US social security numbers.

Each has a shape, a check digit or a list of valid beginnings, and words beside it that speak against it (an order has a
number too). All patterns are bounded, so a long row of digits costs no more than its length. This file leaves out
telephone numbers (`phones.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from stepwell.data.steps.protect.clues import Span
from stepwell.data.steps.protect.labels import apart, label_of

# -- resident ID cards of China (GB 11643-1999) -----------------------------------------------------------------------

_ID_CARD = re.compile(r"(?<![0-9])[1-9][0-9]{5}(?P<gap>[ -]?)[0-9]{8}(?P=gap)[0-9]{3}[0-9Xx](?![0-9A-Za-z_]|[.,][0-9])")
_OLD_ID_CARD = re.compile(r"(?<![0-9])[1-9][0-9]{14}(?![0-9A-Za-z_]|[.,][0-9])")
_PROVINCES = frozenset(
    (11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63,
     64, 65, 71, 81, 82, 83, 91)
)  # fmt: skip
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_OLDEST, _YOUNGEST = 1880, 2100


def find_id_cards(text: str, window: Span) -> Iterator[Span]:
    """Numbers of 18 characters with a region, a date of birth and the check character of ISO 7064 MOD 11-2."""
    for match in _ID_CARD.finditer(text, *window):
        if id_card_is_valid(match.group()) and apart(text, match.start()) and not _in_a_decimal(text, match.start()):
            yield match.span()


def id_card_is_valid(number: str) -> bool:
    """Whether 18 characters, blanks and hyphens not counted, can be the number of a resident ID card.

    Source: GB 11643-1999; the check character is ISO 7064 MOD 11-2.
    """
    digits = re.sub("[ -]", "", number).upper()
    if len(digits) != 18 or int(digits[:2]) not in _PROVINCES or not _is_date(digits[6:14]):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, digits, strict=False))
    return "10X98765432"[total % 11] == digits[17]


def find_old_id_cards(text: str, window: Span) -> Iterator[Span]:
    """Numbers of 15 digits with a region and a date of birth in the 20th century; they have no check digit."""
    for match in _OLD_ID_CARD.finditer(text, *window):
        digits, start = match.group(), match.start()
        plausible = int(digits[:2]) in _PROVINCES and _is_date(f"19{digits[6:12]}")
        if plausible and apart(text, start) and not _in_a_decimal(text, start) and label_of(text, start) != "other":
            yield match.span()


def _is_date(digits: str) -> bool:
    try:
        return _OLDEST <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year < _YOUNGEST
    except ValueError:
        return False


def _in_a_decimal(text: str, start: int) -> bool:
    return start >= 2 and text[start - 1] in ".," and text[start - 2].isdigit()


# -- bank cards (ISO/IEC 7812) ----------------------------------------------------------------------------------------

_CARD = re.compile(
    r"(?<![0-9])(?:[0-9]{14,19}"
    r"|[0-9]{4}(?P<gap>[ \u00a0-])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}(?:(?P=gap)[0-9]{1,3})?"
    r"|[0-9]{4}(?P<gap_6>[ \u00a0-])[0-9]{6}(?P=gap_6)[0-9]{4,5}"
    r"|[0-9]{6}[ \u00a0-][0-9]{10,13})(?![0-9A-Za-z_]|[.,][0-9]|[ \u00a0-][0-9]{4}(?![0-9]))"
)
_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (400000, 499999, (16, 19)),  # Visa; its numbers of 13 digits are history, and look like those of goods
    (510000, 559999, (16,)),  # Mastercard
    (222100, 272099, (16,)),
    (340000, 349999, (15,)),  # American Express
    (370000, 379999, (15,)),
    (300000, 305999, (14,)),  # Diners Club
    (360000, 369999, (14,)),
    (380000, 399999, (14,)),
    (601100, 601199, (16, 19)),  # Discover
    (644000, 659999, (16, 19)),
    (352800, 358999, (16, 19)),  # JCB
    (620000, 629999, (16, 17, 18, 19)),  # UnionPay
    (810000, 817199, (16, 19)),
    (955880, 955889, (19,)),  # banks of China that numbered before UnionPay
    (601382, 601382, (19,)),
    (603000, 603999, (16, 19)),
    (690755, 690755, (15, 18)),
    (900000, 900010, (16, 19)),
    (940000, 989999, (16, 19)),
    (500000, 509999, (16, 18, 19)),  # Maestro
    (560000, 589999, (16, 18, 19)),
    (630000, 639999, (16, 18, 19)),
    (670000, 679999, (16, 18, 19)),
    (220000, 220499, (16,)),  # Mir
)
"""First and last beginning of six digits, and the lengths."""

_RARE = (900000, 500000, 940000, 560000, 630000, 670000, 810000, 690755)
"""Beginnings of issuers whose cards are believed only beside a word such as `card`."""


def find_bank_cards(text: str, window: Span) -> Iterator[Span]:
    """Numbers with the beginning and length of an issuer and Luhn's check digit."""
    for match in _CARD.finditer(text, *window):
        start = match.start()
        digits = re.sub("[^0-9]", "", match.group())
        certain = _issuer(digits)
        if certain is None or not luhn_is_valid(digits) or not apart(text, start) or _in_a_decimal(text, start):
            continue
        label = label_of(text, start)
        if label == "card" or (certain and label != "other"):
            yield match.span()


def _issuer(digits: str) -> bool | None:
    """Whether the issuer is a common one; None where there is none."""
    beginning = int(digits[:6])
    for first, last, lengths in _ISSUERS:
        if first <= beginning <= last and len(digits) in lengths:
            return first not in _RARE and len(digits) != 18 and len(set(digits)) > 2
    return None


def luhn_is_valid(digits: str) -> bool:
    """Whether the last digit is the check digit of the others by the formula of Luhn (ISO/IEC 7812-1, annex B)."""
    total = sum(map(int, digits[-1::-2])) + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return total % 10 == 0


# -- IBAN (ISO 13616) -------------------------------------------------------------------------------------------------

_IBAN = re.compile(
    r"(?<![0-9A-Za-z_])[A-Z]{2}[0-9]{2}(?:[A-Z0-9]{11,30}|(?P<gap>[ \u00a0-])[A-Z0-9]{4}(?:(?P=gap)[A-Z0-9]{4}){1,6}"
    r"(?:(?P=gap)[A-Z0-9]{1,4})?)(?![0-9A-Za-z_])"
)
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
"""Length -> countries."""
_IBAN_LENGTHS = {country: length for length, several in _IBAN_COUNTRIES.items() for country in several.split()}


def find_ibans(text: str, window: Span) -> Iterator[Span]:
    """Account numbers whose length fits their country and whose check digits are right (ISO 7064 MOD 97-10)."""
    for match in _IBAN.finditer(text, *window):
        end = match.end()
        while not iban_is_valid(text[match.start() : end]):  # a word in capitals may follow it
            end = max(text.rfind(gap, match.start(), end) for gap in " \u00a0-")
            if end < 0:
                break
        else:
            yield match.start(), end


def iban_is_valid(number: str) -> bool:
    """Whether this, blanks and hyphens not counted, is an IBAN.

    Source: ISO 13616; the lengths are those of SWIFT's registry.
    """
    plain = re.sub(r"[ \u00a0-]", "", number)
    if _IBAN_LENGTHS.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


# -- social security numbers of the United States ----------------------------------------------------------------------

_SSN = re.compile(
    r"(?<![0-9A-Za-z_-])(?!000|666|9)[0-9]{3}(?P<gap>[ -])(?!00)[0-9]{2}(?P=gap)(?!0000)[0-9]{4}"
    r"(?![0-9A-Za-z_]|[-.,][0-9])"
)


def find_ssns(text: str, window: Span) -> Iterator[Span]:
    """Numbers in the form of 123-45-6789 without the groups that are never given out."""
    for match in _SSN.finditer(text, *window):
        if label_of(text, match.start()) != "other":
            yield match.span()
