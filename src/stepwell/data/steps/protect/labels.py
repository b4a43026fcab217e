"""What stands around a number: the words before it that say what it is, the letters that touch it.

The nearest words decide. This file leaves out the numbers.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LABEL_CHARACTERS = 32

_OTHER_NUMBER = (
    "订单|单号|运单|快递|物流|流水|编号|编码|序列|型号|条码|批号|批次|合同|发票|票号|学号|工号|案号|文号|书号|刊号|货号|专利|邮编|群|"
    "期号|注册号|许可证|备案|账单|业务号|保单|房号|车牌|QQ|时间戳|种子|端口|"
    r"\bISBN|\bISSN|\bDOI|\border|\binvoice|\bserial|\btracking|\bsku|\bref\b|\breference|\bticket|\bpart\b|\bmodel|\bversion|"
    r"\bbuild|\bcommit|\btimestamp|\bbarcode|\bean\b|\bupc\b|\basin\b|\bpmid|\bpatent|\bcase\b|\bbatch|\blot\b|\bparcel|"
    r"\bshipment|\bimei\b|\bid\b|\buid\b|_id|\bseed|\bport\b|\brow\b|bytes|\bsize|\bhash"
)
_PHONE = (
    "电话|手机|座机|热线|传真|联系|致电|拨打|拨|来电|短信|微信|客服|咨询|通话|打给|"
    r"\btel|\bphone|telephone|wa\.me/|\bmobile|\bcell|\bcall|\bfax|\bwhatsapp|\bcontact|\bdial|\btext|\bsms|\bhotline|\bring|\breach"
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
_BREAK = re.compile(r"(?s:.*)[\d\n,;!?，。；！？、]")
_VERSION = re.compile(
    r"(?:\bv|\bver\.?|\bversion|\brelease|\bbuild|\bfirmware|\bsection|\bchapter|\btable|\bfigure|\bfig\.|\bclause|\bdriver|"
    r"\bupdate|\boid|§|版本|版|固件|章节|章|第|表|图|节|条|升级到|更新到|更新至|升级至|==|>=|<=|~=|\^|[A-Za-z]/|[A-Za-z0-9]-)"
    r"(?:号|number|s)?[\s:：为是\"'(]{0,4}\Z",
    re.IGNORECASE,
)


def label_of(text: str, start: int) -> str | None:
    """What the nearest words before a number say it is: `phone`, `card`, `address`, or some `other` number.

    Args:
        text: all of it.
        start: of the number.
    """
    words = text[max(0, start - _LABEL_CHARACTERS) : start]
    end = _BREAK.match(words)
    return _label_in(words[end.end() :] if end else words)


@lru_cache(maxsize=4096)
def _label_in(words: str) -> str | None:
    match = _LABEL.match(words)
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
