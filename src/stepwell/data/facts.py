"""What is known about a corpus once it is prepared: sizes, languages, splits, and what was wrong with it.

Plain values only, so that they go into a manifest and a report as they are. This file leaves out how they are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
class DroppedExample:
    """The beginning of a document that a step dropped, and why."""

    reason: str
    source: str
    text: str


EXAMPLES = 20
"""Dropped documents that are shown for each step and reason, at most."""

EXAMPLE_CHARACTERS = 400
"""How much of each is shown."""


@dataclass(frozen=True)
class StepFacts:
    """What one step of the pipeline did.

    Attributes:
        kind: of the step.
        documents_in: that came.
        documents_out: that went on.
        bytes_in: their size as UTF-8.
        bytes_out: likewise.
        seconds: of work, summed over the workers; not the same in every run.
        dropped: reason -> documents.
        changed: what was done -> documents.
        examples: some of the dropped, in the order of the corpus.
        findings: what else it tells, plain JSON values; numbers of shards are added up.
    """

    kind: str
    documents_in: int = 0
    documents_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = field(default=0.0, compare=False)
    dropped: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    examples: Sequence[DroppedExample] = ()
    findings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes_per_second(self) -> float | None:
        """Speed of one worker; None where there was nothing to measure."""
        return self.bytes_in / self.seconds if self.seconds > 0 and self.bytes_in else None

    def plus(self, other: StepFacts) -> StepFacts:
        """Both together: two shards of one step."""
        examples, seen = [], Counter[str]()
        for one in (*self.examples, *other.examples):
            seen[one.reason] += 1
            if seen[one.reason] <= EXAMPLES:
                examples.append(one)
        return StepFacts(
            kind=self.kind,
            documents_in=self.documents_in + other.documents_in,
            documents_out=self.documents_out + other.documents_out,
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
            seconds=self.seconds + other.seconds,
            dropped=_sums(self.dropped, other.dropped),
            changed=_sums(self.changed, other.changed),
            examples=tuple(examples),
            findings=_sums(self.findings, other.findings),
        )

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self) | {"examples": [asdict(one) for one in self.examples]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StepFacts:
        """Read what `as_dict` gave."""
        return cls(**{**values, "examples": tuple(DroppedExample(**one) for one in values["examples"])})


def _sums(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of the same name added; what is no number is taken from the later."""
    both = dict(one)
    for name, value in other.items():
        both[name] = both[name] + value if isinstance(both.get(name), int | float) else value
    return both


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
        steps: what each step of the pipeline did, in order.
    """

    sources: tuple[SourceFacts, ...]
    documents: int
    bytes: int
    characters: int
    duplicates: int
    languages: Mapping[str, float]
    splits: Mapping[str, SplitFacts]
    problems: Sequence[str]
    steps: Sequence[StepFacts] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self) | {
            "sources": [asdict(one) for one in self.sources],
            "problems": list(self.problems),
            "steps": [one.as_dict() for one in self.steps],
        }

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
            steps=tuple(StepFacts.from_dict(one) for one in values["steps"]),
        )
