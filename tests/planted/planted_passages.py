"""What is planted: sentences in other languages, junk of many kinds, sentences around personal data, lines of pages.

Written for this purpose; the rest of a planted corpus is real text. The file leaves out where things are planted.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FOREIGN: dict[str, list[str]] = {
    "fr": [],  # real captions
    "de": [
        "Der Zug nach Hamburg fährt heute von einem anderen Gleis ab.",
        "Am Abend saßen die Nachbarn noch lange im Garten und redeten über das Wetter.",
        "Die Stadt will im nächsten Jahr zwei neue Schulen bauen.",
        "Wer den Schlüssel findet, möge ihn bitte beim Hausmeister abgeben.",
        "Er hatte das Buch schon dreimal gelesen und verstand es immer noch nicht.",
        "Zwischen den alten Häusern führt eine schmale Treppe hinunter zum Fluss.",
        "Nach der Sitzung erklärte der Minister, dass die Preise vorerst nicht steigen würden.",
        "Im Winter bleibt der Laden montags geschlossen.",
    ],
    "es": [
        "El autobús llegó con media hora de retraso por culpa de la lluvia.",
        "Mi abuela guardaba las cartas en una caja de madera debajo de la cama.",
        "El ayuntamiento anunció ayer que abrirá una nueva biblioteca en el centro.",
        "Nadie sabía quién había dejado aquellas flores delante de la puerta.",
        "Los niños jugaban en la plaza mientras sus padres tomaban café.",
        "Después de la cena, todos salieron a caminar junto al mar.",
        "La profesora explicó el problema otra vez, pero más despacio.",
        "En verano el museo cierra a las ocho de la tarde.",
    ],
    "ru": [
        "Поезд пришёл на станцию поздно вечером, и встречать нас было некому.",
        "Старый мастер молча показал, как нужно держать инструмент.",
        "В этом году зима началась раньше, чем обычно.",
        "Дети нашли на чердаке сундук с письмами и фотографиями.",
        "Новый мост через реку обещают открыть только весной.",
        "Он долго смотрел в окно и ничего не говорил.",
        "По словам учёных, уровень воды в озере продолжает падать.",
        "Магазин на углу работает без выходных.",
    ],
    "ja": [
        "昨日の夜、駅前の古い喫茶店で友だちに会いました。",
        "この町では、毎年秋になると大きなお祭りが開かれます。",
        "彼女は窓を開けて、しばらく雨の音を聞いていた。",
        "新しい図書館は来年の春に開館する予定です。",
        "電車が遅れたので、会議に間に合いませんでした。",
        "祖父は畑で野菜を育てるのが何より好きだった。",
        "この問題について、もう少し詳しく説明してください。",
        "子どもたちは川のそばで石を集めて遊んでいる。",
    ],
    "ko": [
        "어제 저녁에 역 앞의 오래된 찻집에서 친구를 만났습니다.",
        "이 마을에서는 해마다 가을에 큰 축제가 열립니다.",
        "그는 창문을 열고 한참 동안 빗소리를 들었다.",
        "새 도서관은 내년 봄에 문을 열 예정이라고 합니다.",
        "기차가 늦어서 회의에 제시간에 도착하지 못했습니다.",
        "할아버지는 밭에서 채소를 기르는 일을 가장 좋아하셨다.",
        "이 문제에 대해 조금 더 자세히 설명해 주세요.",
        "아이들은 강가에서 돌을 모으며 놀고 있다.",
    ],
}
"""Language -> sentences."""

PAGE_LINES = {
    "en": [
        "Share this story on Facebook, Twitter or by e-mail.",
        "All rights reserved. No part of this page may be copied without permission.",
        "Subscribe to our newsletter and never miss a headline again!",
    ],
    "zh": [
        "分享到微博、微信朋友圈或QQ空间，让更多人看到。",
        "版权所有，未经书面授权不得转载、摘编或以其他方式使用。",
        "欢迎关注我们的微信公众号，第一时间获取最新资讯！",
    ],
}
"""Lines that stand on every page of a site."""

# fmt: off
_MENU_EN = [
    "Home", "News", "Sport", "Weather", "Shop", "Contact", "About us", "Help", "Login", "Register", "Sitemap", "Press",
]
_MENU_ZH = [
    "首页", "新闻", "体育", "财经", "娱乐", "科技", "汽车", "房产", "论坛", "博客", "登录", "注册", "帮助", "联系我们",
]
_KEYWORDS_EN = [
    "cheap", "flights", "hotel", "booking", "best", "price", "discount", "london", "paris", "rome", "online", "casino",
]
_KEYWORDS_ZH = [
    "优惠", "促销", "代购", "正品", "包邮", "批发", "厂家直销", "低价", "清仓", "团购", "秒杀", "加盟", "代理", "招商",
]
_LOREM = [
    "lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do", "eiusmod", "tempor",
]
# fmt: on
_COMMON = (
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么"
    "之都好看起发当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给"
)
"""Characters of everyday text."""


def _menu(rng: random.Random, zh: bool) -> str:
    return "\n".join(rng.choices(_MENU_ZH if zh else _MENU_EN, k=60))


def _keywords(rng: random.Random, zh: bool) -> str:
    words = rng.choices(_KEYWORDS_ZH if zh else _KEYWORDS_EN, k=160)
    return " | ".join(words) if zh else " ".join(words)


def _one_line(rng: random.Random, zh: bool) -> str:
    line = rng.choice(
        ["点击这里查看更多精彩内容", "本店铺所有商品一律八折"]
        if zh
        else ["Click here to read more about it", "Buy two and get one free today"]
    )
    return f"{line}{'！' if zh else '!'}\n" * rng.randint(30, 60)


def _symbols(rng: random.Random, zh: bool) -> str:
    marks = "★☆■◆●○※→←↑↓【】" if zh else "#*=-_|<>{}[]~^+$%"
    words = ["特价", "新品", "热卖"] if zh else ["sale", "new", "hot"]
    return "\n".join(
        "".join(rng.choices(marks, k=30)) + rng.choice(words) + "".join(rng.choices(marks, k=20)) for _ in range(14)
    )


def _letters(rng: random.Random, zh: bool) -> str:
    if zh:  # characters of everyday text in no order
        return "".join(rng.choices(_COMMON, k=400))
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(150))


def _numbers(rng: random.Random, zh: bool) -> str:
    head = "序号 数量 单价 金额 税额 合计" if zh else "no amount price sum tax total"
    rows = (" ".join(f"{rng.uniform(1, 9999):.2f}" for _ in range(6)) for _ in range(30))
    return "\n".join([head, *rows])


def _code(rng: random.Random, zh: bool) -> str:
    calls = (f"var v{n} = function(a, b) {{ return a[{rng.randint(0, 99)}] || b['k{n}']; }};" for n in range(30))
    note = "请启用 JavaScript 以浏览本页" if zh else "Please enable JavaScript to view this page"
    return f"// {note}\n" + "\n".join(calls)


def _too_short(rng: random.Random, zh: bool) -> str:
    return (
        rng.choice(["详情请见附件。", "暂无评论。", "图片加载中"]) + str(rng.randint(1, 999))
        if zh
        else rng.choice(["See the attachment.", "No comments yet.", "Image is loading"]) + f" {rng.randint(1, 999)}"
    )


def _lorem(rng: random.Random, zh: bool) -> str:
    if zh:
        return "这里是占位文字，请在后台替换为正式内容，占位文字占位文字占位文字。" * 12 + str(rng.randint(0, 999))
    return ". ".join(" ".join(rng.choices(_LOREM, k=12)).capitalize() for _ in range(14)) + "."


JUNK: dict[str, Callable[[random.Random, bool], str]] = {
    "menu": _menu,
    "keywords": _keywords,
    "one line again and again": _one_line,
    "symbols": _symbols,
    "random letters": _letters,
    "numbers": _numbers,
    "code": _code,
    "too short": _too_short,
    "placeholder": _lorem,
}
"""Kind of junk -> a document of it, English or Chinese."""


def id_card(rng: random.Random) -> str:
    """A resident's ID number of mainland China with its check digit (GB 11643-1999)."""
    region = rng.choice(["110105", "310115", "440305", "320106", "510107"])
    body = f"{region}{rng.randint(1950, 2005)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}{rng.randint(1, 999):03d}"
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def bank_card(rng: random.Random) -> str:
    """A card number that fulfils Luhn's rule."""
    prefix, length = rng.choice([("4", 16), ("51", 16), ("6222", 19), ("6228", 19)])
    body = prefix + "".join(rng.choices("0123456789", k=length - len(prefix) - 1))
    digits = [int(d) for d in reversed(body)]
    total = sum(sum(divmod(2 * d, 10)) if place % 2 == 0 else d for place, d in enumerate(digits))
    return body + str(-total % 10)


