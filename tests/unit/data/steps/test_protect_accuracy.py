"""Personal data is found and harmless numbers stay: precision and recall on planted sentences in English and Chinese.

Every value is made up from its rule (check digits too), in the ways in which people write it; between them stand
numbers of orders, versions, dates, prices, hashes, books and code. What is found must have the very borders that were
planted.
"""

from __future__ import annotations

import gzip
import random
import string
from collections import Counter
from collections.abc import Callable

import pytest

from stepwell.data.documents import Document
from stepwell.data.steps.protect.detectors import find_all
from stepwell.data.steps.protect.protecting import KINDS, Protect, ProtectConfig
from stepwell.data.steps.step import Surroundings

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
Draw = random.Random
Make = Callable[[Draw], str]


def some(draw: Draw, count: int, letters: str = string.digits) -> str:
    return "".join(draw.choice(letters) for _ in range(count))


def pattern(draw: Draw, form: str) -> str:
    """`N` is a digit from 2 to 8, `#` any."""
    return "".join({"N": draw.choice("2345678"), "#": draw.choice("0123456789")}.get(one, one) for one in form)


def with_luhn(draw: Draw, start: str, length: int) -> str:
    body = start + some(draw, length - len(start) - 1)
    total = sum(sum(map(int, str(int(one) * (2 - place % 2)))) for place, one in enumerate(reversed(body)))
    return body + str(-total % 10)


def id_card(draw: Draw) -> str:
    region = draw.choice(["110105", "310104", "440305", "510107", "230103", "650102", "810000", "542621"])
    born = f"{draw.randint(1935, 2015)}{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}"
    body = region + born + some(draw, 3)
    remainder = (12 - sum(int(one) * 2 ** (17 - place) for place, one in enumerate(body)) % 11) % 11
    return body + ("X" if remainder == 10 else str(remainder))


def wrong_last(number: str, draw: Draw, letters: str = string.digits) -> str:
    return number[:-1] + draw.choice([one for one in letters if one != number[-1]])


def mobile(draw: Draw) -> str:
    a, b, c = f"1{draw.choice('3456789')}{some(draw, 1)}", some(draw, 4), some(draw, 4)
    forms = ["{}{}{}", "{}-{}-{}", "{} {} {}", "+86{}{}{}", "+86 {}{}{}", "+86-{}-{}-{}", "0086{}{}{}",
             "86-{}{}{}", "(+86){}{}{}", "（+86）{}{}{}", "{}-{}{}"]  # fmt: skip
    wide = str.maketrans(string.digits, "０１２３４５６７８９")
    written = draw.choice([*forms, "wide"])
    return (a + b + c).translate(wide) if written == "wide" else written.format(a, b, c)


def landline(draw: Draw) -> str:
    city = draw.choice(["010", "021", "028"])
    town = draw.choice(["0311", "0571", "0755", "0898", "0991"])
    form = draw.choice([f"{city}-N#######", f"({city})N#######", f"（{city}）N#######", f"{city} N#######",
                        f"{town}-N######", f"{town}-N#######转8##", f"+86-{city[1:]}-N#######",
                        f"+86 {city[1:]} N### ####", f"({town}) N#######", f"{town}－N#######",
                        "400-###-####", "400-####-###"])  # fmt: skip
    return pattern(draw, form)


def abroad(draw: Draw) -> str:
    a, b, c = draw.choice(["212", "415", "617", "303"]), pattern(draw, "N37"), some(draw, 4)
    forms = ["+44 20 7NNN NNNN", "+44 (0)20 7NNN NNNN", "+447911 NNNNNN", "+49 30 22NNNNNN", "+33 1 42 NN NN NN",
             "+81-3-32NN-NNNN", "+852 23NN NNNN", "+65 62NN NNNN", "+91 98NNN NNNNN", "+7 (495) 223-NN-NN",
             "+61 2 98NN NNNN", "0044 20 7NNN NNNN", "+886 2 23NN NNNN"]  # fmt: skip
    american = [f"({a}) {b}-{c}", f"{a}-{b}-{c}", f"{a}.{b}.{c}", f"1-{a}-{b}-{c}", f"+1 ({a}) {b}-{c}", f"+1{a}{b}{c}",
                f"({a}) {b}-{c} ext. 12"]  # fmt: skip
    return draw.choice(american) if draw.random() < 0.5 else pattern(draw, draw.choice(forms))


