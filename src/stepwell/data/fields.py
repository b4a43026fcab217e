"""Fields of an example: what a task wants of each row, and the columns of a table that may hold it.

Tables name the same thing in many ways, so a field lists columns and the first that is there is taken. The text of a
document is what its fields of text say, and values go with it under the names of their fields. This file leaves out
what a task does with them (`tasks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from stepwell.config import Config

SPOKEN = ("content", "value", "text")
"""Keys of a mapping inside a field that hold its text: what is said in a turn of a conversation."""


class FieldConfig(Config):
    """One field.

    Attributes:
        columns: that may hold it; the first that a table has is taken.
        needed: whether a table without it is an error.
        is_text: whether it is a part of the text, which is cleaned, compared and split by.
        kept: whether its value goes with the text under the field's name.
        is_answer: whether a model is to tell it; who asks the model leaves it out.
        is_group: whether examples that share its value go to one split together, such as questions about one text.
    """

    columns: tuple[str, ...] = Field(min_length=1)
    needed: bool = True
    is_text: bool = False
    kept: bool = True
    is_answer: bool = False
    is_group: bool = False


Fields = Mapping[str, FieldConfig]


def group_field(fields: Fields) -> str | None:
    """The name of the field by which examples go together; None where each stands for itself."""
    return next((name for name, field in fields.items() if field.is_group and field.kept), None)


def text_of(values: Sequence[object]) -> str:
    """The text of an example: what its fields say, a blank line between them."""
    return "\n\n".join(said for value in values if (said := _said(value)).strip())


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return next((_said(value[key]) for key in SPOKEN if key in value), "")
    if isinstance(value, list | tuple):
        between = "\n" if any(isinstance(one, Mapping) for one in value) else _between_words(value)
        return between.join(said for one in value if (said := _said(one)))
    return ""


def _between_words(words: Sequence[Any]) -> str:
    """What stands between the words of a list: nothing where each is a character, as Chinese text is often cut."""
    single = all(isinstance(one, str) and len(one) <= 1 for one in words)
    return "" if single and any("\u3400" <= one <= "\u9fff" for one in words) else " "
