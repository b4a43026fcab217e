"""Where in a text a detector needs to look, so that clean text costs next to nothing.

A clue is one quick scan that several detectors share: long numbers, `@`, colons close together, long unbroken runs of
letters and digits. Each gives windows, and the exact patterns run in these only. What stands around a value (its
label, the letters that touch it) is read here too. This file leaves out what a value must look like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

Span = tuple[int, int]
"""First character and the one after the last."""

Clue = Callable[[str], Sequence[Span]]
"""Windows of a text that are worth a closer look, in order, apart from each other."""

GAP = r"[ \u00a0\u3000.\-\u2010-\u2014/()（）]"
"""What may stand between the digits of one number."""

_AROUND = 40
"""Characters on both sides of what a scan found that belong to its window."""

_LONG_NUMBER = re.compile(rf"[0-9](?:{GAP}{{0,3}}+[0-9]){{3,}}+")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_RUN = re.compile(rb"x{16,}+")
_RUN_LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
_RUN_CHARACTERS = bytes(120 if one in _RUN_LETTERS else 32 for one in range(256))
_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＠＋]")
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}


def narrow(text: str) -> str:
    """A text with full-width digits and letters as one to read: the same length, ASCII for full width.

    It is for finding only; a text without full-width digits and letters is given back as it is.
    """
    return text if text.isascii() or not _WIDE.search(text) else text.translate(_NARROW)


def long_numbers(text: str) -> list[Span]:
    """Around numbers of seven digits or more, and four parted by dots; what parts the digits of a number counts in."""
    return list(_windows(_number_spans(text), len(text)))


def _number_spans(text: str) -> Iterator[Span]:
    for match in _LONG_NUMBER.finditer(text):
        found = match.group()
        if len(found) >= 7 and (sum(map(str.isdigit, found)) >= 7 or found.count(".") >= 3):
            yield match.span()


def ats(text: str) -> list[Span]:
    """Around each `@`."""
    return list(_windows(_at_spans(text), len(text), 80)) if "@" in text else []


def _at_spans(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        yield at, at + 1
        at = text.find("@", at + 1)


def colons(text: str) -> list[Span]:
    """Around hexadecimal digits between two colons."""
    return list(_windows((match.span() for match in _COLONS.finditer(text)), len(text)))


def long_runs(text: str) -> list[Span]:
    """Around 16 or more ASCII letters, digits, `_` and `-` without a break."""
    data = text.encode().translate(_RUN_CHARACTERS)
    if b"x" * 16 not in data:
        return []
    if len(data) == len(text):
        return list(_windows((match.span() for match in _RUN.finditer(data)), len(text), 80))
    return list(_windows((match.span() for match in _WIDE_RUN.finditer(text)), len(text), 80))


_WIDE_RUN = re.compile(r"[0-9A-Za-z_\-]{16,}+")


def whole(text: str) -> list[Span]:
    """All of it."""
    return [(0, len(text))]


def _windows(spans: Iterable[Span], length: int, around: int = _AROUND) -> Iterator[Span]:
    """Spans with their surroundings; those that touch are one."""
    begin, end = 0, -1
    for start, stop in spans:
        if end < 0 or start - around > end:
            if end >= 0:
                yield begin, end
            begin = max(0, start - around)
        end = min(stop + around, length)
    if end >= 0:
        yield begin, end


# -- what stands around a value ---------------------------------------------------------------------------------------

_LABEL_CHARACTERS = 32

_OTHER_NUMBER = (
    "订单|单号|运单|快递|物流|流水|编号|编码|序列|型号|条码|批号|批次|合同|发票|票号|学号|工号|案号|文号|书号|刊号|货号|专利|邮编|群|"
    "期号|注册号|许可证|备案|账单|业务号|保单|房号|车牌|QQ|时间戳|种子|端口|"
    r"\bISBN|\bISSN|\bDOI|\border|\binvoice|\bserial|\btracking|\bsku|\bref\b|\breference|\bticket|\bpart\b|\bmodel|\bversion|"
    r"\bbuild|\bcommit|\btimestamp|\bbarcode|\bean\b|\bupc\b|\basin\b|\bpmid|\bpatent|\bcase\b|\bbatch|\blot\b|\bparcel|"
    r"\bshipment|\bimei\b|\bid\b|\buid\b|_id|\bseed|\bport\b|\brow\b|\bbytes|\bsize|\bhash"
)
_PHONE = (
    "电话|手机|座机|热线|传真|联系|致电|拨打|拨|来电|号码|短信|微信|客服|咨询|通话|打给|"
    r"\btel|\bphone|telephone|\bmobile|\bcell|\bcall|\bfax|\bwhatsapp|\bcontact|\bdial|\btext|\bsms|\bhotline|\bring|\breach"
)
_CARD = (
    "卡号|卡编号|银行卡|信用卡|借记卡|储蓄卡|账号|帐号|账户|帐户|收款|转账|汇款|卡|"
    r"\bcard|\bvisa|\bmastercard|\bamex|\bunionpay|\baccount|\bpan\b"
)
_ADDRESS = (
    "地址|服务器|主机|网关|登录|访问|来自|"
    r"\bip|\baddress|\bhost|\bserver|\bfrom|\bping|\bdns|\bgateway|\bproxy|\bclient|\bssh|\bremote"
)
_LABEL = re.compile(
    rf"(?s:.*)(?:(?P<other>{_OTHER_NUMBER})|(?P<phone>{_PHONE})|(?P<card>{_CARD})|(?P<address>{_ADDRESS}))"
    r"\.?[^\d\n,.;!?，。；！？、]{0,14}+\Z",
    re.IGNORECASE,
)
_VERSION = re.compile(
    r"(?:\bv|\bver\.?|\bversion|\brelease|\bbuild|\bfirmware|\bsection|\bchapter|\btable|\bfigure|\bfig\.|\bclause|\bdriver|"
    r"\bupdate|\boid|§|版本|版|固件|章节|章|第|表|图|节|条|升级到|更新到|更新至|升级至|==|>=|<=|~=|\^|[A-Za-z]/|[A-Za-z0-9]-)"
    r"(?:号|number)?[\s:：为是]{0,4}\Z",
    re.IGNORECASE,
)


def label_of(text: str, start: int) -> str | None:
    """What the nearest words before a number say it is: `phone`, `card`, `address`, or some `other` number.

    Args:
        text: all of it.
        start: of the number.
    """
    match = _LABEL.match(text[max(0, start - _LABEL_CHARACTERS) : start])
    return match.lastgroup if match else None


def is_version(text: str, start: int) -> bool:
    """Whether the number that begins here is one of a version, a section or a table."""
    return _VERSION.search(text[max(0, start - _LABEL_CHARACTERS) : start]) is not None


_TOUCHING = re.compile(r"[A-Za-z_]{1,12}\Z")
_LABEL_WORD = re.compile(
    "(?:tel|phone|mobile|mob|cell|ph|call|[tmpfv]|fax|wechat|weixin|wx|vx|whatsapp|no|num|number|id|id_?card|sfz|card|ip)_?",
    re.IGNORECASE,
)


def apart(text: str, start: int) -> bool:
    """Whether a number begins a word of its own, or a label such as `tel` touches it."""
    if not start or not (text[start - 1].isascii() and (text[start - 1].isalnum() or text[start - 1] == "_")):
        return True
    touching = _TOUCHING.search(text[max(0, start - 12) : start])
    return touching is not None and _LABEL_WORD.fullmatch(touching.group()) is not None
