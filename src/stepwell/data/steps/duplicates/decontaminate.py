"""Leaks: training documents that hold text of what the model will be judged by.

A leak is an n-gram that a training document shares with validation, test or a benchmark (Brown et al. 2020, appendix
C). 13 words, as there, are about as rarely the same by chance as 18 Chinese characters. A leak is an error until the
recipe says otherwise. This file leaves out near duplicates, which are best dropped before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from stepwell.data.documents import Document, normalize
from stepwell.data.steps.duplicates.leaks import TRAINING, Leaks, NGram, find_leaks, seen_of, worst_leaks
from stepwell.data.steps.step import Arrays, Joined, Outcome, Sources, Step, StepConfig
from stepwell.errors import DataError

SHOWN = 10
SHOWN_IN_AN_ERROR = 3


class DecontaminateConfig(StepConfig):
    """What a leak is, and what it leads to.

    Attributes:
        words: of an n-gram.
        characters: of an n-gram in Chinese, Japanese and other scripts without spaces.
        benchmarks: files, folders or datasets that hold further text which the model will be judged by; each row of a
            table is a text.
        benchmark_column: the column with their text; found by name when absent.
        least_ngrams: that a training document shares with held-out text, for it to leak.
        common_documents: n-grams in more training documents than this are common phrases and do not count (GPT-3 took
            10); all count when absent.
        action: what leaks lead to: nothing is prepared, the training documents are dropped, or they are only reported.
    """

    kind: Literal["decontaminate"] = "decontaminate"
    words: int = Field(default=13, ge=2, le=100)
    characters: int = Field(default=18, ge=2, le=200)
    benchmarks: Sources = ()
    benchmark_column: str | None = None
    least_ngrams: int = Field(default=1, ge=1)
    common_documents: int | None = Field(default=None, ge=1)
    action: Literal["error", "drop", "report"] = "error"

    def reads(self) -> Sequence[str]:
        return self.benchmarks


class Decontaminate(Step[DecontaminateConfig]):
    """Find training documents that hold held-out text."""

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """The n-grams of all documents, and the text of held-out ones; see `seen_of`."""
        held_out = ("validation", "test")
        groups = [held_out.index(one.split) + 1 if one.split in held_out else TRAINING for one in documents]
        return seen_of(documents, groups, self._length)

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `leaks` (N,): which training documents leak.

        Raises:
            DataError: when there are leaks and these are an error, or when a benchmark cannot be read.
        """
        problems: list[str] = []
        everything = _Together(looks, self._benchmarks(problems.append))
        leaks = find_leaks(everything, self.config.common_documents)
        leaking = [counts >= self.config.least_ngrams for counts in leaks.training]
        findings = self._findings(everything, leaks, sum(int(one.sum()) for one in leaking))
        if problems:
            findings["benchmark_problems"] = problems[:SHOWN]
        if findings["leaking_documents"] and self.config.action == "error":
            raise self._error(findings)
        return Joined([{"leaks": one} for one in leaking[: len(looks)]], findings)

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        leaks = np.zeros(len(documents), bool) if known is None else known["leaks"]
        for document, leak in zip(documents, leaks, strict=True):
            if leak and self.config.action == "drop":
                outcome.dropped.append((document, "leak"))
            else:
                outcome.kept.append(document)
        return outcome

    @property
    def _length(self) -> NGram:
        return NGram(self.config.words, self.config.characters)

    @property
    def _groups(self) -> list[str]:
        return ["training", "validation", "test", *self.config.benchmarks]

    def _benchmarks(self, report: Callable[[str], None]) -> list[Arrays]:
        """What is seen of the benchmarks, one after the other."""
        seen = []
        for number, source in enumerate(self.config.benchmarks, start=3):
            documents = list(_texts_of(source, self.config.benchmark_column, report))
            seen.append(seen_of(documents, [number] * len(documents), self._length))
        return seen

    def _findings(self, looks: Sequence[Arrays], leaks: Leaks, leaking: int) -> dict[str, Any]:
        sizes, leaked, too_short = np.zeros((3, len(self._groups)), np.int64)
        ngrams, shared = np.zeros((2, len(self._groups)), np.int64)
        for look, held_out in zip(looks, leaks.held_out, strict=True):
            groups = look["groups"]
            sizes += np.bincount(groups, minlength=len(sizes))
            leaked += np.bincount(groups[held_out > 0], minlength=len(sizes))
            too_short += np.bincount(groups[look["counts"] == 0], minlength=len(sizes))
            np.add.at(ngrams, groups, look["counts"])
            np.add.at(shared, groups, held_out)
        examples = worst_leaks(looks, leaks, self._length, SHOWN)
        return {
            "training_documents": int(sizes[TRAINING]),
            "leaking_documents": leaking,
            "leaking_ratio": _ratio(leaking, sizes[TRAINING]),
            "held_out": {
                name: {
                    "documents": int(sizes[group]),
                    "leaked_documents": int(leaked[group]),
                    "leaked_ratio": _ratio(leaked[group], sizes[group]),
                    "leaked_ngrams_ratio": _ratio(shared[group], ngrams[group]),
                    "too_short_documents": int(too_short[group]),
                }
                for group, name in enumerate(self._groups)
                if group != TRAINING and (sizes[group] or name in self.config.benchmarks)
            },
            "examples": [
                {
                    "source": one.source,
                    "ngrams": one.ngrams,
                    "of": self._groups[one.group],
                    "held_out_source": one.held_out_source,
                    "passage": one.passage,
                }
                for one in examples
                if one.ngrams >= self.config.least_ngrams
            ],
        }

    def _error(self, findings: dict[str, Any]) -> DataError:
        held_out = [
            f"{one['leaked_documents']:,} of {one['documents']:,} in {name}"
            for name, one in findings["held_out"].items()
            if one["leaked_documents"]
        ]
        shown = [
            f'\n  {one["source"]} and {one["of"]} ({one["held_out_source"]}): "{one["passage"]}"'
            for one in findings["examples"][:SHOWN_IN_AN_ERROR]
        ]
        return DataError(
            "training text holds text that the model will be judged by",
            got=f"{findings['leaking_documents']:,} of {findings['training_documents']:,} training documents share "
            f"{self.config.words} words ({self.config.characters} characters in Chinese) or more with held-out "
            f"documents: {', '.join(held_out)}; the worst:{''.join(shown)}",
            wanted="no such passage in training",
            do="find out how it came there; then let these training documents be dropped "
            "(--set data.steps.decontaminate.action=drop), or only reported (report); near_duplicates before it drops "
            "copies, common_documents: 10 lets common phrases be",
        )


class _Together(Sequence[Arrays]):
    """What was seen of the shards, read when asked for, and of the benchmarks."""

    def __init__(self, looks: Sequence[Arrays], more: Sequence[Arrays]) -> None:
        self._looks, self._more = looks, more

    def __len__(self) -> int:
        return len(self._looks) + len(self._more)

    def __getitem__(self, index: Any) -> Any:
        if index >= len(self):
            raise IndexError(index)
        return self._looks[index] if index < len(self._looks) else self._more[index - len(self._looks)]


def _texts_of(source: str, column: str | None, report: Callable[[str], None]) -> Iterator[Document]:
    from stepwell.data.inputs.reading import Reading
    from stepwell.data.inputs.sources import find_inputs

    reading = Reading(column, "replace", report)
    for one in find_inputs([source], report):
        for text in one.read(reading):
            yield Document(normalize("".join(text.blocks), "NFC"), source, is_row=text.is_row)


def _ratio(part: Any, whole: Any) -> float:
    return round(float(part / whole), 6) if whole else 0.0