def email(draw: Draw) -> str:
    names = [
        "zhang.san",
        "li_lei",
        "j.o-doe",
        "info",
        "user+tag",
        f"138{some(draw, 8)}",
        some(draw, 9),
        "Han.Mei",
        "o'brien",
    ]
    hosts = ["qq.com", "163.com", "gmail.com", "mail.tsinghua.edu.cn", "sina.com.cn", "firm.co.uk", "my-site.io",
             "a.b.example.net", "USA.NET", "start.ai", "shop.xyz"]  # fmt: skip
    return f"{draw.choice(names)}@{draw.choice(hosts)}"


def bank_card(draw: Draw) -> str:
    kinds = [("4", 16), ("51", 16), ("6222", 19), ("6217", 19), ("6259", 16), ("37", 15), ("6011", 16), ("3528", 16)]
    number = with_luhn(draw, *draw.choice(kinds))
    if len(number) == 15:
        return draw.choice([number, f"{number[:4]} {number[4:10]} {number[10:]}"])
    groups = [number[at : at + 4] for at in range(0, len(number), 4)]
    return draw.choice([number, " ".join(groups), "-".join(groups)])


def ip(draw: Draw) -> str:
    four = ".".join(
        map(str, [draw.choice([23, 47, 93, 114, 183, 202, 221]), *(draw.randint(10, 254) for _ in range(3))])
    )
    six = "240e:" + ":".join(f"{draw.randint(4096, 65535):x}" for _ in range(7))
    return draw.choice([four, four, six, f"2001:db9::{draw.randint(4096, 65535):x}"])


def iban(draw: Draw) -> str:
    country, body = draw.choice([("DE", some(draw, 18)), ("GB", "WEST" + some(draw, 14)), ("FR", some(draw, 23)),
                                 ("NL", "ABNA" + some(draw, 10)), ("NO", some(draw, 11))])  # fmt: skip
    check = 98 - int("".join(str(int(one, 36)) for one in f"{body}{country}00")) % 97
    number = f"{country}{check:02d}{body}"
    return draw.choice([number, " ".join(number[at : at + 4] for at in range(0, len(number), 4))])


def secret(draw: Draw) -> str:
    makers: list[Callable[[], str]] = [
        lambda: "AKIA" + some(draw, 16, string.ascii_uppercase + "234567"),
        lambda: "ghp_" + some(draw, 36, ALNUM),
        lambda: "github_pat_" + some(draw, 22, ALNUM) + "_" + some(draw, 59, ALNUM),
        lambda: "sk-" + some(draw, 48, ALNUM),
        lambda: "sk-proj-" + some(draw, 64, ALNUM + "_-") + "a1B2",
        lambda: f"xoxb-{some(draw, 12)}-{some(draw, 12)}-{some(draw, 24, ALNUM)}",
        lambda: "AIza" + some(draw, 35, ALNUM),
        lambda: "hf_" + some(draw, 34, ALNUM),
        lambda: f"eyJhbGciOiJIUzI1NiJ9.eyJ{some(draw, 40, ALNUM)}.{some(draw, 43, ALNUM)}",
        lambda: "LTAI5t" + some(draw, 18, ALNUM),
    ]
    return draw.choice(makers)()


def value_of_a_key(draw: Draw) -> str:
    return draw.choice(
        [some(draw, 32, HEX), some(draw, 32, ALNUM), some(draw, 40, ALNUM), some(draw, 22, ALNUM) + "=="]
    )


