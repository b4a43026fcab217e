"""A few answers of a model on held-out examples, as a person would want to see them: one row for each task.

This file leaves out how answers are made (`inference`) and measured (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Callable

from stepwell.evaluation import answers_to, nearest_held, repeated_ngram_ratio
from stepwell.inference import SamplingParams, answer_many, generate_many
from stepwell.models import LanguageModel
from stepwell.recipes import Recipe
from stepwell.studies.corpus import Corpus
from stepwell.studies.speaking import prompts_of, speak
from stepwell.tasks import Chat, ChatConfig, Preference, PreferenceConfig, VectorsConfig, members_of, undecided

Shown = tuple[list[dict[str, str]], list[float]]
"""Prompts with answers, and the share of repeated 4-grams of each text that was written."""

SHOWN_EXAMPLES = 6
SHOWN_CHARACTERS = 120


def show(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    """A few answers, by the task of the recipe."""
    return SHOWN.get(recipe.task.kind, answers)(model, corpus, recipe)


def completions(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    """What a model of plain text makes of the prompts."""
    return speak(model, corpus.tokenizer, prompts_of(recipe, corpus), recipe)


def answers(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    """Validation examples, spread evenly, with the answer of the model."""
    held = corpus.held("validation", SHOWN_EXAMPLES)
    asked = [{"text": one.text, **one.columns} for one in held.documents]
    params = SamplingParams(temperature=0.0, max_tokens=recipe.study.sample_tokens)
    task = undecided(recipe.task) if members_of(recipe.task) else recipe.task  # what the model itself says
    told = answer_many(model, corpus.tokenizer, task, asked, params)
    return [
        {"prompt": " ".join(one.text[:SHOWN_CHARACTERS].split()), "text": some[0].text}
        for one, some in zip(held.documents, told, strict=True)
    ], []


def conversations(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    """What the model answers at the end of a few validation conversations, drawn as the recipe draws."""
    task, documents = recipe.task, corpus.held("validation", SHOWN_EXAMPLES).documents
    assert isinstance(task, ChatConfig)
    params = recipe.decoding.model_copy(update={"max_tokens": recipe.study.sample_tokens})
    told = answers_to(documents, model, corpus.tokenizer, task, params)
    asked = [Chat(task).asked(one.columns)[-1]["content"] for one in documents]
    return [
        {"prompt": " ".join(prompt[:SHOWN_CHARACTERS].split()), "text": answer.text}
        for prompt, answer in zip(asked, told, strict=True)
    ], [repeated_ngram_ratio(answer.token_ids) for answer in told]


def preferred(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    """What the model answers to a few validation prompts, drawn as the recipe draws."""
    task, documents = recipe.task, corpus.held("validation", SHOWN_EXAMPLES).documents
    assert isinstance(task, PreferenceConfig)
    params = recipe.decoding.model_copy(update={"max_tokens": recipe.study.sample_tokens, "n": 1})
    asked = [Preference(task).prompted(one.columns) for one in documents]
    told = [some[0] for some in generate_many(model, corpus.tokenizer, asked, params)]
    return [
        {"prompt": _short(messages[-1]["content"]), "text": answer.text}
        for messages, answer in zip(asked, told, strict=True)
    ], [repeated_ngram_ratio(answer.token_ids) for answer in told]


def neighbours(model: LanguageModel, corpus: Corpus, recipe: Recipe) -> Shown:
    """Queries of a few validation examples, with the nearest of the documents that a round is judged by."""
    task, held = recipe.task, corpus.held("validation", max_bytes=recipe.study.validation_bytes)
    assert isinstance(task, VectorsConfig)
    found = nearest_held(model, held.documents, corpus.tokenizer, task, SHOWN_EXAMPLES)
    return [{"prompt": _short(query), "text": _short(document)} for query, document in found], []


def _short(text: str) -> str:
    return " ".join(text[:SHOWN_CHARACTERS].split())


SHOWN: dict[str, Callable[[LanguageModel, Corpus, Recipe], Shown]] = {
    "language_modeling": completions,
    "generation": completions,
    "chat": conversations,
    "preference": preferred,
    "retrieval": neighbours,
    "embedding": neighbours,
}
"""Kind of a task -> what is shown, where it is not `answers`."""
