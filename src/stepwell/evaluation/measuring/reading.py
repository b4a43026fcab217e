"""How well a model answers questions about texts: by passages that it finds, or in words that it writes.

Every question counts, also one whose right answer stands nowhere in its context. From which margin on a passage is
given, where some questions have no answer, is chosen on held-out questions. This file leaves out what exact match and
F1 are (`answers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepwell.data import Document, TokenSplit
from stepwell.evaluation.intervals import bootstrap
from stepwell.evaluation.measuring.beam_choice import choose_search
from stepwell.evaluation.measuring.writing import (
    WritingScores,
    references_of,
    tell_targets,
    write_targets,
    written_scores,
)
from stepwell.evaluation.scores.answers import AnswerScores
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share
from stepwell.hardware import Precision
from stepwell.inference import find_answers, is_given, taken_texts, tell_places
from stepwell.models import LanguageModel
from stepwell.tasks import (
    BEGIN,
    END,
    MODEL,
    Answering,
    QuestionAnsweringConfig,
    best_margin,
    taken,
    taken_by,
)
from stepwell.tokenizers import Tokenizer


@dataclass(frozen=True)
class FoundAnswerScores(AnswerScores):
    """Passages that a model finds, and how it tells the right ones.

    Attributes:
        nats: (N,) how unlikely the right beginnings and ends were in the windows of a question, the mean of both.
        windows: (N,) in which that was measured; 0 where a right answer stands nowhere.
    """

    nats: FloatArray
    windows: FloatArray


@dataclass(frozen=True)
class WrittenAnswerScores(WritingScores, AnswerScores):
    """Answers that a model writes, and how it tells the right ones."""


FoundAnswerScores.metrics = {
    **AnswerScores.metrics,
    "loss": Metric(
        lambda totals: share(totals.nats, totals.windows), higher_is_better=False, unit="nats per window", per="token"
    ),
}
WrittenAnswerScores.metrics = {**AnswerScores.metrics, **WritingScores.metrics}


def answering_scores(task: QuestionAnsweringConfig) -> type[Scores]:
    """The class of a task's scores."""
    return FoundAnswerScores if task.mode == "extractive" else WrittenAnswerScores


def evaluate_answers(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: QuestionAnsweringConfig,
    precision: Precision = "float32",
) -> AnswerScores:
    """Score answers to questions.

    Args:
        model: trained for the task.
        split: examples of `task`; where answers are found, all windows of `documents` are read anyway.
        documents: the questions.
        tokenizer: of the split.
        task: how answers are chosen.
        precision: of the matrix products.

    Returns:
        `FoundAnswerScores`, or `WrittenAnswerScores` of a model that writes.
    """
    if task.mode == "extractive":
        return _found_scores(model, documents, tokenizer, task, precision)
    written = write_targets(model, split, documents, tokenizer, task, precision)
    scores = score_answers([one.text for one in written], references_of(documents, task), task)
    measured = written_scores(WrittenAnswerScores, scores, tell_targets(model, split, tokenizer, precision), written)
    return measured.saying([{"answer": one.text} for one in written])


def score_answers(
    texts: Sequence[str], references: Sequence[Sequence[str]], task: QuestionAnsweringConfig
) -> AnswerScores:
    """Scores of answers in the language of the task."""
    return AnswerScores.of(texts, references, language=task.language)


def _found_scores(
    model: LanguageModel,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: QuestionAnsweringConfig,
    precision: Precision,
) -> FoundAnswerScores:
    reads = Answering(task).read(documents, tokenizer)
    told = tell_places(model, reads, precision=precision)
    found = find_answers(told, reads, task)
    texts = [several[0].text if is_given(several, task) else "" for several in found]
    if MODEL not in task.decision.members:
        texts = [one.text for one in taken_texts(documents, task)]
    scores = score_answers(texts, references_of(documents, task), task)
    marks = [Answering(task).marks(document, read) for document, read in zip(documents, reads, strict=True)]
    nats = [sum(nats_of(*pair) for pair in zip(*several, strict=False)) for several in zip(told, marks, strict=True)]
    windows = np.array([len(some) for some in marks], np.float64)
    all_scores = FoundAnswerScores(**scores.arrays(), nats=np.array(nats, np.float64), windows=windows)
    return all_scores.saying([{"answer": text} for text in texts])


