"""Texts that an n-gram model finds too hard, or too easy, to predict (Wenzek et al., 2020, CCNet).

The model is a Kneser-Ney model of characters, of texts that the user trusts or of a sample of the corpus itself. Shares
are taken of Chinese and of other texts apart, because a byte of Chinese is easier or harder to predict than one of
English, not better or worse. This file leaves out how the models are made (`text_models.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stepwell.data.documents import Document
from stepwell.data.steps.filters.quality.page import is_chinese
from stepwell.data.steps.filters.text_models import (
    examples_in,
    look_at,
    model_in,
    sample_of,
    to_arrays,
)
from stepwell.data.steps.step import Arrays, Joined, Outcome, Sources, Step, StepConfig

SCRIPTS = ("other", "chinese")
"""Texts that are compared with each other."""


class PerplexityConfig(StepConfig):
    """Which texts are too hard or too easy to predict.

    Attributes:
        reference: sources of texts that the model learns from, such as good prose; without any it learns from a sample
            of the corpus, and a text is judged by a model that did not see it.
        text_column: the column with the text, for tables of such texts; found by name when absent.
        reference_bytes: what is learned from, at most; also the sample that shares are estimated on.
        order: longest n-gram, in characters.
        drop_highest_ratio: share of the training documents that is dropped because they are the hardest to predict.
        drop_lowest_ratio: share that is dropped because they are the easiest: lists, repetition, boilerplate.
        max_bits_per_byte: drop what is harder, whatever its share.
        min_bits_per_byte: drop what is easier.
        column: gives each text its bits per byte under this name, for a curriculum.
    """

    kind: Literal["perplexity"] = "perplexity"
    reference: Sources = ()
    text_column: str | None = None
    reference_bytes: int = Field(default=2 << 20, ge=10_000, le=1 << 28)
    order: int = Field(default=5, ge=1, le=10)
    drop_highest_ratio: float = Field(default=0.1, ge=0, lt=1)
    drop_lowest_ratio: float = Field(default=0.0, ge=0, lt=1)
    max_bits_per_byte: float | None = Field(default=None, gt=0)
    min_bits_per_byte: float | None = Field(default=None, gt=0)
    column: str | None = None

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        if self.drop_highest_ratio + self.drop_lowest_ratio >= 1:
            raise ValueError("drop_highest_ratio and drop_lowest_ratio together below 1")
        low, high = self.min_bits_per_byte, self.max_bits_per_byte
        if low is not None and high is not None and low >= high:
            raise ValueError("min_bits_per_byte below max_bits_per_byte")
        return self

    def reads(self) -> Sequence[str]:
        return self.reference


class Perplexity(Step[PerplexityConfig]):
    """Drop texts that are too hard or too easy to predict, of those that are learned from.

    What is held out stays, so that models of differently filtered text are judged by the same.
    """

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """A part of the sample of the corpus."""
        return look_at([one for one in documents if one.split == "train"], self.config.reference_bytes)

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told the texts that the model learns from, and `limits` (2, 2): low, high of each script."""
        config = self.config
        sample = sample_of(looks, config.reference_bytes)
        learned = sample
        if config.reference:
            learned = examples_in(config.reference, config.text_column, config.reference_bytes, "perplexity: reference")
        known = to_arrays(learned, "model", halved=not config.reference)
        documents = [Document(text, "") for text in sample.texts]
        scores = model_in(known, "model", config.order)(documents)
        scripts = np.array([is_chinese(text) for text in sample.texts], np.int64)
        limits = np.array([self._limits(scores[scripts == script]) for script in range(len(SCRIPTS))])
        findings: dict[str, float] = {}
        for number, (script, both) in enumerate(zip(SCRIPTS, limits.tolist(), strict=True)):
            if (scripts == number).any():
                median = float(np.median(scores[scripts == number]))
                told = {"min_bits_per_byte": both[0], "median_bits_per_byte": median, "max_bits_per_byte": both[1]}
                findings |= {f"{name}_{script}": round(one, 4) for name, one in told.items() if np.isfinite(one)}
        return Joined([known | {"limits": limits}] * len(looks), findings)

    def _limits(self, scores: NDArray[np.float64]) -> tuple[float, float]:
        """What is kept of a script: from the first to the second."""
        config = self.config
        low = -np.inf if config.min_bits_per_byte is None else config.min_bits_per_byte
        high = np.inf if config.max_bits_per_byte is None else config.max_bits_per_byte
        if len(scores) and config.drop_lowest_ratio:
            low = max(low, float(np.quantile(scores, config.drop_lowest_ratio, method="lower")))
        if len(scores) and config.drop_highest_ratio:
            high = min(high, float(np.quantile(scores, 1 - config.drop_highest_ratio, method="higher")))
        return low, high

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome, told = Outcome(), known or {}
        scores = model_in(told, "model", self.config.order)(documents)
        for document, score in zip(documents, scores.tolist(), strict=True):
            low, high = told["limits"][int(is_chinese(document.text))]
            if document.split == "train" and score > high:
                outcome.dropped.append((document, "hard_to_predict"))
            elif document.split == "train" and score < low:
                outcome.dropped.append((document, "easy_to_predict"))
            else:
                column = self.config.column
                outcome.kept.append(document if column is None else document.with_columns({column: round(score, 4)}))
        return outcome
