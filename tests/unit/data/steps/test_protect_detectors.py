"""The edges of what is found: what touches a value, what nearly is one, and texts made to take for ever."""

from __future__ import annotations

import pytest

from stepwell.data.steps.protect.clues import narrow, suspects
from stepwell.data.steps.protect.detectors import detectors, find_all
from stepwell.data.steps.protect.keys import entropy
from stepwell.data.steps.protect.labels import label_of
from stepwell.data.steps.protect.numbers import iban_is_valid, id_card_is_valid, luhn_is_valid

EVERYTHING = ("secret", "email", "id_card", "old_id_card", "bank_card", "iban", "ip", "ssn", "phone")


def found(text: str, kinds=EVERYTHING, regions=("CN", "US"), private: bool = False) -> list[str]:
    several = find_all(text, detectors(kinds, regions, private))
    return [f"{one.kind} {text[one.start : one.end]}" for one in several]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("foo@gmail.com.It was late", ["email foo@gmail.com"]),
        ("jane@acme.com(work)，a@b.com--c", ["email jane@acme.com", "email a@b.com"]),
        ("foo@bar.com13800138000", ["email foo@bar.com"]),
        ("'o'neil@x.org'", ["email o'neil@x.org"]),
        ("scp me@host.com:dir/file git@host.com:a/b.git", []),
        ("..@b.com .@b.com a..b@c.com @b.com", []),
        ("x" * 65 + "@b.com", []),
        ("a@nosuchending.qqqq a@b.c1", []),
        ("作者françois.müller@x.de和иван@mail.ru", ["email françois.müller@x.de", "email иван@mail.ru"]),
        ("手机138.0013.8000，138.00138000", ["phone 138.0013.8000"]),
        ("400-800-1200 nm, 400-800-1200 normally", ["phone 400-800-1200"]),
        ("say 800 2200 300, call 800 2200 300", ["phone 800 2200 300"]),
        ("密码 Grapes_Dolphin_Sunshine，token = AuthTokenProvider, key=getMyKeyFromEnvNow", []),
        ("Decimal('+35236450.6') +6073641856.9", []),
        ('sections "8.2.4.44", to 224.0.0.1; {"memory_total_bytes": 15032385536}', []),
        ("13800138000 2024年，电话138 0013 8000 2次，138 0013 8000 1234", ["phone 13800138000", "phone 138 0013 8000"]),
        ("+44 20 7946 0958 2024, +86 13800138000 10次", ["phone +44 20 7946 0958", "phone +86 13800138000"]),
        ("邮箱ＺＨＡＮＧ＠ＱＱ．ＣＯＭ。", ["email ＺＨＡＮＧ＠ＱＱ．ＣＯＭ"]),
        ("加v13800138000，wx13800138000", ["phone 13800138000", "phone 13800138000"]),
        ("abc13800138000 x_13800138000 13800138000x", []),
        ("13800138000/13900139000、13700137000", ["phone 13800138000", "phone 13900139000", "phone 13700137000"]),
        ("0.13800138000 13800138000.5 13,800,138,000", []),
        ("1380013800 138001380000 12800138000", []),
        ("号码：13800138000元旦见", ["phone 13800138000"]),
        ("共13800138000元", []),
        ("15 20 25 30 35 40 45 50", []),
        ("订单电话：13800138000", ["phone 13800138000"]),
        ("电话订单：13800138000", []),
        ("订单号123，电话13800138000", ["phone 13800138000"]),
        ("联系电话：87654321", ["phone 87654321"]),
        ("共有87654321件", []),
        ("call 555-0123 or score 555-0123", ["phone 555-0123"]),
        ("https://wa.me/8613800138000", ["phone 8613800138000"]),
        ("https://a.com/13800138000", []),
        ("+1-212-555-0123, +999 123456789, C++11 2024", ["phone +1-212-555-0123"]),
        ("110105 19491231 002X", ["id_card 110105 19491231 002X"]),
        ("11010519491231002x", ["id_card 11010519491231002x"]),
        ("110105194902300021 11010519491231002XX", []),
        ("身份证110105491231002", ["old_id_card 110105491231002"]),
        ("编号110105491231002", []),
        ("ssn 123-45-6789 but not 000-45-6789, 923-45-6789, 123-45-6789-1", ["ssn 123-45-6789"]),
        ("4111 1111 1111 1111 2222", []),
        ("card 4111111111111111", ["bank_card 4111111111111111"]),
        ("GB82 WEST 1234 5698 7654 32 NOW", ["iban GB82 WEST 1234 5698 7654 32"]),
        ("GB83WEST12345698765432", []),
        ("8.8.4.4 256.8.4.4 08.8.4.4 8.8.4.4.4 v8.8.44.4", []),
        ("dns 8.8.4.4, 93.184.216.34:80", ["ip 8.8.4.4", "ip 93.184.216.34"]),
        ("2a01:4f8::1 and [2a01:4f8::1]:80", ["ip 2a01:4f8::1", "ip 2a01:4f8::1"]),
        ("postgres://me:s3cr3t@db.example.com/a", ["secret s3cr3t"]),
        ("postgres://me:${PASSWORD}@db.example.com/a", []),
        ("xAKIAIOSFODNN7EXAMPLE AKIAIOSFODNN7EXAMPLEx", []),
    ],
)  # fmt: skip
def test_edges(text: str, values: list[str]) -> None:
    assert found(text) == values


