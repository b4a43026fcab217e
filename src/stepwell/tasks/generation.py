"""Generation: stories, poems, code, letters. Plain text is learned, and what the model writes is judged beside it.

Training is that of language modelling, to the bit. What differs is what is looked at: how varied texts are that the
model writes of its own, how much they repeat themselves, and which way of drawing comes nearest to real text in both.
This file leaves out how that is measured (`evaluation`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.config import Config
from stepwell.tasks.language_modeling import PlainText
from stepwell.tasks.task import TaskConfig


class WritingDecisionConfig(Config):
    """What is written to judge a model by.

    Attributes:
        prompt_words: a text is gone on with from so many words of a held-out one; a Chinese character is a word.
        texts: how many are written.
    """

    prompt_words: Annotated[int, Field(ge=1)] = 8
    texts: Annotated[int, Field(ge=2)] = 16


class GenerationConfig(TaskConfig):
    """Plain text, by a model that is to write more of it.

    Attributes:
        decision: how it is judged.
    """

    kind: Literal["generation"] = "generation"
    decision: WritingDecisionConfig = WritingDecisionConfig()


class Generation(PlainText[GenerationConfig]):
    """See `GenerationConfig`."""
