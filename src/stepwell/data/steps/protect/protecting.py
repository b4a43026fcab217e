"""The step that takes personal data and keys out of texts and says where they were, never what they were.

It looks at every shard first: what is found becomes places and kinds only, and these are all that it tells, in the list
for the report and to the pass that puts masks in. This file leaves out what is found (`detectors.py`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from stepwell.data.documents import Document
from stepwell.data.facts import EXAMPLE_CHARACTERS
from stepwell.data.steps.protect.clues import suspects
from stepwell.data.steps.protect.detectors import Detector, Found, Kind, detectors, find_all
from stepwell.data.steps.protect.names import FindNames, ListedNames, NamesConfig, names_in, open_names
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig, Surroundings, needed

Masked = Literal[Kind, "name"]
KINDS: tuple[Masked, ...] = (
    "secret",
    "email",
    "id_card",
    "bank_card",
    "iban",
    "ip",
    "old_id_card",
    "ssn",
    "phone",
    "name",
)
"""Everything there is a mask for."""


class ProtectConfig(StepConfig):
    """What is found and what takes its place.

    Attributes:
        kinds: of values; `old_id_card` (15 digits, China) and `ssn` (United States) have no check digit and are left
            out unless they are named.
        masks: kind -> what takes its place; default is the kind in capitals, such as `<EMAIL>`.
        pseudonyms: number the values, so that within a text the same one is the same again: `<EMAIL_1>`.
        phone_regions: countries whose national way of writing telephone numbers counts (ISO 3166); a number with a
            country code is found from anywhere.
        private_addresses: whether IP addresses of private networks are masked.
        names: who finds names of persons; they are left alone otherwise.
        columns: whether text in the columns that go with a document is searched too.
        listed: how many places the list for the report has at most; all are counted.
    """

    kind: Literal["protect"] = "protect"
    kinds: tuple[Kind, ...] = ("secret", "email", "id_card", "bank_card", "iban", "ip", "phone")
    masks: Mapping[Masked, Annotated[str, Field(min_length=1)]] = {}
    pseudonyms: bool = False
    phone_regions: tuple[str, ...] = ("CN", "US")
    private_addresses: bool = False
    names: NamesConfig | None = None
    columns: bool = True
    listed: int = Field(default=1000, ge=0)

    def reads(self) -> Sequence[str]:
        """The list of names."""
        return (self.names.path,) if isinstance(self.names, ListedNames) else ()

    @field_validator("phone_regions")
    @classmethod
    def _are_countries(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [one for one in regions if not re.fullmatch("[A-Z]{2}", one)]:
            raise ValueError(f"two capital letters of ISO 3166, such as CN; not {', '.join(wrong)}")
        return regions


class Protect(Step[ProtectConfig]):
    """Put masks in the place of personal data and keys.

    Raises:
        DataError: when a library, a list of names or a model is not there.
    """

    looks: ClassVar[bool] = True

    def __init__(self, config: ProtectConfig, around: Surroundings) -> None:
        super().__init__(config, around)
        if {"email", "phone"} & set(config.kinds):
            needed("phonenumbers", "data", "protect")
            needed("tld", "data", "protect")
        if config.names is not None:
            open_names(config.names)

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "around": self.around}  # patterns and models are made where they are needed

    @cached_property
    def _detectors(self) -> tuple[Detector, ...]:
        return detectors(self.config.kinds, self.config.phone_regions, self.config.private_addresses)

    @cached_property
    def _names(self) -> FindNames | None:
        return open_names(self.config.names) if self.config.names is not None else None

    def look(self, documents: Sequence[Document]) -> Arrays:
        """Where everything is: a row for each place.

        Returns:
            `document`, `field`, `start`, `length` (characters), `kind` (of `KINDS`), `number` (within document and
            kind), each (N,) int32; `source_of` (documents,) int32 and the names of the `sources`.
        """
        texts: list[str] = []
        firsts: list[int] = []  # where those of each document begin
        for document in documents:
            firsts.append(len(texts))
            texts += _texts_of(document, self.config.columns)
        rows: list[tuple[int, ...]] = []
        found = sorted(self._find(texts).items())
        for index, own in groupby(found, lambda one: bisect_right(firsts, one[0]) - 1):
            rows += _numbered(index, [(place - firsts[index], texts[place], several) for place, several in own])
        table = np.array(rows, np.int32).reshape(-1, len(_ROW))
        sources = {source: place for place, source in enumerate(dict.fromkeys(one.source for one in documents))}
        return {
            **{name: table[:, column] for column, name in enumerate(_ROW)},
            "source_of": np.array([sources[one.source] for one in documents], np.int32),
            "sources": np.array(list(sources), np.str_),
        }

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told its own rows; the list goes on over the shards."""
        listed: list[dict[str, Any]] = []
        before: dict[str, int] = {}
        for look in looks:
            sources = [str(one) for one in look["sources"]]
            if len(listed) < self.config.listed:
                listed += _entries(look, sources, before)
            for source, count in zip(sources, np.bincount(look["source_of"], minlength=len(sources)), strict=True):
                before[source] = before.get(source, 0) + int(count)
        known = ({name: look[name] for name in _ROW} for look in looks)
        return Joined(known, {"masked": listed[: self.config.listed]})

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        known = self.look(documents) if known is None else known
        borders = np.searchsorted(known["document"], np.arange(len(documents) + 1))
        rows = list(zip(*(known[name].tolist() for name in _ROW), strict=True))
        outcome = Outcome(kept=list(documents))
        for index in np.flatnonzero(np.diff(borders)).tolist():
            own = rows[borders[index] : borders[index + 1]]
            outcome.kept[index] = self._masked(documents[index], own)
            kinds = [KINDS[row[_KIND]] for row in own]
            outcome.changed.update(set(kinds))
            outcome.findings.update(kinds)
        return outcome

    def shown(self, text: str) -> str:
        """With masks; where a text or a quotation in it may be cut, its end, perhaps half a value, is left out."""
        rows = _numbered(0, [(0, text, self._find([text]).get(0, []))])
        masked = _END_OF_QUOTATION.sub("", self._masked(Document(text, ""), list(rows)).text)
        return _LAST_WORDS.sub("", masked) if len(text) >= EXAMPLE_CHARACTERS else masked

    def _find(self, texts: Sequence[str]) -> dict[int, list[Found]]:
        """Place of a text -> what is in it; texts with nothing are left out."""
        if self._names is None:
            found = {place: find_all(texts[place], self._detectors) for place in suspects(texts)}
            return {place: several for place, several in found.items() if several}
        return {
            place: find_all(text, self._detectors, [Found(start, end, "name") for start, end in own])
            for place, (text, own) in enumerate(zip(texts, names_in(texts, self._names), strict=True))
        }

    def _masked(self, document: Document, rows: Sequence[tuple[int, ...]]) -> Document:
        texts = _texts_of(document, self.config.columns)
        parts: list[list[str]] = [[] for _ in texts]
        at = [0] * len(texts)
        for _, field, start, length, kind, number in rows:
            parts[field] += (texts[field][at[field] : start], self._mask(KINDS[kind], number))
            at[field] = start + length
        new = iter(["".join(held) + text[end:] for held, text, end in zip(parts, texts, at, strict=True)])
        masked = document.with_text(next(new))
        return masked.with_columns(_filled(document.columns, new)) if self.config.columns else masked

    def _mask(self, kind: Masked, number: int) -> str:
        mask = self.config.masks.get(kind, f"<{kind.upper()}>")
        return re.sub(r"(\W?)\Z", rf"_{number}\1", mask, count=1) if self.config.pseudonyms else mask


