"""Summarization: what a text says, in fewer words; a headline is such a summary.

This file leaves out how a summary is searched for (`inference`) and measured (`evaluation`).
"""

from __future__ import annotations

from typing import Literal

from stepwell.tasks.pairs import PairConfig, PairWriting


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
