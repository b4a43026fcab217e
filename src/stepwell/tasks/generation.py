"""Generation: stories, poems, code, letters. Plain text is learned, and what the model writes is judged beside it.

Training is that of language modelling, to the bit. What differs is what is looked at: how varied texts are that the
model writes of its own, how much they repeat themselves, and which way of drawing comes nearest to real text in both.
This file leaves out how that is measured (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from stepwell.config import Config
from stepwell.tasks.language_modeling import PlainText
from stepwell.tasks.task import TaskConfig

WRITERS = ("language_modeling", "generation", "chat", "preference")
"""Kinds of tasks whose models go on with a text, or answer it."""


class DrawingConfig(Config):
    """How tokens are drawn, chosen on validation so that texts are as varied as real ones; None as `decoding` says.

    Attributes:
        temperature: divides the logits.
        top_p: only the fewest tokens whose probabilities sum to at least this may be drawn.
        repetition_penalty: makes tokens that stand in the text already less likely when above 1.
    """

    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None

    def chosen(self) -> dict[str, float]:
        """What it says, as fields of `SamplingParams`."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class GenerationConfig(TaskConfig):
    """Plain text, by a model that is to write more of it.

    Attributes:
        prompt_words: to judge it, held-out texts are gone on with from so many words; a Chinese character is a word.
        texts: how many of them.
        decision: how tokens are drawn.
    """

    kind: Literal["generation"] = "generation"
    prompt_words: Annotated[int, Field(ge=1)] = 8
    texts: Annotated[int, Field(ge=2)] = 32
    decision: DrawingConfig = DrawingConfig()


class Generation(PlainText[GenerationConfig]):
    """See `GenerationConfig`."""


def usual_drawing(task: TaskConfig, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """How a finished model draws where nobody says: as its run found best, each time anew.

    Args:
        task: that it was trained for.
        provenance: of the model.

    Returns:
        Fields of `SamplingParams`.
    """
    chosen = task.decision.chosen() if isinstance(task, GenerationConfig) else {}
    return {**provenance.get("decoding", {}), **chosen, "seed": None, "n": 1}
