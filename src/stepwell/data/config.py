"""What text to learn from, and how it is cleaned and split.

The defaults fit prose in any language. This file leaves out everything that reads a file, so that a recipe can be
checked quickly.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stepwell.config import Config


def _as_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Sources = Annotated[tuple[str, ...], BeforeValidator(_as_several)]
"""One source or several; a recipe may write a single one without brackets."""


class DataConfig(Config):
    """Where text comes from and how it becomes documents.

    Attributes:
        sources: files, folders, globs, `hf://owner/name[:split]`, `sample:python-docs` or `sample:python-code`.
        validation: own sources for the validation split; it then takes nothing from `sources`.
        test: own sources for the test split; it then takes nothing from `sources`.
        text_column: the column with the text, for tables; found by name when absent.
        encoding_errors: what happens to text that is not UTF-8: bytes replaced, or the file skipped.
        validation_ratio: share of the documents that are held out for validation.
        test_ratio: share of the documents that are read once, at the end.
        document_bytes: a longer text is cut into documents of at most this size.
        deduplicate: drop documents whose text was seen before.
        normalization: the Unicode form all text is brought to.
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

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.validation_ratio + self.test_ratio >= 1:
            raise ValueError("validation_ratio and test_ratio together below 1")
        return self
