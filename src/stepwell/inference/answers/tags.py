"""Tags of words: what a task head says of each token, and the best sequence that the scheme allows.

A span is as probable as all sequences together that have it there. This file leaves out words and schemes (`tasks`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.baselines import SimpleModel, Tagger
from stepwell.hardware import Precision
from stepwell.inference.answers.answer import Answer
from stepwell.inference.answers.labels import tell_token_labels
from stepwell.models import LanguageModel
from stepwell.tasks import (
    MODEL,
    Chain,
    Floats,
    TaggedRead,
    Tagging,
    TaggingConfig,
    Word,
    best_tags,
    reading_of,
    spans_of,
)
from stepwell.tokenizers import Tokenizer


@dataclass(frozen=True)
class ToldTags:
    """What a model says of some sentences.

    Attributes:
        scores: (W, K) of each sentence, one row for each word.
        transitions: (K + 1, K + 1) with what the scheme forbids.
        tags: the best sequence of each sentence, as numbers.
        learned: (K + 1, K + 1) as the model has them; zeros where it has none.
    """

    scores: Sequence[Floats]
    transitions: Floats
    tags: Sequence[Sequence[int]]
    learned: Floats


def tell_tags(
    model: LanguageModel, task: TaggingConfig, reads: Sequence[TaggedRead], *, precision: Precision = "float32"
) -> ToldTags:
    """Tags of sentences.

    Args:
        model: trained for the task.
        task: its settings.
        reads: N sentences as `Tagging.read` gives them.
        precision: of the matrix products.

    Raises:
        CheckpointError: when the model has no task head.
    """
    outputs = tell_token_labels(model, [one.token_ids for one in reads], precision=precision)
    scores = [read.of_words(told) for read, told in zip(reads, outputs, strict=True)]
    head = model.task_head
    learned = None if head is None or head.transitions is None else head.transitions.detach().float().cpu().numpy()
    transitions = Tagging(task).transitions(learned)
    tags = [row.tolist() for row in best_tags(scores, transitions)]
    return ToldTags(scores, transitions, tags, 0 * transitions if learned is None else learned.astype(float))


def tag_texts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: TaggingConfig,
    asked: Sequence[str | Mapping[str, Any]],
    beside: Mapping[str, SimpleModel] | None = None,
) -> list[list[Answer]]:
    """The spans of texts, or the tag of each word.

    Args:
        model: trained for the task.
        tokenizer: the one it was trained with.
        task: its settings.
        asked: texts, or examples with their words.
        beside: simple models by name; the one that the decision names must be there.

    Returns:
        One `Answer` each; in `found` each span's `type`, `text`, `start` and `end` in characters of the text, and
        `probability`, which simple models do not tell.
    """
    reader = Tagging(task)
    documents = [reader.document(one) for one in asked]
    if MODEL not in task.decision.members:
        return _by_simple_model([reader.placed(one) for one in documents], task, beside or {})
    windows = [reader.windows(one, tokenizer) for one in documents]
    told = tell_tags(model, task, [read for several in windows for read in several])
    parts = iter(zip(told.scores, told.tags, strict=True))
    answers = []
    for document, several in zip(documents, windows, strict=True):
        text, words = reader.placed(document)
        found, at = [], 0
        for _ in several:
            scores, tags = next(parts)
            here = words[at : at + len(tags)]
            found += _found(text, here, tags, scores, told.transitions, task) if here else []
            at += len(tags)
        answers.append([Answer(marked_text(text, found, task), found=found)])
    return answers


def _by_simple_model(
    placed: Sequence[tuple[str, Sequence[Word]]], task: TaggingConfig, beside: Mapping[str, SimpleModel]
) -> list[list[Answer]]:
    tagged = tags_by_simple_model([[word.text for word in words] for _, words in placed], task, beside)
    answers = []
    for (text, words), names in zip(placed, tagged, strict=True):
        found = [part for part, _, _ in _spans(text, words, names, task)]
        answers.append([Answer(marked_text(text, found, task), found=found)])
    return answers


def tags_by_simple_model(
    words: Sequence[Sequence[str]], task: TaggingConfig, beside: Mapping[str, SimpleModel]
) -> list[list[str]]:
    """What the simple model that a decision names says of the words of each sentence."""
    (name,) = task.decision.members
    tagger = beside[name]
    assert isinstance(tagger, Tagger)
    return tagger.tell(words)


def _found(
    text: str, words: Sequence[Word], tags: Sequence[int], scores: Floats, transitions: Floats, task: TaggingConfig
) -> list[dict[str, Any]]:
    chain = Chain(scores, transitions)
    return [
        {**part, "probability": math.exp(min(0.0, chain.log_probability(tags[first:last], first)))}
        for part, first, last in _spans(text, words, [task.tags[tag] for tag in tags], task)
    ]


def _spans(
    text: str, words: Sequence[Word], names: Sequence[str], task: TaggingConfig
) -> Iterator[tuple[dict[str, Any], int, int]]:
    """The spans of a sentence as they are told, with the words that each has."""
    for kind, first, last in spans_of(names, reading_of(task.scheme or "plain")):
        start, end = words[first].start, words[last - 1].end
        yield {"type": kind, "text": text[start:end], "start": start, "end": end}, first, last


def marked_text(text: str, found: Sequence[Mapping[str, Any]], task: TaggingConfig) -> str:
    """A text with what was found in it, as a person reads it: `[Paris place] is ...`, or `is/VERB`.

    Args:
        text: that the places are of.
        found: in order, none inside another.
        task: spans, or tags of single words.
    """
    if task.scheme == "plain":
        return " ".join(f"{one['text']}/{one['type']}" for one in found)
    parts, at = [], 0
    for one in found:
        parts += [text[at : one["start"]], f"[{one['text']} {one['type']}]"]
        at = one["end"]
    return "".join(parts) + text[at:]
