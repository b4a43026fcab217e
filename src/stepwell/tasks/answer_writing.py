"""Answers that a model writes: question and text are read, and the answer is written in its own words.

A question without an answer is answered by an end token alone. This file leaves out how an answer is searched for
(`inference`), and answers that are passages (`question_answering`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.data import Document, FieldConfig, PreparedText
from stepwell.tasks.pairs import Prompt, Writing
from stepwell.tasks.question_answering import (
    QuestionAnsweringConfig,
    fault_of,
    fields_of,
    found_in,
    right_answers,
    said,
)
from stepwell.tasks.task import Found


class AnswerWriting(Writing[QuestionAnsweringConfig]):
    """Answers are written; see `QuestionAnsweringConfig`."""

    answer_field = "answers"

    depth, epochs, tuning_epochs = 4, 12.0, 3.0

    @property
    def metric(self) -> str:
        return "f1"

    def fields(self) -> Mapping[str, FieldConfig]:
        return fields_of(self.config)

    def find(self, text: PreparedText) -> Found:
        """See `found_in`.

        Raises:
            DataError: likewise.
        """
        return found_in(text)

    def prompt(self, document: Document) -> Prompt:
        """Question and context; where there is no room the context loses its end."""
        question, context = said(document, "question").strip(), said(document, "context").strip()
        if self.config.template is None:
            return Prompt(f"{question}\n", context, "", ends=True)
        before, after = self.config.template.split("{context}")
        return Prompt(before.replace("{question}", question), context, after.replace("{question}", question), False)

    def references(self, document: Document) -> list[str]:
        """The right answers; none where there is none."""
        return list(dict.fromkeys(one.text for one in right_answers(document)))

    def answer(self, said: str, probabilities: Mapping[str, float]) -> Any:
        return [said] if said else []

    def fault(self, document: Document) -> str | None:
        """See `Writing.fault`."""
        return fault_of(document)
