"""Answers that a model writes: question and text are read, and the answer is written in its own words.

A question without an answer is answered by an end token alone. This file leaves out how an answer is searched for
(`inference`), and answers that are passages (`question_answering`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

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

_SENTENCE = re.compile(r"[^。！？!?…\n]+?(?:[。！？!?…]+[”’」』）】》\"')\]]*|\.[\"')\]]*(?=\s|$)|\n|$)")
_UNITS = re.compile("[\u3400-\u9fff]|[^\\W\u3400-\u9fff]+")


class AnswerWriting(Writing[QuestionAnsweringConfig]):
    """Answers are written; see `QuestionAnsweringConfig`."""

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

    def fault(self, document: Document) -> str | None:
        """See `Writing.fault`."""
        return fault_of(document)


def likely_sentence(question: str, context: str) -> str:
    """A baseline of answers: the sentence that shares most words, characters and pairs of them with the question.

    Args:
        question: as it is asked.
        context: where the answer is looked for; of equal sentences the first is taken.
    """
    asked = _ngrams(question)
    sentences: list[str] = [one.strip() for one in _SENTENCE.findall(context) if one.strip()] or [context.strip()]
    return max(sentences, key=lambda one: (_ngrams(one) & asked).total())


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    units = _UNITS.findall(text.lower())
    return Counter((one,) for one in units) + Counter(pairwise(units))
