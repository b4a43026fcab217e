"""A curriculum: how difficult each training document is, by which training takes the easy ones first.

Documents are not moved here; they get a number as a column, and rows are packed in its order (`tokens/packing.py`).
The number is the length, how badly the text can be compressed, how rare its words are, or any column of numbers. This
file leaves out whether a curriculum pays: the loop measures that.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.shingles import Shingles, shingles_of
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig
from stepwell.errors import DataError

DIFFICULTY = "difficulty"
"""The column that this step writes; the smaller, the easier."""


class OrderConfig(StepConfig):
    """In which order training takes documents.

    Attributes:
        by: what makes a document difficult: `length` (bytes), `compression` (compressed size over size), `rare_words`
            (mean information of its words, Chinese: its characters, in bits, by their frequency in the training text),
            or a `column` of numbers.
        column: for `by: column`; it must be among the `columns` of the data, or made by an earlier step.
        descending: whether the difficult ones come first.
        epochs: epochs in this order; later ones are shuffled. null orders every epoch.
    """

    kind: Literal["order"] = "order"
    by: Literal["length", "compression", "rare_words", "column"] = "length"
    column: str | None = None
    descending: bool = False
    epochs: Annotated[int, Field(ge=1)] | None = 1

    @model_validator(mode="after")
    def _column_is_named(self) -> Self:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("`column` with `by: column`, and only there")
        return self


class Order(Step[OrderConfig]):
    """Write how difficult each training document is."""

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """For `rare_words` the words of the shard (`words`, hashed) and how often each is there (`counts`)."""
        if self.config.by != "rare_words":
            return {"words": np.zeros(0, np.uint64), "counts": np.zeros(0, np.int64)}
        words, counts = np.unique(_units(_training(documents)).hashes, return_counts=True)
        return {"words": words, "counts": counts.astype(np.int64)}

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told how much its words say (`bits`)."""
        if self.config.by == "rare_words":
            held = list(looks)
            words, places = np.unique(np.concatenate([look["words"] for look in held]), return_inverse=True)
            counts = np.bincount(places, np.concatenate([look["counts"] for look in held]), len(words))
            bits = np.log2(counts.sum()) - np.log2(counts) if len(words) else counts
            known = [{"words": look["words"], "bits": bits[np.searchsorted(words, look["words"])]} for look in held]
        else:
            known = [{} for _ in range(len(looks))]
        settings = self.config
        findings = {"by": settings.column or settings.by, "descending": settings.descending, "epochs": settings.epochs}
        return Joined(known, findings)

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        numbers = self._difficulties(_training(documents), known or {})
        for document in documents:
            if document.split != "train":
                outcome.kept.append(document)
                continue
            number = next(numbers)
            if document.columns.get(DIFFICULTY, number) != number:
                raise DataError(
                    f"order: the documents have a column {DIFFICULTY} of their own",
                    do=f"order by it (by: column, column: {DIFFICULTY}), or leave it out of data.columns",
                )
            outcome.kept.append(document.with_columns({DIFFICULTY: number}))
        outcome.findings["ordered"] = sum(one.split == "train" for one in documents)
        return outcome

    def _difficulties(self, documents: Sequence[Document], known: Arrays) -> Iterator[float]:
        by = self.config.by
        if by == "length":
            yield from (float(one.num_bytes) for one in documents)
        elif by == "compression":
            yield from (compression_ratio(one.text) for one in documents)
        elif by == "rare_words":
            yield from _mean_bits(_units(documents), known["words"], known["bits"])
        else:
            yield from (self._number(one) for one in documents)

    def _number(self, document: Document) -> float:
        column = self.config.column or ""
        value: Any = document.columns.get(column)
        there = ", ".join(document.columns) or "none"
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(
                f"order: column {column} is no number in a document of {document.source}",
                got=repr(value)[:60] if column in document.columns else f"columns: {there}",
                wanted="a finite number in each training document",
                do="name another column, or add this one to data.columns",
            )
        return float(value)


def _training(documents: Sequence[Document]) -> list[Document]:
    return [one for one in documents if one.split == "train"]


def _units(documents: Sequence[Document]) -> Shingles:
    return shingles_of([one.text for one in documents], 1, 1)


def _mean_bits(units: Shingles, words: NDArray[np.uint64], bits: NDArray[np.float64]) -> Iterator[float]:
    for number in range(len(units)):
        own = units.of(number)
        yield round(float(bits[np.searchsorted(words, own)].mean()), 6) if len(own) else 0.0


def compression_ratio(text: str) -> float:
    """Compressed size over size as UTF-8, by raw DEFLATE; near 0 for what repeats itself, above 1 for a few bytes."""
    data = text.encode()
    deflate = zlib.compressobj(6, wbits=-15)
    return round((len(deflate.compress(data)) + len(deflate.flush())) / max(1, len(data)), 6)
