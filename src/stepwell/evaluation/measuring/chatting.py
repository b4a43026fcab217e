"""How well a model answers held-out conversations: the loss of the answers given, and the form of its own.

Every conversation is scored, and a few, spread evenly, are answered: an answer stops by itself or not, and its form is
right or not. This file leaves out the metrics (`chat.py`) and judges (`judging.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from stepwell.data import Document, Example, TokenSplit
from stepwell.evaluation.scores.chat import ChatScores
from stepwell.evaluation.scores.metrics import FloatArray
from stepwell.evaluation.scores.repetition import repeated_ngram_ratio, word_ids
from stepwell.hardware import Precision
from stepwell.inference import Completion, SamplingParams, generate_many, score_documents
from stepwell.models import LanguageModel
from stepwell.tasks import Chat, ChatConfig, ChatDecisionConfig
from stepwell.tokenizers import Tokenizer, conversational

ANSWERED = 24
"""Conversations that a model answers of its own when it is measured."""

LEAST_ROOM_TOKENS = 32
"""For an answer, where what is asked nearly fills the window."""

MOST_REPEATED = 0.5
"""Share of an answer's 4-grams of words that may have stood in it before."""

ROLE_WORDS = re.compile(r"<\|[a-z_]+\|>|^(?:user|human|assistant|system)\s*:\s*$", re.MULTILINE | re.IGNORECASE)
"""What begins a turn: it has no place inside an answer."""


def evaluate_chat(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: ChatConfig,
    params: SamplingParams,
    precision: Precision = "float32",
    *,
    answered: int = ANSWERED,
) -> ChatScores:
    """Score conversations.

    Args:
        model: a causal language model.
        split: examples of `task`.
        documents: of the examples, one each.
        tokenizer: of the split.
        task: its decision says how the model is asked.
        params: how its own answers are drawn; one each, and without a seed always the same draws.
        precision: of the matrix products.
        answered: of how many conversations, spread evenly, the model gives the last answer itself; 0 for none.
    """
    nats, tokens = answer_losses(model, split, documents, tokenizer, task, precision)
    stopped: list[bool | None] = [None] * len(nats)
    formed: list[bool | None] = [None] * len(nats)
    chosen = range(0, len(nats), -(-len(nats) // answered))[:answered] if answered and len(nats) else range(0)
    answers = answers_to([documents[number] for number in chosen], model, tokenizer, task, params)
    said: list[dict[str, str]] = [{} for _ in range(len(nats))]
    for number, answer in zip(chosen, answers, strict=True):
        stopped[number] = answer.finish_reason == "stop"
        formed[number] = is_well_formed(answer.text)
        said[number] = {"answer": answer.text}
    return ChatScores.of(nats, tokens, stopped=stopped, well_formed=formed).saying(said)


def answers_to(
    documents: Sequence[Document], model: LanguageModel, tokenizer: Tokenizer, task: ChatConfig, params: SamplingParams
) -> list[Completion]:
    """The last answer of each conversation, as the model gives it; no longer than what is left of its window."""
    reader, ready = Chat(task), conversational(tokenizer)
    asked = [reader.asked(one.columns) for one in documents]
    longest = max((len(ready.chat(messages)) for messages in asked), default=0)
    room = max(LEAST_ROOM_TOKENS, model.config.max_seq_len - longest)
    drawn = params.model_copy(update={"n": 1, "seed": params.seed or 0, "max_tokens": min(params.max_tokens, room)})
    return [some[0] for some in generate_many(model, ready, asked, drawn, pad=True)]


def answer_losses(
    model: LanguageModel,
    split: TokenSplit,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    task: ChatConfig,
    precision: Precision = "float32",
) -> tuple[FloatArray, FloatArray]:
    """How unlikely the answers of conversations are to a model, (N,) nats, and how many tokens they have, (N,).

    Where the decision has examples, a system message or a template, they stand around each conversation.
    """
    token_ids = [split.document(number) for number in range(split.num_documents)]
    weights = [split.aligned["weight"][a:b] for a, b in zip(split.offsets[:-1], split.offsets[1:], strict=True)]
    if task.decision != ChatDecisionConfig():
        reader, ready = Chat(task), conversational(tokenizer)
        for number, document in enumerate(documents):
            framed = reader.example(document, ready, framed=True)
            if isinstance(framed, Example):
                token_ids[number], weights[number] = framed.token_ids, framed.aligned["weight"]
    nats, tokens = np.zeros(len(token_ids)), np.zeros(len(token_ids))
    for number, scores in enumerate(score_documents(model, token_ids, precision=precision)):
        weight = np.asarray(weights[number][:-1], np.float64)  # the last token is a target only
        nats[number], tokens[number] = -(scores.logprobs * weight).sum(), (weight > 0).sum()
    return nats, tokens


def is_well_formed(answer: str) -> bool:
    """Whether an answer says something, begins no other turn inside, and does not go round in circles."""
    if not answer.strip() or ROLE_WORDS.search(answer):
        return False
    return repeated_ngram_ratio(word_ids([answer])[0]) <= MOST_REPEATED