_LAST_WORDS = re.compile(r"[!-~]*[ -~]{0,40}\Z")
_END_OF_QUOTATION = re.compile(r"(?<=.{60})[0-9A-Za-z@._+ \-]{1,60}+(?='(?: \(|\)))")
_ROW = ("document", "field", "start", "length", "kind", "number")
_KIND = _ROW.index("kind")


def _numbered(index: int, several: Sequence[tuple[int, str, Sequence[Found]]]) -> Iterator[tuple[int, ...]]:
    """Rows of one document, of what was found in each field; the same value gets the same number."""
    numbers: dict[tuple[str, str], int] = {}
    counts: Counter[str] = Counter()
    for field, text, found in several:
        for one in found:
            value = (one.kind, _plain(text[one.start : one.end], one.kind))
            if value not in numbers:
                counts[one.kind] += 1
                numbers[value] = counts[one.kind]
            yield index, field, one.start, one.end - one.start, KINDS.index(one.kind), numbers[value]


def _plain(value: str, kind: str) -> str:
    """What is the same for all ways of writing a value."""
    if kind in ("secret", "name"):
        return value
    plain = re.sub(r"[^0-9a-z@._+:-]" if kind in ("email", "ip") else "[^0-9a-z]", "", value.lower())
    return re.sub("^(?:00)?86(?=1[3-9][0-9]{9}$)", "", plain) if kind == "phone" else plain


def _entries(look: Arrays, sources: Sequence[str], before: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Rows of the list for the report."""
    source_of = look["source_of"]
    place = np.zeros(len(source_of), np.int64)  # of each document among those of its source
    for number in range(len(sources)):
        own = source_of == number
        place[own] = np.arange(np.count_nonzero(own))
    for document, field, start, length, kind, _ in zip(*(look[name].tolist() for name in _ROW), strict=True):
        source = sources[source_of[document]]
        entry = {
            "kind": KINDS[kind],
            "source": source,
            "text": before.get(source, 0) + int(place[document]),
            "offset": start,
            "length": length,
        }
        yield entry | ({"column": field} if field else {})


def _texts_of(document: Document, columns: bool) -> list[str]:
    """The text, and every text in the columns, in the order in which `_filled` takes them."""
    return [document.text, *_strings(document.columns)] if columns and document.columns else [document.text]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)


def _filled(value: Any, texts: Iterator[str]) -> Any:
    """The same value with other texts in it."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, Mapping):
        return {name: _filled(one, texts) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(one, texts) for one in value]
    return value
