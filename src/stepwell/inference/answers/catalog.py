"""Answers by the task that a model was trained for: labels for a text, a text for a text.

A plain language model goes on with its prompt. One that was trained for a task reads the prompt as an example of that
task, and what it says is read back as the task's answer. One row of a table for each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.baselines import SimpleModel, TextModel
from stepwell.errors import UsageError
from stepwell.inference.answers.answer import Answer
from stepwell.inference.answers.chat import answer_conversations, answer_prompts
from stepwell.inference.answers.labels import tell_classes
from stepwell.inference.answers.passages import answer_questions
from stepwell.inference.answers.tags import tag_texts
from stepwell.inference.answers.writing import write_answers
from stepwell.inference.embedding import vectors_for
from stepwell.inference.masked import complete_many
from stepwell.inference.params import SamplingParams
from stepwell.models import LanguageModel
from stepwell.tasks import (
    MODEL,
    Classification,
    ClassificationConfig,
    TaggingConfig,
    TaskConfig,
    Vectors,
    VectorsConfig,
    build_task,
    decided,
    in_words,
    told_by_head,
)
from stepwell.tokenizers import Tokenizer

Asked = str | Mapping[str, Any]
"""A text, or an example by the names of its fields."""


def answer_many(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: TaskConfig,
    asked: Sequence[Asked],
    params: SamplingParams,
    beside: Mapping[str, SimpleModel] | None = None,
) -> list[list[Any]]:
    """Answers to examples.

    Args:
        model: trained for the task.
        tokenizer: the one it was trained with.
        task: its settings, as the model was trained with.
        asked: N texts or examples.
        params: how text is written, for tasks that write.
        beside: simple models by name that the task's decision listens to.

    Returns:
        For each example its answers: `Completion`s of tasks that write, else one `Answer`.

    Raises:
        UsageError: when an example lacks what the task reads.
    """
    others = {"beside": beside} if beside else {}
    return ANSWERS[task.kind](model, tokenizer, task, asked, params, **others)


def complete_texts(
    model: LanguageModel, tokenizer: Tokenizer, task: TaskConfig, asked: Sequence[Asked], params: SamplingParams
) -> list[list[Any]]:
    """Go on with prompts, or fill their masks."""
    strange = [one for one in asked if not isinstance(one, str)]
    if strange:
        raise UsageError("prompt: is no text", got=repr(strange[0])[:80], wanted="text, or jsonl with `prompt`")
    return [list(some) for some in complete_many(model, tokenizer, [str(one) for one in asked], params)]


def label_texts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: TaskConfig,
    asked: Sequence[Asked],
    params: SamplingParams,
    beside: Mapping[str, SimpleModel] | None = None,
) -> list[list[Any]]:
    """Labels of texts with their probabilities, or numbers, by all that the task's decision listens to."""
    assert isinstance(task, ClassificationConfig)
    reader = build_task(task)
    assert isinstance(reader, Classification)
    documents = [reader.document(one) for one in asked]
    told: dict[str, NDArray[Any]] = {}
    for name in task.decision.members:
        if name == MODEL:
            rows = [ids for ids, _ in reader.read(documents, tokenizer)]
            told[name] = told_by_head(tell_classes(model, tokenizer, task, rows), task)
        else:
            simple = (beside or {})[name]
            assert isinstance(simple, TextModel)
            told[name] = simple.tell([document.text for document in documents])
    together = decided(told, task)
    words = in_words(together, task)
    if task.problem == "number":
        return [[Answer(word)] for word in words]
    found = []
    for word, row in zip(words, together, strict=True):
        order = np.argsort(-row, kind="stable").tolist()
        found.append([Answer(word, {task.labels[place]: float(row[place]) for place in order})])
    return found


def tag_words(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: TaskConfig,
    asked: Sequence[Asked],
    params: SamplingParams,
    beside: Mapping[str, SimpleModel] | None = None,
) -> list[list[Any]]:
    """Tags of words, by the model or by who the task's decision names."""
    assert isinstance(task, TaggingConfig)
    return [list(some) for some in tag_texts(model, tokenizer, task, asked, beside)]


def compare_texts(
    model: LanguageModel, tokenizer: Tokenizer, task: TaskConfig, asked: Sequence[Asked], params: SamplingParams
) -> list[list[Any]]:
    """How alike the two texts of each example are: their cosine."""
    assert isinstance(task, VectorsConfig)
    reader = build_task(task)
    assert isinstance(reader, Vectors)
    pairs = [reader.two_texts(reader.document(one)) for one in asked]
    first = vectors_for(model, tokenizer, task, [one for one, _ in pairs], "query")
    second = vectors_for(model, tokenizer, task, [one for _, one in pairs], "document")
    return [[Answer(f"{cosine:.4f}")] for cosine in (first * second).sum(1).tolist()]


ANSWERS: dict[str, Callable[..., list[list[Any]]]] = {
    "language_modeling": complete_texts,
    "generation": complete_texts,
    "chat": answer_conversations,
    "preference": answer_prompts,
    "classification": label_texts,
    "retrieval": compare_texts,
    "embedding": compare_texts,
    "translation": write_answers,
    "summarization": write_answers,
    "question_answering": answer_questions,
    "tagging": tag_words,
}
"""Kind of a task -> function of (model, tokenizer, task, asked, params); a new task is one function and one row."""
