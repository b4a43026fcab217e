"""What a model says of an example of its task, in words and in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a model says of an example.

    Attributes:
        text: as a person reads it.
        probabilities: of each label, the likeliest first; empty where there are none.
        found: parts of the text that the answer is about, each with what it is.
    """

    text: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    found: Sequence[Mapping[str, Any]] = ()
