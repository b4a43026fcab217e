"""Summarization: what a text says, in fewer words; a headline is such a summary.

This file leaves out how a summary is searched for (`inference`) and measured (`evaluation`).
"""

from __future__ import annotations

import re
from typing import Literal

from stepwell.tasks.pairs import PairConfig, PairWriting

_FIRST_SENTENCE = re.compile(r"\s*(.+?(?:[。！？!?…]+[”’」』）】》\"')\]]*|\.[\"')\]]*(?=\s|$)|\n|$))", re.DOTALL)


class SummarizationConfig(PairConfig):
    """Texts and their summaries."""

    kind: Literal["summarization"] = "summarization"


class Summarization(PairWriting[SummarizationConfig]):
    """See `SummarizationConfig`."""

    depth, epochs, tuning_epochs = 4, 20.0, 3.0
    usual_sources = ("document", "article", "text", "content", "source", "body", "abstract", "input")
    usual_targets = ("summary", "highlights", "title", "headline", "target", "output")

    @property
    def metric(self) -> str:
        return "rouge_l"


def first_sentence(text: str) -> str:
    """The baseline of a summary (lead-1): the first sentence, by English and Chinese marks, or the first line."""
    found = _FIRST_SENTENCE.match(text)
    return found[1].strip() if found else text.strip()
