"""Check digits beside python-stdnum: ID cards, bank cards, IBAN; telephone numbers of China beside libphonenumber."""

from __future__ import annotations

import random

import phonenumbers
import pytest
from stdnum import iban, luhn
from stdnum.cn import ric

from stepwell.data.steps.protect.detectors import detectors, find_all
from stepwell.data.steps.protect.numbers import iban_is_valid, id_card_is_valid, luhn_is_valid


def test_luhn() -> None:
    draw = random.Random(0)
    numbers = ["".join(draw.choices("0123456789", k=draw.randint(12, 19))) for _ in range(2000)]
    assert [luhn_is_valid(one) for one in numbers] == [luhn.is_valid(one) for one in numbers]
    assert any(map(luhn_is_valid, numbers))


def test_id_cards() -> None:
    """With every check character: exactly one is right for a number that can be."""
    draw = random.Random(0)
    seen = set()
    for _ in range(300):
        region = draw.choice(["110105", "310104"])  # the library knows when a region was founded
        born = f"{draw.randint(1960, 2015)}{draw.randint(1, 13):02d}{draw.randint(1, 31):02d}"
        body = f"{region}{born}{draw.randint(0, 999):03d}"
        for check in "0123456789X":
            assert id_card_is_valid(body + check) == ric.is_valid(body + check)
            seen.add(id_card_is_valid(body + check))
    assert seen == {True, False}


EXAMPLES = """AL35202111090000000001234567 AT483200000012345864 BE71096123456769 BR1500000000000010932840814P2
CH5604835012345678009 CY21002001950000357001234567 CZ5508000000001234567899 DE75512108001245126199
DK9520000123456789 EE471000001020145685 ES7921000813610123456789 FI1410093000123458
FR7630006000011234567890189 GB33BUKB20201555555555 GE60NB0000000123456789 GR9608100010000001234567890
HR1723600001101234565 HU93116000060000000012345676 IE64IRCE92050112345678 IL170108000000012612345
IS750001121234563108962099 IT60X0542811101000000123456 KW81CBKU0000000000001234560101 KZ563190000012344567
LT601010012345678901 LU120010001234567891 LV97HABA0012345678910 MC5810096180790123456789085
MT31MALT01100000000000000000123 NL02ABNA0123456789 NO8330001234567 PL10105000997603123456789123
PT50002700000001234567833 RO09BCYP0000001234567890 RS35105008123123123173 SA4420000001234567891234
SE7280000810340009783242 SI56192001234567892 SK8975000000000012345671 TR320010009999901234567890"""


@pytest.mark.parametrize("number", EXAMPLES.split())
def test_ibans(number: str) -> None:
    """Examples of the countries' banks, right and with two digits changed."""
    assert iban_is_valid(number)
    assert iban.is_valid(number)
    wrong = number[:-2] + str((int(number[-2:], 36) + 7) % 90).zfill(2)
    assert not iban_is_valid(wrong)
    assert not iban.is_valid(wrong)


FORMS = phonenumbers.PhoneNumberFormat


def test_every_number_of_china_that_libphonenumber_calls_valid_is_found() -> None:
    draw = random.Random(0)
    find = detectors(["phone"], ["CN"], False)
    written, missed = 0, []
    for _ in range(3000):
        area = draw.choice(["1", "010", "021", "0755", "0571", "0311"])
        count = 11 - len(area) if area == "1" else draw.choice([7, 8])
        digits = area + draw.choice("23456789") + "".join(draw.choices("0123456789", k=count - 1))
        number = phonenumbers.parse(digits, "CN")
        if not phonenumbers.is_valid_number(number):
            continue
        for form in (FORMS.NATIONAL, FORMS.INTERNATIONAL, FORMS.E164):
            text = phonenumbers.format_number(number, form)
            found = find_all(f"电话{text}请拨", find)
            written += 1
            if [(one.start, one.end) for one in found] != [(2, 2 + len(text))]:
                missed.append(text)
    assert written > 1000
    assert not missed