def iban(rng: random.Random) -> str:
    """A German account number with its check digits (ISO 13616)."""
    body = "".join(rng.choices("0123456789", k=18))
    check = 98 - int(body + "131400") % 97
    return f"DE{check:02d}{body}"


def _spelled(rng: random.Random, letters: str, length: int) -> str:
    return "".join(rng.choices(letters, k=length))


def _digits(rng: random.Random, length: int) -> str:
    return _spelled(rng, "0123456789", length)


_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_NAMES = ["anna.schmidt", "li.wei", "j_smith", "maria-garcia", "zhang.san88", "o.brien", "wangfang", "k.tanaka+news"]
_HOSTS = ["example.com", "mail.example.org", "qq.com", "163.com", "uni-ulm.de", "corp.example.co.uk", "sina.com.cn"]

PERSONAL: dict[str, Callable[[random.Random], str]] = {
    "email": lambda rng: f"{rng.choice(_NAMES)}{rng.randint(1, 99)}@{rng.choice(_HOSTS)}",
    "phone": lambda rng: rng.choice([
        f"1{rng.choice('3456789')}{_digits(rng, 9)}",
        f"+86 1{rng.choice('3578')}{rng.randint(0, 9)} {_digits(rng, 4)} {_digits(rng, 4)}",
        f"1{rng.choice('3578')}{rng.randint(0, 9)}-{_digits(rng, 4)}-{_digits(rng, 4)}",
        f"0{rng.choice(['10', '21', '20'])}-{rng.randint(2, 8)}{_digits(rng, 7)}",
        f"+44 20 {rng.randint(7, 8)}{_digits(rng, 3)} {_digits(rng, 4)}",
        f"({rng.randint(212, 989)}) {rng.randint(200, 999)}-{_digits(rng, 4)}",
        f"+1-{rng.randint(212, 989)}-{rng.randint(200, 999)}-{_digits(rng, 4)}",
    ]),
    "id_card": id_card,
    "bank_card": bank_card,
    "ip": lambda rng: rng.choice([
        ".".join(str(n) for n in (rng.choice([52, 81, 93, 114, 142]), *(rng.randint(1, 254) for _ in range(3)))),
        "2a01:4f8:" + ":".join(f"{rng.randint(0x1000, 0xFFFF):x}" for _ in range(6)),
    ]),
    "secret": lambda rng: rng.choice([
        f"AKIA{_spelled(rng, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', 16)}",
        f"ghp_{_spelled(rng, _ALNUM, 36)}",
        f"sk-{_spelled(rng, _ALNUM, 48)}",
        f"AIza{_spelled(rng, _ALNUM, 35)}",
    ]),
    "iban": iban,
}  # fmt: skip
"""Kind -> a value that nobody has."""

