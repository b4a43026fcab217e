"""Language modelling: the text itself, each token told from its neighbours.

Documents are what they are; there is nothing to make of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from stepwell.data import Document, Example, FieldConfig
from stepwell.tasks.task import Found, Task, TaskConfig
from stepwell.tokenizers import Tokenizer


class LanguageModelingConfig(TaskConfig):
    """Plain text."""

    kind: Literal["language_modeling"] = "language_modeling"


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class PlainText(Task[ConfigT]):
    """A task whose documents are the text itself."""

    @property
    def metric(self) -> str:
        return "bits_per_byte"

    def fields(self) -> Mapping[str, FieldConfig]:
        return {}

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        raise AssertionError("plain text is no set of examples")

    def needs(self) -> Found:
        return {}


class LanguageModeling(PlainText[LanguageModelingConfig]):
    """See `LanguageModelingConfig`."""
