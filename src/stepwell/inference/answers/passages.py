"""Answers to questions about a text, as passages of that text.

A model tells of each place in each window how likely an answer begins and ends there; the best passage over all windows
is the answer, or there is none. This file leaves out how passages are compared (`tasks.answer_spans`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import UsageError
from stepwell.hardware import Precision
from stepwell.inference.answers.answer import Answer
from stepwell.inference.answers.labels import tell_token_labels
from stepwell.inference.answers.writing import taken_texts, write_answers
from stepwell.inference.params import SamplingParams
from stepwell.models import LanguageModel
from stepwell.tasks import (
    MODEL,
    Answering,
    FoundAnswer,
    QuestionAnsweringConfig,
    QuestionRead,
    best_answers,
    span_margins,
)
from stepwell.tokenizers import Tokenizer


def tell_places(
    model: LanguageModel, reads: Sequence[QuestionRead], *, precision: Precision = "float32"
) -> list[list[NDArray[np.float32]]]:
    """What a model says of each place: (T, 2) scores of a beginning and of an end, of each window of each question.

    Args:
        model: with a task head of two numbers for each token.
        reads: questions with their windows.
        precision: of the matrix products.

    Raises:
        CheckpointError: when the model has no task head.
    """
    windows = [window.token_ids for read in reads for window in read.windows]
    told = iter(tell_token_labels(model, windows, precision=precision))
    return [[next(told) for _ in read.windows] for read in reads]


def find_answers(
    told: Sequence[Sequence[NDArray[np.float32]]],
    reads: Sequence[QuestionRead],
    task: QuestionAnsweringConfig,
    count: int = 1,
) -> list[list[FoundAnswer]]:
    """The likeliest passages of each question, the best first, whatever the task decides about them.

    Args:
        told: of `tell_places`.
        reads: the questions.
        task: its settings.
        count: of passages, at most.
    """
    longest, none = task.max_answer_tokens or 1, bool(task.unanswerable)
    return [
        best_answers(read, span_margins(read, outputs, longest), count, may_have_none=none)
        for read, outputs in zip(reads, told, strict=True)
    ]


def is_given(found: Sequence[FoundAnswer], task: QuestionAnsweringConfig) -> bool:
    """Whether the best passage is given as the answer."""
    return bool(found) and (not task.unanswerable or found[0].margin > task.decision.least_margin)


def answer_questions(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: QuestionAnsweringConfig,
    asked: Sequence[str | Mapping[str, Any]],
    params: SamplingParams,
) -> list[list[Any]]:
    """Answers to questions that somebody asks.

    Args:
        model: trained for the task.
        tokenizer: the one it was trained with.
        task: its settings.
        asked: examples with a question and a context.
        params: `n` asks for so many of the likeliest answers.

    Returns:
        Of each question one `Answer`, or up to `n`, the best first: in `found` its `text`, `start` and `end` in
        characters of the context, and `probability`. One without a text says that there is no answer. Of a model that
        writes, `Completion`s.

    Raises:
        UsageError: when an example lacks what the task reads, or it is no text.
    """
    if task.mode == "generative":
        return [list(some) for some in write_answers(model, tokenizer, task, asked, params)]
    reader = Answering(task)
    documents = [reader.document(one) for one in asked]
    for document in documents:
        for name, value in document.columns.items():
            if not isinstance(value, str):
                raise UsageError(f"prompt: its {name} is no text", got=repr(value)[:60], wanted="text")
    if MODEL not in task.decision.members:
        return [[Answer(one.text)] for one in taken_texts(documents, task)]
    reads = reader.read(documents, tokenizer)
    answers: list[list[Any]] = []
    for found in find_answers(tell_places(model, reads), reads, task, params.n):
        spoken = [Answer(one.text, found=[_as_plain(one)]) for one in found]
        answers.append((spoken if is_given(found, task) else [Answer(""), *spoken])[: params.n])
    return answers


def _as_plain(found: FoundAnswer) -> dict[str, Any]:
    return {"text": found.text, "start": found.start, "end": found.end, "probability": found.probability}