AROUND = {
    "en": {
        "email": ["Write to {} for tickets.", "Questions? {} will answer them.", "You can reach the author at {}."],
        "phone": ["Call {} before noon.", "The office answers at {} on weekdays.", "His number was {}, she said."],
        "id_card": ["The form gave his ID number as {}.", "Passenger with ID card {} did not board."],
        "bank_card": ["She paid with card {} at the desk.", "Refunds go to card number {}."],
        "ip": ["The request came from {} at night.", "Blocked address: {}."],
        "secret": ["Set the token to {} and start again.", "He had published his key {} by mistake."],
        "iban": ["Please transfer it to {}.", "The donation account is {}."],
    },
    "zh": {
        "email": ["订票请发邮件至{}。", "如有疑问，请联系{}。", "作者邮箱：{}，欢迎来信。"],
        "phone": ["请在中午前拨打{}。", "客服电话{}，工作日有人接听。", "他的手机号是{}。"],
        "id_card": ["表格上写着身份证号{}。", "身份证{}的乘客没有登机。"],
        "bank_card": ["她用银行卡{}在前台付款。", "退款将打到卡号{}。"],
        "ip": ["请求来自{}，时间是夜里。", "已封禁地址：{}。"],
        "secret": ["把令牌设为{}然后重启。", "他不小心公开了密钥{}。"],
        "iban": ["请汇款到{}。", "捐款账户为{}。"],
    },
}
"""Language -> kind -> sentences that a value stands in."""

HARMLESS = {
    "en": [
        "Order 2024-11-05/0087 holds 3 items at $1,299.00 each.", "Version 10.2.3 came out on 12.03.2019.",
        "The sum of 123456789 and 987654321 is 1111111110.", "They won 3-1, 6-4 and 7-6 at @Wembley.",
        "Between 1939-1945 about 12,345,678 tons were shipped.", "See section 3.1.4.1 and ISBN 978-3-16-148410-0.",
        "The invoice number is 4539578763621487.", "Its serial number is 110105199902301235.",
    ],
    "zh": [
        "订单2024110500087共3件，每件1299.00元。", "版本10.2.3于2019年12月3日发布。",
        "123456789与987654321之和为1111111110。", "比分为3比1，观众共12,345人。",
        "1939-1945年间共运输12345678吨。", "见第3.1.4.1节，书号978-3-16-148410-0。",
        "发票号码为4539578763621487。", "设备序列号是110105199902301235。",
    ],
}  # fmt: skip
"""Numbers that look like personal data and are none: wrong check digits, dates, versions, sums."""