def test_a_private_key_is_masked_as_a_whole_and_where_it_is_cut_off() -> None:
    body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n" * 3
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    whole = f"{begin}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0102\n\n{body}{end}"
    assert found(f"a {whole} b {whole}") == [f"secret {whole}"] * 2
    assert found(f"a {begin}\n{body}") == [f"secret {begin}\n{body}"]
    assert found(f"{begin} is how it begins; -----BEGIN PUBLIC KEY-----\n{body}") == []
    escaped = whole.replace("\n", "\\n")
    assert found(f'{{"key": "{escaped}"}}') == [f"secret {escaped}"]


def test_a_country_asked_for_brings_its_own_way_of_writing() -> None:
    assert found("ring 01223 334 567 today") == []
    assert found("ring 01223 334 567 today", regions=("GB",)) == ["phone 01223 334 567"]
    assert found("13800138000", regions=("GB",)) == []


def test_addresses_of_private_networks_are_a_choice() -> None:
    text = "192.168.1.10, 127.0.0.1, fe80::1:2:3, 93.184.216.34"
    assert found(text) == ["ip 93.184.216.34"]
    assert found(text, private=True) == [f"ip {one}" for one in text.split(", ")]


def test_the_nearest_label_decides() -> None:
    words = ("订单电话：", "电话订单", "Tel. ", "card no: ", "ip ", "a, ", "")
    assert [label_of(text, len(text)) for text in words] == [
        "phone", "other", "phone", "card", "address", None, None,
    ]  # fmt: skip


def test_rules_of_numbers() -> None:
    assert luhn_is_valid("79927398713")
    assert not luhn_is_valid("79927398710")
    assert id_card_is_valid("11010519491231002X")
    assert not id_card_is_valid("110105194912310021")
    assert iban_is_valid("DE89 3704 0044 0532 0130 00")
    assert not iban_is_valid("DE89 3704 0044 0532 0130 01")
    assert entropy("abcd") == 2
    assert entropy("aaaa") == 0


def test_only_texts_with_a_clue_are_looked_into() -> None:
    clean = ["plain words in 1984", "", "老人走了", "a @ b", "a\n@x", "12 34 56", "a:b", "unbrokenletters"]
    texts = [*clean[:2], "long" * 4, "电话１３８００１３８０００", *clean[2:], "1.2.3.4", "a@b", "1:2:3", "12 34 567"]
    assert [texts[place] for place in suspects(texts)] == [one for one in texts if one not in clean]
    assert suspects([]) == []
    assert narrow("（１）ａ＠") == "（1）a@"


UNITS = [
    "1", "1 ", "1-", "1.", "+86 ", "0086", "a@", "a@a.", "@a", "@a.a", "a.", "eyJ", "eyJaaaaaaaaaa.", "sk-a1",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0", "api_key", "api_key=", "a:", "::",
    "(1", "+1", "2001:", "://a:b", "DE89 ", "DE8937040044 ", "13800138000",
    "a1B2-", "('", "１", "＠", "010-", "(212) 555-", "8.8.8.8",
    "a@b.com", "password: ", "a@xn--a.", "转1", "订单号13800138000，", "电话",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_the_work_grows_as_the_text_does(unit: str) -> None:
    """A pattern that goes back and forth over so long a text would take hours."""
    text = unit * (200_000 // len(unit)) + "x"
    found(text, regions=("CN", "US", "GB"), private=True)
