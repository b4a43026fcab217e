"""Documents as examples of a task: token ids, and what goes with them.

A plain document is its tokens. A task says more of it: which tokens count, which label is right. What cannot be an
example is left out for a reason, what is too long is shortened, and both are counted and named, never done in silence.
This file leaves out the tasks (`tasks`).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stepwell.data.documents import Document
from stepwell.tokenizers import Tokenizer

LONGEST_SHOWN = 5
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        token_ids: (T,) its tokens; the last one is a target only, never read.
        aligned: (T,) values that go with the tokens, by name.
        of_document: values that go with the whole, by name; numbers or arrays of one shape.
        left_out_tokens: how many tokens of the text did not fit.
        remark: what a person should know of it, in a few words; those alike are counted together.
    """

    token_ids: NDArray[np.integer]
    aligned: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    of_document: Mapping[str, Any] = field(default_factory=dict)
    left_out_tokens: int = 0
    remark: str = ""


class ExampleMaker(Protocol):
    """Makes examples of documents: a task, or a part of one."""

    @property
    def key(self) -> str:
        """Names everything that the examples depend on beside text and tokenizer."""

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str | Sequence[Example]]:
        """An example of each document, several of one that is read in parts, or in a few words why there is none."""


@dataclass
class ExampleFacts:
    """What became of the documents of a split.

    Attributes:
        examples: how many there are.
        left_out: reason -> documents that are no example.
        shortened: examples of which a part did not fit.
        left_out_tokens: that did not fit, of all.
        longest: the beginnings of those of which most did not fit, each with that number of tokens.
        remarks: what was said of examples -> how many.
    """

    examples: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    shortened: int = 0
    left_out_tokens: int = 0
    longest: list[tuple[int, str]] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)

    def note(self, document: Document, made: Example | str | Sequence[Example]) -> None:
        """Count what was made of one."""
        if isinstance(made, str):
            self.left_out[made] += 1
            return
        for one in _several(made):
            self._count(document, one)

    def _count(self, document: Document, made: Example) -> None:
        self.examples += 1
        if made.remark:
            self.remarks[made.remark] += 1
        if made.left_out_tokens:
            self.shortened += 1
            self.left_out_tokens += made.left_out_tokens
            entry = (made.left_out_tokens, " ".join(document.text[:SHOWN_CHARACTERS].split()))
            add = heapq.heappush if len(self.longest) < LONGEST_SHOWN else heapq.heappushpop
            add(self.longest, entry)

    def problems(self) -> list[str]:
        """What a person should know of it, in a sentence each."""
        told = []
        if left_out := sum(self.left_out.values()):
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in self.left_out.items())
            told.append(f"{left_out:,} of {left_out + self.examples:,} documents are no examples ({reasons})")
        if self.shortened:
            tokens, text = max(self.longest)
            told.append(
                f"{self.shortened:,} of {self.examples:,} examples are too long; {self.left_out_tokens:,} tokens are "
                f"left out, most of {text[:40]!r} ({tokens:,})"
            )
        return told + [f"{count:,} of {self.examples:,} examples: {remark}" for remark, count in self.remarks.items()]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        counted = {"left_out": dict(self.left_out), "remarks": dict(self.remarks)}
        return {**vars(self), **counted, "longest": sorted(self.longest, reverse=True)}


@dataclass(frozen=True)
class Made:
    """The examples of some documents, put together.

    Attributes:
        token_ids: all tokens.
        lengths: of each example.
        aligned: for all tokens, by name.
        of_document: for all examples, by name; `text` is which document each was made of.
    """

    token_ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    aligned: Mapping[str, NDArray[Any]]
    of_document: Mapping[str, NDArray[Any]]


def examples_of(
    documents: Iterable[Document], maker: ExampleMaker, tokenizer: Tokenizer, facts: ExampleFacts, at_once: int = 1024
) -> Iterator[Made]:
    """Examples of documents, some at a time.

    Args:
        documents: in order.
        maker: makes them.
        tokenizer: of the tokens.
        facts: is told what became of each document.
        at_once: documents that are put together.
    """
    held: list[Document] = []
    first = 0
    for document in documents:
        held.append(document)
        if len(held) == at_once:
            yield from _together(held, first, maker, tokenizer, facts)
            first, held = first + len(held), []
    yield from _together(held, first, maker, tokenizer, facts)


def _several(made: Example | str | Sequence[Example]) -> Sequence[Example]:
    """The examples of one document."""
    return [made] if isinstance(made, Example) else [] if isinstance(made, str) else made


def _together(
    documents: Sequence[Document], first: int, maker: ExampleMaker, tokenizer: Tokenizer, facts: ExampleFacts
) -> Iterator[Made]:
    if not documents:
        return
    made = maker.make(documents, tokenizer)
    for document, one in zip(documents, made, strict=True):
        facts.note(document, one)
    kept = [(number, one) for number, some in enumerate(made, start=first) for one in _several(some)]
    if not kept:
        return
    example = kept[0][1]
    of_document = {
        name: np.stack([np.asarray(one.of_document[name]) for _, one in kept]) for name in example.of_document
    }
    yield Made(
        np.concatenate([np.asarray(one.token_ids, np.int32) for _, one in kept]),
        np.array([len(one.token_ids) for _, one in kept], np.int64),
        {name: np.concatenate([one.aligned[name] for _, one in kept]) for name in example.aligned},
        {"text": np.array([number for number, _ in kept], np.int64), **of_document},
    )
