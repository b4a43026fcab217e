"""Texts that are most like a target: the difference of two cross-entropies (Moore and Lewis, 2010).

One n-gram model learns from texts like those that matter in the end, another from as much of the corpus itself; a text
that the first predicts better than the second is worth more for the target than others. This needs no gradient of any
model. This file leaves out how the models are made (`text_models.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.steps.filters.text_models import (
    examples_in,
    look_at,
    model_in,
    sample_of,
    to_arrays,
)
from stepwell.data.steps.step import Arrays, Joined, Outcome, Sources, Step, StepConfig


class SelectionConfig(StepConfig):
    """Which texts are near enough to a target.

    Attributes:
        target: sources of texts like those that matter in the end.
        text_column: the column with the text, for tables of such texts; found by name when absent.
        keep_ratio: share of the training documents that is kept, the nearest ones.
        target_bytes: what is learned from of the target, and of the corpus for each half of it, at most.
        order: longest n-gram, in characters.
        column: gives each text its distance (bits per byte, smaller is nearer) under this name, for a curriculum.
    """

    kind: Literal["selection"] = "selection"
    target: Sources = Field(min_length=1)
    text_column: str | None = None
    keep_ratio: float = Field(default=0.5, gt=0, le=1)
    target_bytes: int = Field(default=2 << 20, ge=10_000, le=1 << 28)
    order: int = Field(default=5, ge=1, le=10)
    column: str | None = None

    def reads(self) -> Sequence[str]:
        return self.target


class Selection(Step[SelectionConfig]):
    """Keep the texts that are most like a target, of those that are learned from; what is held out stays."""

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """A part of the sample of the corpus."""
        return look_at([one for one in documents if one.split == "train"], 2 * self.config.target_bytes)

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told the texts of both models, and `limit` (): the largest distance that is kept."""
        config = self.config
        sample = sample_of(looks, 2 * config.target_bytes)
        target = examples_in(config.target, config.text_column, config.target_bytes, "selection: target")
        size = sum(len(text.encode()) for text in target.texts)
        # A model of more text predicts better, whatever the text: each half of the corpus gives as much as the target.
        general = sample.first(2 * size)
        known = to_arrays(target, "target", halved=False) | to_arrays(general, "corpus", halved=True)
        distances = self._distances([Document(text, "") for text in sample.texts], known)
        limit = float(np.quantile(distances, config.keep_ratio, method="lower")) if len(distances) else np.inf
        if config.keep_ratio == 1:
            limit = np.inf
        findings = {"target_bytes": size, **({"max_distance": round(limit, 4)} if np.isfinite(limit) else {})}
        return Joined([known | {"limit": np.array(limit)}] * len(looks), findings)

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome, told = Outcome(), known or {}
        distances = self._distances(documents, told)
        for document, distance in zip(documents, distances.tolist(), strict=True):
            if document.split == "train" and distance > told["limit"]:
                outcome.dropped.append((document, "far_from_target"))
            else:
                column = self.config.column
                outcome.kept.append(document if column is None else document.with_columns({column: round(distance, 4)}))
        return outcome

    def _distances(self, documents: Sequence[Document], known: Arrays) -> NDArray[np.float64]:
        """(N,) how many more bits per byte the model of the target needs than that of the corpus."""
        order = self.config.order
        return model_in(known, "target", order)(documents) - model_in(known, "corpus", order)(documents)