PLANTED: list[tuple[str, Make, list[str], list[str]]] = [
    ("email", email, ["Write to {} for tickets.", "(mail: {})", "<{}>", "{};"],
     ["邮箱{}请联系", "请发邮件至{}。", "（{}）", "E-mail：{}，"]),
    ("phone", mobile, ["Call {} before noon.", "({})", "Mobile:{};"],
     ["电话{}请拨", "手机号是{}。", "王先生 {} 上门", "（电话：{}）"]),
    ("phone", landline, ["Tel: {} on weekdays.", "call {}, please"], ["电话{}请拨", "传真：{}；", "座机{}。"]),
    ("phone", abroad, ["Call {} now.", "{} is busy.", "phone number is {}."], ["请拨打{}。", "联系电话：{}，谢谢"]),
    ("id_card", id_card, ["His ID number was {}.", "{} boarded."], ["身份证号{}。", "证件号码为{}的乘客", "{}"]),
    ("bank_card", bank_card, ["She paid with card {} today.", "Visa: {}."],
     ["银行卡{}转账", "卡号：{}。", "汇款到{}即可"]),
    ("ip", ip, ["It came from {} at night.", "ping {}", "http://{}/"],
     ["请求来自{}，夜里", "服务器地址：{}。", "IP为{}的用户"]),
    ("iban", iban, ["Transfer it to {}.", "IBAN: {}"], ["汇款到{}。", "账户为{}。"]),
    ("secret", secret, ["Set the token to {} and go.", "'{}'"], ["把令牌设为{}然后重启", "密钥{}泄露"]),
    ("secret", value_of_a_key, ["api_key={}", '"secret_key": "{}"', "Authorization: Bearer {}"],
     ["密钥：{}", "API密钥是{}。", "TOKEN={}"]),
]  # fmt: skip
"""Kind, what makes a value, and sentences around it in English and in Chinese."""

NEGATIVES: list[Make] = [
    lambda draw: f"订单号{pattern(draw, '138########')}已发货",
    lambda draw: f"Order number {pattern(draw, '1##########')} shipped",
    lambda draw: f"快递单号：{pattern(draw, '7############')}",
    lambda draw: f"流水号{some(draw, 20)}",
    lambda draw: f"发票号码{with_luhn(draw, '4', 16)}",
    lambda draw: f"the number {wrong_last(with_luhn(draw, '51', 16), draw)} came up",
    lambda draw: f"设备{wrong_last(id_card(draw), draw)}",
    lambda draw: f"version {draw.randint(1, 20)}.{draw.randint(0, 30)}.{draw.randint(0, 30)}.{draw.randint(0, 200)}",
    lambda draw: f"版本{draw.randint(1, 20)}.{draw.randint(0, 30)}.{draw.randint(0, 30)}.{draw.randint(0, 200)}发布",
    lambda draw: f"Chrome/{draw.randint(90, 130)}.0.{some(draw, 3)}.{draw.randint(1, 200)}",
    lambda draw: f"{draw.randint(1980, 2030)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}",
    lambda draw: f"{draw.randint(1980, 2030)}年{draw.randint(1, 12)}月{draw.randint(1, 28)}日12:30:45",
    lambda draw: pattern(draw, "2024/1#/1# 12:3#:4#"),
    lambda draw: pattern(draw, "2024-11-1#T12:30:07.######+08:00"),
    lambda draw: pattern(draw, "$N##,###.##"),
    lambda draw: pattern(draw, "共1N#########元"),
    lambda draw: some(draw, 40, HEX),
    lambda draw: f"md5: {some(draw, 32, HEX)}",
    lambda draw: "-".join(some(draw, count, HEX) for count in (8, 4, 4, 4, 12)),
    lambda draw: pattern(draw, "ISBN 978-7-###-#####-#"),
    lambda draw: pattern(draw, "ISBN-10: 0-###-#####-#"),
    lambda draw: pattern(draw, "书号9787#########"),
    lambda draw: draw.choice(["a@b", "@property", "@app.route('/')", "c = a@b.T", "user@localhost", "q@k.sum(1, 2)"]),
    lambda draw: draw.choice(["left-pad@1.3.0", "icon@2x.png", "git@github.com:a/b.git", "@user@mastodon.social"]),
    lambda draw: f"{draw.random() * 10:.17f}",
    lambda draw: pattern(draw, "17###########"),
    lambda draw: pattern(draw, "id=1#################"),
    lambda draw: pattern(draw, "QQ138#######"),
    lambda draw: draw.choice(["std::vector", "abc::def", "x[::2]", "00:1A:2B:3C:4D:5E", "192.168.0.7", "127.0.0.1"]),
    lambda draw: pattern(draw, "Section N.N.N.N"),
    lambda draw: pattern(draw, "第N.N.N.N节"),
    lambda draw: pattern(draw, "https://item.example.com/1N#########.html"),
    lambda draw: pattern(draw, "IMG_2024####_######.png"),
    lambda draw: pattern(draw, "column ### ### #### ##"),
    lambda draw: pattern(draw, "合同编号：2024-####-####"),
    lambda draw: draw.choice(["api_key = YOUR_API_KEY_GOES_HERE", "token = os.environ['MY_TOKEN_VALUE']"]),
    lambda draw: draw.choice(["AKIAXXXXXXXXXXXXXXXX", "sk-circle-fade-dot-animation", "138****0000"]),
    lambda draw: "key responsibilities-and-internationalization",
]  # fmt: skip