def choose_answering(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: QuestionAnsweringConfig,
    metric: str,
    precision: Precision = "float32",
) -> QuestionAnsweringConfig:
    """A task with the decision that does best on held-out questions: a margin, or of a model that writes a search.

    Args:
        model: as in `evaluate_answers`.
        split: as in `evaluate_answers`.
        documents: as in `evaluate_answers`.
        tokenizer: as in `evaluate_answers`.
        task: as in `evaluate_answers`.
        metric: by which one is better.
        precision: as in `evaluate_answers`.
    """
    if task.mode == "extractive":
        with_margin = choose_margin(model, documents, tokenizer, task, metric, precision)
        return choose_passage(model, documents, tokenizer, with_margin, metric, precision)
    found = choose_search(
        model, split, documents, tokenizer, task, score_answers, metric=metric, precision=precision
    ).decision
    search = {name: getattr(found, name) for name in ("beam_size", "length_penalty", "members")}
    return task.model_copy(update={"decision": task.decision.model_copy(update=search)})


def choose_passage(
    model: LanguageModel,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: QuestionAnsweringConfig,
    metric: str,
    precision: Precision = "float32",
) -> QuestionAnsweringConfig:
    """A task with who gives the better passages: the model, or what is taken of the text without it.

    Args:
        model: trained for the task.
        documents: held-out questions.
        tokenizer: that the model was trained with.
        task: its margin counts.
        metric: by which one is better; where it says nothing about answers (`loss`), the task stays as it is.
        precision: of the matrix products.
    """
    if metric not in AnswerScores.metrics:
        return task
    right = references_of(documents, task)
    found = _found_scores(model, documents, tokenizer, task, precision)
    tried = [(bootstrap(found, metric, resamples=1).value, task)]
    for name in taken_by(task):
        aside = task.model_copy(update={"decision": task.decision.model_copy(update={"members": (name,)})})
        scores = score_answers([taken(name, task, one) for one in documents], right, task)
        tried.append((bootstrap(scores, metric, resamples=1).value, aside))
    return max(tried, key=lambda one: one[0])[1]


def choose_margin(
    model: LanguageModel,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: QuestionAnsweringConfig,
    metric: str,
    precision: Precision = "float32",
) -> QuestionAnsweringConfig:
    """A task with the margin from which on it is best to give an answer.

    Args:
        model: trained for the task.
        documents: held-out questions; without one that has no answer the task stays as it is.
        tokenizer: that the model was trained with.
        task: whose passages are looked at.
        metric: `exact_match`, or anything else for `f1`.
        precision: of the matrix products.
    """
    right = references_of(documents, task)
    if not task.unanswerable or all(right):
        return task
    reads = Answering(task).read(documents, tokenizer)
    found = find_answers(tell_places(model, reads, precision=precision), reads, task)
    worth = [
        np.asarray(scores.exact if metric == "exact_match" else scores.f1, np.float64)
        for scores in (
            score_answers([several[0].text if several else "" for several in found], right, task),
            score_answers([""] * len(documents), right, task),
        )
    ]
    margins = [several[0].margin if several else -np.inf for several in found]
    decision = task.decision.model_copy(update={"least_margin": best_margin(margins, worth[0], worth[1])})
    return task.model_copy(update={"decision": decision})


def nats_of(outputs: np.ndarray, marks: np.ndarray) -> float:
    """How unlikely the right beginnings and ends of a window are, the mean of both.

    Args:
        outputs: (T, 2) scores.
        marks: (T,) as the task writes them; all zero where nothing is right.
    """
    allowed = marks > 0
    scores, said = np.asarray(outputs, np.float64)[allowed], marks[allowed]
    total = 0.0
    for column, bit in ((0, BEGIN), (1, END)):
        right = scores[(said & bit) > 0, column]
        total += np.logaddexp.reduce(scores[:, column]) - np.logaddexp.reduce(right)
    return float(total / 2)
