"""Addresses on the network: e-mail and IP.

An e-mail address is found from its `@` outwards, at most 64 characters to the left and a domain with a real ending to
the right, so that code (`a@b`, `@property`), package versions and file names stay. An IP address must not be a version
number, and those of private networks are a choice. This file leaves out addresses of houses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from stepwell.data.steps.protect.clues import Span
from stepwell.data.steps.protect.labels import is_version, label_of
from stepwell.data.steps.step import needed

_LOCAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-'")
_LOCAL_MAX = 64
_DOMAIN = re.compile(r"(?:[0-9A-Za-z][0-9A-Za-z-]{0,62}+\.){1,8}(?:xn--[0-9A-Za-z-]{2,20}|[A-Za-z]{2,24})")
_COPY_PATH = re.compile(r":(?:[\w.~-]*/|[\w.-]+\.git\b)")
_USUAL = frozenset(("com", "net", "org", "cn", "edu", "gov", "info", "de", "fr", "uk", "jp", "hk", "tw"))


def find_emails(text: str, window: Span) -> Iterator[Span]:
    """Addresses such as `li.lei+news@mail.example.cn`; the ending must be one of the public suffix list."""
    begin, end = window
    at = text.find("@", begin, end)
    while at >= 0:
        start, stop = _local_start(text, at), _domain_end(text, at + 1)
        if start is not None and stop is not None and not _is_code(text, start, at, stop):
            yield start, stop
        at = text.find("@", at + 1, end)


def _local_start(text: str, at: int) -> int | None:
    start = at
    while start and at - start <= _LOCAL_MAX and (text[start - 1] in _LOCAL or _is_letter(text[start - 1])):
        start -= 1
    if at - start > _LOCAL_MAX or (start and text[start - 1] == "@"):
        return None
    while start < at and text[start] in ".'-%":
        start += 1
    if start == at or text[at - 1] in ".'" or ".." in text[start:at]:
        return None
    return start


def _is_letter(one: str) -> bool:
    """Whether this is a letter of an alphabet; Chinese stands beside an address without being a part of it."""
    return "\u00c0" <= one < "\u2e80" and one.isalpha()


def _domain_end(text: str, start: int) -> int | None:
    """End of the longest domain with a known ending."""
    match = _DOMAIN.match(text, start)
    while match is not None:
        domain = match.group()
        ending = domain.rpartition(".")[2]
        new_sentence = ending[0].isupper() and domain[0].islower()
        if not new_sentence and _is_ending(ending) and (ending.islower() or ending.isupper() or ending.istitle()):
            return match.end()
        match = _DOMAIN.fullmatch(text, start, start + domain.rindex("."))
    return None


@lru_cache(maxsize=4096)
def _is_ending(ending: str) -> bool:
    return bool(needed("tld", "data", "protect").is_tld(ending.lower()))


def _is_code(text: str, start: int, at: int, end: int) -> bool:
    """Whether this is no address of a person: a repository, a place to copy to, a call of a method."""
    ending = text[start:end].rpartition(".")[2].lower()
    return (
        text[start:at] == "git"
        or _COPY_PATH.match(text, end) is not None
        or (text[end : end + 1] == "(" and ending not in _USUAL)
        or text[max(0, start - 3) : start] == "://"
    )


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast


_IPV4 = re.compile(r"(?<![0-9A-Za-z_.])[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9A-Za-z_]|\.[0-9])")
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z_:.])(?:[0-9A-Fa-f]{4}:(?:[0-9A-Fa-f]{0,4}:){1,7}[0-9A-Fa-f]{0,4}|::ffff:(?=[0-9]{1,3}\.))"
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z_:]|\.[0-9])"
)


def find_ips(private: bool) -> Callable[[str, Span], Iterator[Span]]:
    """What finds IP addresses of version 4 and 6.

    Args:
        private: whether also those that no machine on the open network has: private, local, for examples.
    """

    def find_4(text: str, window: Span) -> Iterator[Span]:
        for match in _IPV4.finditer(text, *window):
            octets = match.group().split(".")
            plain = all(one == "0" or one[0] != "0" for one in octets) and max(map(int, octets)) <= 255
            if not plain or not (private or _is_public(ipaddress.IPv4Address(match.group()))):
                continue
            start = match.start()
            label = label_of(text, start)
            short = all(len(one) == 1 for one in octets) or octets[1:] == ["0", "0", "0"]
            if is_version(text, start) or label == "other" or (short and label != "address"):
                continue
            yield match.span()

    def find_6(text: str, window: Span) -> Iterator[Span]:
        for match in _IPV6.finditer(text, *window):
            try:
                address = ipaddress.IPv6Address(match.group())
            except ValueError:
                continue
            if private or _is_public(address):
                yield match.span()

    def find(text: str, window: Span) -> Iterator[Span]:
        yield from find_4(text, window)
        yield from find_6(text, window)

    return find