FILLER = ("The clockmaker walked home along the river. ", "老人沿着河边慢慢地走回家去。")


def corpus(chinese: bool, each: int) -> list[tuple[str, tuple[int, int, str] | None]]:
    """Texts, each with the one value that is planted in it, or with a harmless number."""
    draw, filler, made = random.Random(7), FILLER[chinese], []
    for kind, make, *sentences in PLANTED:
        for _ in range(each):
            before, after = draw.choice(sentences[chinese]).split("{}")
            value, start = make(draw), len(filler) + len(before)
            text = f"{filler}{before}{value}{after} {filler}"
            made.append((text, (start, start + len(value), kind)))
    made += [(f"{filler}{make(draw)}{end}{filler}", None) for make in NEGATIVES for end in ("。", ", ", " ")]
    return made


@pytest.mark.parametrize("chinese", [False, True])
def test_precision_and_recall_are_above_095_for_every_kind(chinese: bool) -> None:
    detectors = Protect(ProtectConfig(), Surroundings())._detectors
    right, found, planted = Counter[str](), Counter[str](), Counter[str]()
    wrong = []
    for text, truth in corpus(chinese, 150):
        places = {(one.start, one.end, one.kind) for one in find_all(text, detectors)}
        found.update(kind for *_, kind in places)
        if truth is not None:
            planted[truth[2]] += 1
            right[truth[2]] += truth in places
        if places != ({truth} if truth else set()):
            wrong.append((text, truth, places))
    assert set(planted) == set(ProtectConfig().kinds)
    for kind in planted:
        assert right[kind] / planted[kind] >= 0.95, wrong
        assert right[kind] / found[kind] >= 0.95, wrong
    assert not [text for text, truth, _ in wrong if truth is None]


def test_a_shard_is_scanned_as_its_texts_are() -> None:
    """The scan that leaves clean texts out leaves out nothing else."""
    step = Protect(ProtectConfig(), Surroundings())
    texts = [text for chinese in (False, True) for text, _ in corpus(chinese, 5)]
    look = step.look([Document(text, "a") for text in texts])
    fast = set(zip(*(look[name].tolist() for name in ("document", "start", "length", "kind")), strict=True))
    plain = {
        (row, one.start, one.end - one.start, KINDS.index(one.kind))
        for row, text in enumerate(texts)
        for one in find_all(text, step._detectors)
    }
    assert fast == plain
    assert len(fast) > 80


def test_real_prose_has_nothing_to_mask(real_data) -> None:
    step = Protect(ProtectConfig(), Surroundings())
    english = real_data("lm/wikitext2-valid.txt").read_text(encoding="utf-8")
    with gzip.open(real_data("lm/xiyouji.zh.txt.gz"), "rt", encoding="utf-8") as file:
        chinese = file.read()
    texts = [english[:400_000], chinese[:150_000]]
    assert [one.kind for text in texts for one in find_all(text, step._detectors)] == []
