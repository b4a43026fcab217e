"""Text repaired: broken encodings, control characters, lines that repeat.

This file leaves out what is dropped as a whole (`quality.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from stepwell.data.documents import Document
from stepwell.data.steps.step import Arrays, Outcome, Step, StepConfig

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class CleanConfig(StepConfig):
    """What is repaired.

    Attributes:
        control_characters: remove characters that are not text.
    """

    kind: Literal["clean"] = "clean"
    control_characters: bool = True


class Clean(Step[CleanConfig]):
    """Repair texts; drop those that are empty then."""

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        for document in documents:
            text = _CONTROLS.sub("", document.text) if self.config.control_characters else document.text
            if text != document.text:
                outcome.changed["control_characters"] += 1
            if text.strip():
                outcome.kept.append(document.with_text(text))
            else:
                outcome.dropped.append((document, "empty"))
        return outcome
