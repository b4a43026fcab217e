"""Translation: a sentence in one language is written in another.

The language that is translated into decides how words are counted when a translation is measured, and is found in the
targets. This file leaves out how a translation is searched for (`inference`) and measured (`evaluation`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Literal

from stepwell.data import PreparedText, language_scores
from stepwell.tasks.pairs import PairConfig, PairWriting
from stepwell.tasks.task import Found

LOOKED_AT = 500
"""Targets whose language is looked at."""


class TranslationConfig(PairConfig):
    """Sentences and their translations.

    Attributes:
        target_language: code of ISO 639 (`en`, `zh`); words of Chinese and Japanese are counted by character. Found in
            the targets.
    """

    kind: Literal["translation"] = "translation"
    target_language: str | None = None


class Translation(PairWriting[TranslationConfig]):
    """See `TranslationConfig`."""

    depth, epochs, tuning_epochs = 4, 18.0, 3.0
    whole_ratio = 1.0  # half a sentence has another translation
    vocabulary_factor = 4  # two languages share it, and sentences are short (benchmarks/LOG.md)
    usual_sources = ("source", "src", "en", "english", "text", "input")
    usual_targets = ("target", "tgt", "translation", "fr", "zh", "de", "es", "ja", "ru", "chinese", "french", "output")

    @property
    def metric(self) -> str:
        return "bleu"

    def find(self, text: PreparedText) -> Found:
        """The language of the targets."""
        targets = [str(columns.get("target") or "") for columns in islice(text.each_columns("train"), LOOKED_AT)]
        return {"target_language": (language_of(targets), "most targets are in it")}


def language_of(texts: Sequence[str]) -> str:
    """The language that most of some texts are in, by their letters; English where nothing tells."""
    sizes: Counter[str] = Counter()
    for text in texts:
        sizes[next(iter(language_scores(text)), "")] += len(text)
    del sizes[""]
    return max(sizes, key=lambda one: sizes[one], default="en")
