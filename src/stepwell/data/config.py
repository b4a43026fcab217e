"""What text to learn from, and how it is cleaned and split.

The defaults fit prose in any language. This file leaves out everything that reads a file, so that a recipe can be
checked quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stepwell.config import Config
from stepwell.data.fields import FieldConfig
from stepwell.data.steps.catalog import STEPS, AnyStepConfig
from stepwell.data.steps.step import Sources


def _as_steps(value: object) -> object:
    """A step may be written as its kind alone; several as a mapping from kinds to settings."""
    if isinstance(value, str):
        return [{"kind": value}]
    if isinstance(value, dict) and all(isinstance(settings or {}, dict) for settings in value.values()):
        return [{"kind": kind, **(settings or {})} for kind, settings in value.items()]
    return [{"kind": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


Steps = Annotated[tuple[AnyStepConfig, ...], BeforeValidator(_as_steps)]
"""Steps in the order in which they are done."""


class DataConfig(Config):
    """Where text comes from and how it becomes documents.

    Attributes:
        sources: files, folders, globs, archives, objects in stores (`s3://bucket/folder`), `hf://owner/name[:split]`,
            `sample:python-docs` or `sample:python-code`.
        validation: own sources for the validation split; it then takes nothing from `sources`.
        test: own sources for the test split; it then takes nothing from `sources`.
        text_column: the column with the text, for tables; found by name when absent.
        encoding_errors: what happens to text that is not UTF-8: bytes replaced, or the file skipped.
        validation_ratio: share of the documents that are held out for validation.
        test_ratio: share of the documents that are read once, at the end.
        document_bytes: a longer text is cut into documents of at most this size.
        deduplicate: drop documents whose text was seen before.
        normalization: the Unicode form all text is brought to.
        columns: of a table, that go with each text.
        fields: what each example has, and the columns that may hold it; a task says it.
        steps: what is done to the text, in this order; a step without settings is its kind alone. Those that need to
            know the splits come last.
    """

    sources: Sources = Field(min_length=1)
    validation: Sources = ()
    test: Sources = ()
    text_column: str | None = None
    encoding_errors: Literal["replace", "skip"] = "replace"
    validation_ratio: float = Field(default=0.1, ge=0, lt=1)
    test_ratio: float = Field(default=0.05, ge=0, lt=1)
    document_bytes: int = Field(default=4096, ge=512, le=1 << 24)
    deduplicate: bool = True
    normalization: Literal["NFC", "NFKC", "none"] = "NFC"
    columns: Sources = ()
    fields: Mapping[str, FieldConfig] = {}
    steps: Steps = ()

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.validation_ratio + self.test_ratio >= 1:
            raise ValueError("validation_ratio and test_ratio together below 1")
        return self

    @field_validator("steps")
    @classmethod
    def _in_an_order_that_works(cls, steps: tuple[AnyStepConfig, ...]) -> tuple[AnyStepConfig, ...]:
        kinds = [step.kind for step in steps]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"each step once; there is more than one {', '.join(twice)}")
        for before, after in pairwise(kinds):
            if STEPS[before].place == "after_split" and STEPS[after].place == "before_split":
                raise ValueError(f"{after} before {before}, which needs to know the splits")
        return steps
