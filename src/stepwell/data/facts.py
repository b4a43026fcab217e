"""What is known about a corpus once it is prepared: sizes, languages, splits, and what was wrong with it.

Plain values only, so that they go into a manifest and a report as they are. This file leaves out how they are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SourceFacts:
    """How much one source gave, duplicates left out."""

    source: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class SplitFacts:
    """How large one split is."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus in numbers.

    Attributes:
        sources: what each source gave, in the order they were written.
        documents: number of documents, all splits together.
        bytes: their size as UTF-8.
        characters: their size in Unicode characters.
        duplicates: documents left out because their text was there already.
        languages: language code -> share of the bytes, measured on a sample; the largest first.
        splits: split name -> its size.
        problems: what was skipped, replaced or not understood, as sentences.
    """

    sources: tuple[SourceFacts, ...]
    documents: int
    bytes: int
    characters: int
    duplicates: int
    languages: Mapping[str, float]
    splits: Mapping[str, SplitFacts]
    problems: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self) | {"sources": [asdict(one) for one in self.sources], "problems": list(self.problems)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CorpusFacts:
        """Read what `as_dict` gave."""
        return cls(
            sources=tuple(SourceFacts(**one) for one in values["sources"]),
            documents=values["documents"],
            bytes=values["bytes"],
            characters=values["characters"],
            duplicates=values["duplicates"],
            languages=dict(values["languages"]),
            splits={name: SplitFacts(**one) for name, one in values["splits"].items()},
            problems=tuple(values["problems"]),
        )
