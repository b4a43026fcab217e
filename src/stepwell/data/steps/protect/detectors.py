"""The table of what is found: each kind with where to look and how.

Kinds stand in the order in which they win where two overlap. This file leaves out the patterns themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from stepwell.data.steps.protect.addresses import find_emails, find_ips
from stepwell.data.steps.protect.clues import Clue, Span, ats, colons, key_blocks, long_numbers, long_runs, narrow
from stepwell.data.steps.protect.keys import find_key_blocks, find_keys, find_passwords_in_addresses
from stepwell.data.steps.protect.numbers import find_bank_cards, find_ibans, find_id_cards, find_old_id_cards, find_ssns
from stepwell.data.steps.protect.phones import find_phones

Kind = Literal["secret", "email", "id_card", "old_id_card", "bank_card", "iban", "ip", "ssn", "phone"]
"""What can be found by its shape."""

Find = Callable[[str, Span], Iterator[Span]]
"""Finds values that begin in a window of a text."""


@dataclass(frozen=True)
class Detector:
    """How one kind is found.

    Attributes:
        kind: what it finds; several detectors may find the same.
        clue: where it needs to look.
        find: what it finds there.
    """

    kind: Kind
    clue: Clue
    find: Find


def detectors(kinds: Sequence[Kind], phone_regions: Sequence[str], private_addresses: bool) -> tuple[Detector, ...]:
    """The rows of the table that are asked for.

    Args:
        kinds: what is to be found.
        phone_regions: whose national way of writing telephone numbers counts (ISO 3166).
        private_addresses: whether IP addresses of private networks count.
    """
    table = (
        Detector("secret", key_blocks, find_key_blocks),
        Detector("secret", ats, find_passwords_in_addresses),
        Detector("secret", long_runs, find_keys),
        Detector("email", ats, find_emails),
        Detector("id_card", long_numbers, find_id_cards),
        Detector("iban", long_numbers, find_ibans),
        Detector("bank_card", long_numbers, find_bank_cards),
        Detector("ip", long_numbers, find_ips(private_addresses)),
        Detector("ip", colons, find_ips(private_addresses)),
        Detector("old_id_card", long_numbers, find_old_id_cards),
        Detector("ssn", long_numbers, find_ssns),
        Detector("phone", long_numbers, find_phones(phone_regions)),
    )
    return tuple(row for row in table if row.kind in kinds)


@dataclass(frozen=True, order=True)
class Found:
    """Where in a text something was found.

    Attributes:
        start: first character.
        end: the one after the last.
        kind: of what it is.
    """

    start: int
    end: int
    kind: str


def find_all(text: str, several: Sequence[Detector], more: Sequence[Found] = ()) -> list[Found]:
    """Everything that detectors find, in order, apart from each other.

    Args:
        text: any.
        several: of two that overlap, the earlier one wins.
        more: what was found elsewhere; gives way to all others.
    """
    text = narrow(text)
    windows: dict[Clue, Sequence[Span]] = {}
    found: list[Found] = []
    for detector in several:
        if detector.clue not in windows:
            windows[detector.clue] = detector.clue(text)
        if not windows[detector.clue]:
            continue
        places = {span for window in windows[detector.clue] for span in detector.find(text, window)}
        found += (Found(*span, detector.kind) for span in sorted(places, key=_longest_first))
    found += more
    return _apart(found, len(text)) if found else found


def _longest_first(span: Span) -> tuple[int, int]:
    return span[0] - span[1], span[0]


def _apart(found: Sequence[Found], length: int) -> list[Found]:
    """Those that overlap no earlier one of the list, by their place."""
    taken = bytearray(length)
    kept = []
    for one in found:
        if not taken.count(1, one.start, one.end):
            taken[one.start : one.end] = b"\1" * (one.end - one.start)
            kept.append(one)
    return sorted(kept)
