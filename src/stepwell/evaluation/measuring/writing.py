"""How well a model writes what a task wants: texts are searched for, and right ones are told token by token.

Each example keeps a row of counts, and no logits. The loss is that of the right texts, each token given the right ones
before it; while training goes on it is all that is looked at. This file leaves out the metrics of the texts
(`translation.py`, `summarization.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from stepwell.data import Document, TokenSplit
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share
from stepwell.evaluation.scores.summarization import SummaryScores
from stepwell.evaluation.scores.translation import TranslationScores
from stepwell.hardware import Precision
from stepwell.inference import Completion, Marked, TokenScores, score_targets, taken_texts, write_texts
from stepwell.models import LanguageModel
from stepwell.tasks import (
    MODEL,
    QuestionAnsweringConfig,
    SummarizationConfig,
    TranslationConfig,
    Writing,
    WritingConfig,
    build_task,
    right_answers,
)
from stepwell.tokenizers import Tokenizer


@dataclass(frozen=True)
class WritingScores(Scores):
    """What a model made of each of N examples, beside what is said of its texts.

    Attributes:
        nats: (N,) negative log-likelihood of the right text, its end token included.
        tokens: (N,) of the right text.
        correct: (N,) for how many tokens the likeliest was the right one.
        stopped: (N,) 1 where the model's text ended by itself.
        texts: (N,) 1.
    """

    nats: FloatArray
    tokens: FloatArray
    correct: FloatArray
    stopped: FloatArray
    texts: FloatArray


WritingScores.metrics = {
    "loss": Metric(
        lambda totals: share(totals.nats, totals.tokens), higher_is_better=False, unit="nats per token", per="token"
    ),
    "token_accuracy": Metric(
        lambda totals: share(totals.correct, totals.tokens),
        higher_is_better=True,
        unit="share of tokens predicted",
        per="token",
    ),
    "stop_ratio": Metric(
        lambda totals: share(totals.stopped, totals.texts),
        higher_is_better=True,
        unit="share of texts that end by themselves",
        per="example",
    ),
}


@dataclass(frozen=True)
class TranslatedScores(WritingScores, TranslationScores):
    """Translations of a model, and how it tells the right ones."""


@dataclass(frozen=True)
class SummarizedScores(WritingScores, SummaryScores):
    """Summaries of a model, and how it tells the right ones."""


TranslatedScores.metrics = {**TranslationScores.metrics, **WritingScores.metrics}
SummarizedScores.metrics = {**SummaryScores.metrics, **WritingScores.metrics}

ScoresT = TypeVar("ScoresT", bound=WritingScores)


def written_scores(cls: type[ScoresT], of_texts: Scores, told: list[TokenScores], written: list[Completion]) -> ScoresT:
    """Scores of texts together with those of tokens.

    Args:
        cls: a `WritingScores` that has the fields of the former too.
        of_texts: what is said of the model's texts.
        told: how the model tells the right texts.
        written: its own.
    """
    beside: dict[str, Any] = {
        "nats": np.array([-one.logprobs.sum(dtype=np.float64) for one in told], np.float64),
        "tokens": np.array([len(one.logprobs) for one in told], np.float64),
        "correct": np.array([one.correct.sum() for one in told], np.float64),
        "stopped": np.array([one.finish_reason == "stop" for one in written], np.float64),
        "texts": np.ones(len(written)),
    }
    names = {field.name for field in fields(cls)}
    scores = cls(**{name: array for name, array in {**of_texts.arrays(), **beside}.items() if name in names})
    return scores.saying([{"answer": one.text} for one in written])


def evaluate_translation(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: TranslationConfig,
    precision: Precision = "float32",
) -> TranslatedScores:
    """Translate the examples of a split, and score that.

    Args:
        model: trained for the task.
        split: examples of `task`.
        documents: one for each example.
        tokenizer: of the split.
        task: how to search, and which language it is.
        precision: of the matrix products.
    """
    written = write_targets(model, split, documents, tokenizer, task, precision)
    right = references_of(documents, task)
    of_texts = score_translations([one.text for one in written], right, task)
    return written_scores(TranslatedScores, of_texts, tell_targets(model, split, tokenizer, precision), written)


def evaluate_summarization(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: SummarizationConfig,
    precision: Precision = "float32",
) -> SummarizedScores:
    """Summarize the examples of a split, and score that; as `evaluate_translation`."""
    written = write_targets(model, split, documents, tokenizer, task, precision)
    right = references_of(documents, task)
    of_texts = score_summaries([one.text for one in written], right, task)
    return written_scores(SummarizedScores, of_texts, tell_targets(model, split, tokenizer, precision), written)


def score_translations(texts: Sequence[str], references: Sequence[list[str]], task: TranslationConfig) -> Scores:
    """Scores of translations into the language of the task."""
    return TranslationScores.of(texts, references, task.target_language or "en")


def score_summaries(texts: Sequence[str], references: Sequence[list[str]], task: SummarizationConfig) -> Scores:
    """Scores of summaries."""
    return SummaryScores.of(texts, references)


def references_of(documents: Sequence[Document], task: WritingConfig) -> list[list[str]]:
    """What people wrote for each example."""
    if isinstance(task, QuestionAnsweringConfig):
        return [[answer.text for answer in right_answers(one)] for one in documents]
    reader = build_task(task)
    assert isinstance(reader, Writing)
    return [reader.references(one) for one in documents]


def tell_targets(
    model: LanguageModel, split: TokenSplit, tokenizer: Tokenizer, precision: Precision = "float32"
) -> list[TokenScores]:
    """How a model tells the right texts of a split."""
    return score_targets(model, tokenizer, marked_of(split), precision=precision)


def write_targets(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: WritingConfig,
    precision: Precision = "float32",
) -> list[Completion]:
    """The best text that a model finds for each example of a split, or what the task's decision takes of it."""
    if MODEL not in task.decision.members:
        return taken_texts(documents, task)
    prompts = [one.token_ids[: one.source_tokens] for one in marked_of(split)]
    return [several[0] for several in write_texts(model, tokenizer, task, prompts, precision=precision)]


def loss_on_the_way(
    model: LanguageModel, split: TokenSplit, tokenizer: Tokenizer, precision: Precision = "float32"
) -> dict[str, float]:
    """What is looked at while training goes on: `loss`, `token_accuracy`."""
    told = tell_targets(model, split, tokenizer, precision)
    tokens = max(1, sum(len(one.logprobs) for one in told))
    return {
        "loss": -sum(float(one.logprobs.sum(dtype=np.float64)) for one in told) / tokens,
        "token_accuracy": sum(int(one.correct.sum()) for one in told) / tokens,
    }


def marked_of(split: TokenSplit) -> list[Marked]:
    """The examples of a split with the places where their targets begin."""
    borders = split.of_document["source_tokens"].tolist()
    return [Marked(split.document(number), borders[number]) for number in range(split.num_documents)]
