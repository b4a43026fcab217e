"""Answers to conversations, as a model of the task `chat` gives them.

A prompt is a person's words or a whole conversation; the task's decision says what stands around it. The answer ends
where the model ends its turn. This file leaves out what a good answer is (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stepwell.inference.completion import Completion, Piece
from stepwell.inference.generation import generate_many, stream
from stepwell.inference.params import SamplingParams
from stepwell.models import LanguageModel
from stepwell.tasks import Chat, ChatConfig, Preference, PreferenceConfig
from stepwell.tokenizers import Tokenizer, conversational

Said = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What a person says, a row of a table, or messages."""


def answer_conversations(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: ChatConfig,
    asked: Sequence[Said],
    params: SamplingParams,
) -> list[list[Completion]]:
    """Answer conversations.

    Args:
        model: a causal language model.
        tokenizer: its own; without a chat template it gets one.
        task: says what stands around a conversation.
        asked: N of them.
        params: how answers are drawn.

    Raises:
        UsageError: when one is no conversation.
        TokenizerError: when the chat template refuses one.
    """
    reader = Chat(task)
    return generate_many(model, conversational(tokenizer), [reader.asked(one) for one in asked], params)


def answer_prompts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: PreferenceConfig,
    asked: Sequence[Said],
    params: SamplingParams,
) -> list[list[Completion]]:
    """Answer what the rows of a task of preferences ask; the rest is as in `answer_conversations`."""
    reader = Preference(task)
    return generate_many(model, conversational(tokenizer), [reader.prompted(one) for one in asked], params)


def stream_answer(
    model: LanguageModel, tokenizer: Tokenizer, task: ChatConfig, asked: Said, params: SamplingParams
) -> Iterator[Piece]:
    """Answer one conversation token by token; the rest is as in `answer_conversations`."""
    return stream(model, conversational(tokenizer), Chat(task).asked(asked), params)
