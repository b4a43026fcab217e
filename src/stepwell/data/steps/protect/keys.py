"""Keys, tokens and passwords of machines: what must not stand in a text at all.

Most services begin their keys with letters of their own; the rest is known by a word such as `api_key=` before a value
too disordered to be a word. Every pattern begins at the edge of a run of characters, so that no run is read twice.
This file leaves out passwords that people make up.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from stepwell.data.steps.protect.clues import Span

_ISSUED = re.compile(
    r"(?<![0-9A-Za-z_\-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}"  # Amazon
    r"|gh[pousr]_[0-9A-Za-z]{30,255}|github_pat_[0-9A-Za-z_]{22,255}"  # GitHub
    r"|glpat-[0-9A-Za-z_\-]{20,64}"  # GitLab
    r"|sk-(?:proj-|svcacct-|admin-|ant-(?:api|admin)[0-9]{2}-|or-v1-)?[0-9A-Za-z_\-]{20,255}"  # OpenAI, Anthropic
    r"|xox[abeoprs]-[0-9A-Za-z\-]{12,255}|xapp-[0-9]-[0-9A-Za-z\-]{20,255}"  # Slack
    r"|AIza[0-9A-Za-z_\-]{35}|ya29\.[0-9A-Za-z_\-]{20,255}"  # Google
    r"|[prs]k_(?:live|test)_[0-9A-Za-z]{16,255}|whsec_[0-9A-Za-z]{24,64}"  # Stripe
    r"|hf_[0-9A-Za-z]{30,64}"  # Hugging Face
    r"|npm_[0-9A-Za-z]{36}|pypi-[0-9A-Za-z_\-]{50,255}"
    r"|SG\.[0-9A-Za-z_\-]{16,32}\.[0-9A-Za-z_\-]{32,64}|key-[0-9a-f]{32}"  # SendGrid, Mailgun
    r"|(?:AC|SK)[0-9a-f]{32}"  # Twilio
    r"|dop_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"  # DigitalOcean, Shopify
    r"|LTAI[0-9A-Za-z]{12,26}|AKID[0-9A-Za-z]{13,40}"  # Alibaba Cloud, Tencent Cloud
    r"|[0-9]{8,10}:AA[0-9A-Za-z_\-]{33}"  # Telegram
    r"|eyJ[0-9A-Za-z_\-]{13,}+\.eyJ[0-9A-Za-z_\-]{4,}+\.[0-9A-Za-z_\-]*+"  # JSON Web Token (RFC 7519)
    r")(?![0-9A-Za-z])"
)
_SLACK_HOOK = re.compile(r"hooks\.slack\.com/(?:services|workflows)/([0-9A-Za-z/_]{20,120})")
_NAMED = re.compile(
    r"(?:api|access|secret|private|auth|app|client|account|encryption|signing|license|service)?[_\- ]?"
    r"(?:key|secret|token|credential|passw(?:or)?d|pwd|authorization|bearer|密钥|秘钥|密码|口令|令牌)"
    r"(?:[_\- ]?(?:id|key))?[\"'`]?[)\]]?\s{0,3}(?:=>?|:=?|：|is|为|是)?\s{0,3}(?:bearer|basic|token)?\s?[\"'`]?\Z",
    re.IGNORECASE,
)
_VALUE = re.compile(r"(?<![0-9A-Za-z_+/\-])[0-9A-Za-z_+/\-.]{16,255}+={0,2}(?![0-9A-Za-z_+/\-.(\[])")
_DIGIT = re.compile("[0-9]")
_NAME_CHARACTERS = 48
_SMALLEST_ENTROPY = 3.0
_SMALLEST_CHANGES = 0.15  # for each character; random letters and digits have 0.3 to 0.6, names in code hardly any
_SMALLEST_ENTROPY_ISSUED = 2.5  # there are keys of 20 letters; it leaves out AKIAXXXXXXXXXXXXXXXX
_KEY_BLOCK = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?P<body>(?:[^-]|-(?!----))*+)(?P<end>-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?"
)
_KEY_BODY = re.compile(r"(?:[0-9A-Za-z+/=\s:,.()\\-]{0,200}?)(?:[0-9A-Za-z+/=]{16,}+(?:\s|\\n|\\r|\"|,|\+)*+)+")
_IN_ADDRESS = re.compile(r"://[^\s/:@\"'<>]{1,64}+:([^\s/@\"'<>]{1,128}+)@[0-9A-Za-z\[]")


def find_keys(text: str, window: Span) -> Iterator[Span]:
    """Keys by their beginning, and disordered values after a word such as `api_key=`."""
    for match in _ISSUED.finditer(text, *window):
        issued = match.group()
        if entropy(issued) >= _SMALLEST_ENTROPY_ISSUED and (issued[:3] != "sk-" or _is_disordered(issued[3:])):
            yield match.span()
    for match in _SLACK_HOOK.finditer(text, *window):
        yield match.span(1)
    for match in _VALUE.finditer(text, *window):
        start = match.start()
        if not _DIGIT.search(match.group()):
            continue
        named = _NAMED.search(text[max(0, start - _NAME_CHARACTERS) : start])
        if named and _is_disordered(match.group()):
            yield match.span()


def find_key_blocks(text: str, window: Span) -> Iterator[Span]:
    """Private keys in the armour of PEM (RFC 7468) or OpenPGP, whole or cut off at the end."""
    for match in _KEY_BLOCK.finditer(text, *window):
        if match["end"]:
            yield match.span()
        elif body := _KEY_BODY.match(text, match.start("body")):
            yield match.start(), body.end()


def find_passwords_in_addresses(text: str, window: Span) -> Iterator[Span]:
    """What stands between the name and the host of an address: `postgres://name:HERE@host`."""
    for match in _IN_ADDRESS.finditer(text, *window):
        if not re.fullmatch(r"[$%{<\[*x].*|password|pass|secret", match.group(1), re.IGNORECASE):
            yield match.span(1)


def entropy(text: str) -> float:
    """Bits for each character, were they drawn one by one as often as they are in this text (Shannon)."""
    counts = Counter(text).values()
    return sum(-count / len(text) * math.log2(count / len(text)) for count in counts)


def _is_disordered(value: str) -> bool:
    """Whether nobody would write this as words: it has digits, its characters differ, and their kinds mix.

    A capital before a small letter is how names in code are written, and no mixture.
    """
    plain = _PARTS.sub("", value)
    kinds = ["digit" if one.isdigit() else "capital" if one.isupper() else "small" for one in plain]
    changes = sum(one != after and (one, after) != ("capital", "small") for one, after in pairwise(kinds))
    return "digit" in kinds and changes >= _SMALLEST_CHANGES * len(plain) and entropy(plain) >= _SMALLEST_ENTROPY


_PARTS = re.compile(r"[_\-./+=]")
