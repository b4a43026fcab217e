"""How a model is measured by its task: one row for each task.

A judge turns a model and held-out examples into scores, of which every metric of the task is a sum, and shows a few of
its answers. Adding a task is one row here beside the one in `tasks`. This file leaves out the scores (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.data import TokenSplit
from stepwell.evaluation import (
    ClassificationScores,
    LanguageModelingScores,
    Metric,
    RegressionScores,
    Scores,
    evaluate_classification,
    evaluate_language_modeling,
    label_scores,
)
from stepwell.hardware import Precision
from stepwell.inference import tell_labels
from stepwell.models import LanguageModel
from stepwell.recipes import Recipe
from stepwell.studies.corpus import Corpus
from stepwell.studies.speaking import prompts_of, speak
from stepwell.tasks import ClassificationConfig, TaskConfig, in_words

Shown = tuple[list[dict[str, str]], list[float]]
"""Prompts with answers, and the share of repeated 4-grams of each text that was written."""

SHOWN_EXAMPLES = 6
SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class Judge:
    """One task's.

    Attributes:
        evaluate: (model, examples, task, precision) -> scores.
        scores: task -> class of its scores.
        show: (model, corpus, recipe) -> a few answers.
        watched: metric that is shown on the way, beside the loss.
        metrics: every metric by name.
    """

    evaluate: Callable[[LanguageModel, TokenSplit, Any, Precision], Scores]
    scores: Callable[[Any], type[Scores]]
    show: Callable[[LanguageModel, Corpus, Recipe], Shown]
    watched: str
    metrics: Mapping[str, Metric]


def _text(model: LanguageModel, split: TokenSplit, task: TaskConfig, precision: Precision) -> Scores:
    return evaluate_language_modeling(model, split, precision=precision)


def _completions(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    return speak(model, corpus.tokenizer, prompts_of(recipe, corpus), recipe)


def _labels(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    """Validation texts with the labels that the model gives them."""
    split, texts = corpus.tokens.split("validation"), corpus.text.texts("validation")
    chosen = range(0, split.num_documents, max(1, split.num_documents // SHOWN_EXAMPLES))[:SHOWN_EXAMPLES]
    outputs = tell_labels(model, [split.document(n)[:-1] for n in chosen])
    assert isinstance(recipe.task, ClassificationConfig)
    words = in_words(outputs, recipe.task)
    samples = [
        {"prompt": " ".join(texts[int(split.of_document["text"][n])][:SHOWN_CHARACTERS].split()), "text": word}
        for n, word in zip(chosen, words, strict=True)
    ]
    return samples, []


JUDGES: dict[str, Judge] = {
    "language_modeling": Judge(
        _text, lambda task: LanguageModelingScores, _completions, "bits_per_byte", LanguageModelingScores.metrics
    ),
    "classification": Judge(
        evaluate_classification,
        label_scores,
        _labels,
        "loss",
        {**RegressionScores.metrics, **ClassificationScores.metrics},
    ),
}
"""Kind of a task -> how it is judged."""


def judge_of(task: TaskConfig) -> Judge:
    """The judge of a task."""
    return JUDGES[task.kind]
