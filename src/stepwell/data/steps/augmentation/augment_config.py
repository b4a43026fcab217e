"""The settings of the step `augment`: by which methods, how often, and what each method needs.

This file leaves out what the methods do (`augment.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from stepwell.config import Config
from stepwell.data.steps.augmentation.rewriting import Chinese
from stepwell.data.steps.step import StepConfig

Ratio = Annotated[float, Field(gt=0, le=1)]


class Dropout(Config):
    """Words are left out.

    Attributes:
        ratio: chance of each word.
        chinese: what counts as a word of Chinese.
    """

    kind: Literal["dropout"] = "dropout"
    ratio: Ratio = 0.1
    chinese: Chinese = "words"


class Swap(Config):
    """Words change places.

    Attributes:
        ratio: share of the words that are moved.
        distance_words: how far apart two that change places are at most.
        chinese: what counts as a word of Chinese.
    """

    kind: Literal["swap"] = "swap"
    ratio: Ratio = 0.1
    distance_words: int = Field(default=4, ge=1)
    chinese: Chinese = "words"


class Synonyms(Config):
    """Words are replaced by others of a list.

    Attributes:
        path: lines of a word and its synonyms with tabs between, or `.jsonl` with `word` and `synonyms`.
        ratio: chance of each word that has synonyms.
    """

    kind: Literal["synonyms"] = "synonyms"
    path: str
    ratio: Ratio = 0.3


class BackTranslation(Config):
    """A text is translated and translated back by two models.

    Attributes:
        there: checkpoint that translates into another language.
        back: checkpoint that translates back.
        prompt_there: what the first is asked; `{text}` stands for the text.
        prompt_back: what the second is asked; `{text}` stands for the translation.
        longest_characters: longer texts are left alone.
    """

    kind: Literal["back_translation"] = "back_translation"
    there: str
    back: str
    prompt_there: str = "{text}"
    prompt_back: str = "{text}"
    longest_characters: int = Field(default=1000, ge=1)

    @field_validator("prompt_there", "prompt_back")
    @classmethod
    def _has_the_text(cls, prompt: str) -> str:
        if fields_of(prompt) != ["text"]:
            raise ValueError("{text} once, and no other name in braces")
        return prompt


class Generation(Config):
    """A model writes another text.

    Attributes:
        checkpoint: that writes.
        prompt: what it is asked; `{text}` stands for the text, `{beginning}` for its first words and the name of a
            column for its value. Where it ends in `{beginning}`, the new text begins with that.
        beginning_ratio: share of the words that are the beginning.
        stop: what ends the new text; null for as much as the model writes.
        longest_characters: longer texts are left alone.
    """

    kind: Literal["generation"] = "generation"
    checkpoint: str
    prompt: str = "{beginning}"
    beginning_ratio: Ratio = 0.3
    stop: str | None = "\n\n"
    longest_characters: int = Field(default=4000, ge=1)

    @field_validator("prompt")
    @classmethod
    def _can_be_filled(cls, prompt: str) -> str:
        if not fields_of(prompt):
            raise ValueError("{text}, {beginning} or {the name of a column} in it, so that prompts differ")
        return prompt


Method = Dropout | Swap | Synonyms | BackTranslation | Generation


def _as_methods(value: object) -> object:
    """A method may be written as its kind alone."""
    several = [value] if isinstance(value, str) else value
    return [{"kind": one} if isinstance(one, str) else one for one in several] if isinstance(several, list) else value


class AugmentConfig(StepConfig):
    """How training documents are made of others.

    Attributes:
        methods: how; each made document is drawn one of them.
        rate: documents that are made of each training document; 0.5 makes one of every second.
    """

    kind: Literal["augment"] = "augment"
    methods: Annotated[
        tuple[Annotated[Method, Field(discriminator="kind")], ...], BeforeValidator(_as_methods), Field(min_length=1)
    ]
    rate: float = Field(default=1.0, gt=0, le=100)

    def reads(self) -> Sequence[str]:
        """Lists of synonyms."""
        return [method.path for method in self.methods if isinstance(method, Synonyms)]

    def models(self) -> Sequence[str]:
        """Those that write texts."""
        return [one for method in self.methods for one in checkpoints_of(method)]


def checkpoints_of(method: Method) -> tuple[str, ...]:
    """The checkpoints that a method needs."""
    if isinstance(method, BackTranslation):
        return method.there, method.back
    return (method.checkpoint,) if isinstance(method, Generation) else ()


def fields_of(prompt: str) -> list[str]:
    """The names in braces of a prompt.

    Raises:
        ValueError: when braces do not match, or hold anything but a name.
    """
    fields = [part for part in Formatter().parse(prompt) if part[1] is not None]
    for _, name, form, conversion in fields:
        if form or conversion or not (name or "").isidentifier():
            raise ValueError(f"only names in braces, not {{{name}}}; a brace of the text itself is written twice")
    return [str(name) for _, name, _, _ in fields]
