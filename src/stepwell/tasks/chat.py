"""Chat: the answers of an assistant, in conversations of any number of turns.

A conversation is rendered by the tokenizer's chat template, and the loss is on the answers alone, with the token that
ends each of them. Of one that is too long the oldest turns go first; a system message stays, and only the end of a
single exchange is cut. This file leaves out how rows are read (`messages`) and rendered (`tokenizers`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from stepwell.config import Config
from stepwell.data import Document, Example, FieldConfig, text_of
from stepwell.errors import TokenizerError, UsageError
from stepwell.tasks.messages import Messages, conversation_of
from stepwell.tasks.task import LONGEST_TOKENS, Found, Task, TaskConfig, one_of
from stepwell.tokenizers import ROLE_TOKENS, Conversation, Tokenizer, conversational, encode_conversation

ENDS_WITH_USER = "ends with the user; what was said after the last answer is left out"

ANSWER_TOKENS = 1024
"""Of an answer, at most: a few in a hundred are longer than what a model learns from."""

TEXT_FIELDS = ("messages", "system", "history", "instruction", "input", "output")

WAS_CLEANED = "steps changed the text; its messages are learned as they stand in the table"


class ExchangeConfig(Config):
    """One question with its answer, shown to the model before it is asked.

    Attributes:
        prompt: what a person says.
        answer: what the assistant says.
    """

    prompt: Annotated[str, Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]


class ChatDecisionConfig(Config):
    """How a trained model is asked; it can be another one without training again.

    Attributes:
        system: system message of conversations that have none.
        examples: exchanges that stand before each conversation.
        template: what becomes of a person's last message, where `{prompt}` stands for it.
    """

    system: str | None = None
    examples: tuple[ExchangeConfig, ...] = ()
    template: Annotated[str, Field(pattern=r"\{prompt\}")] = "{prompt}"


class ChatConfig(TaskConfig):
    """Answers in conversations.

    Attributes:
        messages: column of the messages; found by name, or made of columns for instruction, input and output.
        ways: how the model may be asked: each is tried on validation text after training, and one of less loss is kept.
        decision: how the model is asked.
    """

    kind: Literal["chat"] = "chat"
    messages: str | None = None
    ways: tuple[ChatDecisionConfig, ...] = ()
    decision: ChatDecisionConfig = ChatDecisionConfig()


class Chat(Task[ChatConfig]):
    """See `ChatConfig`."""

    objectives = ("causal",)
    answer_field = "messages"
    tuning_epochs, tuning_rate, measuring_passes = 2.0, 0.5, 3.0  # a third pass is learned by heart
    special_tokens = ROLE_TOKENS

    @property
    def metric(self) -> str:
        return "loss"

    @property
    def key(self) -> str:
        return self.config.model_dump_json(exclude={"decision", "ways"})

    def fields(self) -> Mapping[str, FieldConfig]:
        def optional(*columns: str, is_answer: bool = False) -> FieldConfig:
            return FieldConfig(columns=columns, needed=False, is_text=True, is_answer=is_answer)

        return {
            "messages": FieldConfig(
                columns=one_of(self.config.messages, "messages", "conversations", "conversation", "dialogue"),
                needed=self.config.messages is not None,
                is_text=True,
            ),
            "system": optional("system", "system_prompt"),
            "history": optional("history"),
            "instruction": optional("instruction", "prompt", "question", "query"),
            "input": optional("input", "context"),
            "output": optional("output", "response", "completion", "answer", is_answer=True),
        }

    def tokenizer(self, tokenizer: Tokenizer) -> Tokenizer:
        return conversational(tokenizer)

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        ready = conversational(tokenizer)
        return [self.example(document, ready) for document in documents]

    def needs(self) -> Found:
        return {
            "decoding.max_tokens": (ANSWER_TOKENS, "an answer ends by itself"),
            "decoding.temperature": (0.7, "usual for answers"),
            "decoding.top_p": (0.9, "usual for answers"),
            "decoding.repetition_penalty": (1.1, "no answer goes round in circles"),
            "decoding.seed": (0, "the same draws in each round"),
        }

    def asked(self, prompt: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Messages:
        """The conversation that a model is to answer.

        Args:
            prompt: what a person says, messages, or a row of a table; an answer at the end is left out.

        Raises:
            UsageError: when it is no conversation.
        """
        if isinstance(prompt, str):
            columns: Mapping[str, Any] = {"instruction": prompt}
        elif isinstance(prompt, Mapping):
            columns = prompt if "messages" in prompt else self.document(prompt).columns
        else:
            columns = {"messages": list(prompt)}
        said = conversation_of(columns)
        if isinstance(said, str):
            raise UsageError(
                f"prompt: {said}",
                got=repr(prompt)[:80],
                wanted="text, or messages with role and content: a system message or none, then user and assistant",
            )
        if said[-1]["role"] == "assistant":
            said = said[:-1]
        return self.framed(said)

    def row(self, asked: str | Mapping[str, Any], said: str, probabilities: Mapping[str, float]) -> dict[str, Any]:
        plain = Chat(self.config.model_copy(update={"decision": ChatDecisionConfig()}))
        return {"messages": [*plain.asked(asked), {"role": "assistant", "content": said}]}

    def framed(self, messages: Messages) -> Messages:
        """A conversation as the decision wants a model to be asked; the last message is a person's."""
        decision = self.config.decision
        system, turns = ([], messages) if messages[0]["role"] != "system" else (messages[:1], messages[1:])
        if not system and decision.system:
            system = [{"role": "system", "content": decision.system}]
        shown = [
            {"role": role, "content": content}
            for one in decision.examples
            for role, content in (("user", one.prompt), ("assistant", one.answer))
        ]
        last = decision.template.replace("{prompt}", turns[-1]["content"])
        return [*system, *shown, *turns[:-1], {"role": "user", "content": last}]

    def example(self, document: Document, tokenizer: Tokenizer, *, framed: bool = False) -> Example | str:
        """The example of one conversation, or in a few words why there is none.

        Args:
            document: its columns hold the conversation.
            tokenizer: with a chat template.
            framed: whether what the decision wants stands around it, beyond `max_tokens`; the same tokens count.
        """
        said = conversation_of(document.columns)
        if isinstance(said, str):
            return said
        remarks = [] if _is_as_read(document) else [WAS_CLEANED]
        if said[-1]["role"] != "assistant":
            remarks, said = [ENDS_WITH_USER, *remarks], said[:-1]
        if not any(one["role"] == "assistant" for one in said):
            return "no answer"
        try:
            whole = encode_conversation(tokenizer, said)
            kept, said = self._fitting(whole, said, tokenizer)
            room = (self.config.max_tokens or LONGEST_TOKENS) + 1
            if framed:
                room -= len(kept.token_ids)
                kept = encode_conversation(tokenizer, [*self.framed(said[:-1]), said[-1]])
                room += len(kept.token_ids)
        except TokenizerError as error:
            return error.what
        token_ids = kept.token_ids[:room]
        weight = np.zeros(len(token_ids), np.float32)
        for begin, end in kept.answers[len(self.config.decision.examples) if framed else 0 :]:
            weight[begin - 1 : end - 1] = 1  # at the input from which the token is told
        weight[len(token_ids) - 1 :] = 0
        if not weight.any():
            return "no room for an answer after what is asked"
        return Example(
            token_ids,
            aligned={"weight": weight},
            left_out_tokens=len(whole.token_ids) - len(token_ids),
            remark="; ".join(remarks),
        )

    def _fitting(self, whole: Conversation, messages: Messages, tokenizer: Tokenizer) -> tuple[Conversation, Messages]:
        """A conversation without its oldest exchanges, as many as do not fit; the last one stays in any case."""
        room = self.config.max_tokens or LONGEST_TOKENS
        system = messages[:1] if messages[0]["role"] == "system" else []
        turns = messages[len(system) :]
        while (excess := len(whole.token_ids) - 1 - room) > 0 and len(turns) > 2:
            ends = [end for _, end in whole.answers[:-1]]
            dropped = next((number for number, end in enumerate(ends, start=1) if end >= excess), len(ends))
            turns = turns[2 * dropped :]
            whole = encode_conversation(tokenizer, [*system, *turns])
        return whole, [*system, *turns]


def _is_as_read(document: Document) -> bool:
    """Whether a document's text is what its messages say: steps change the text alone."""
    read = text_of([document.columns.get(name) for name in TEXT_FIELDS])
    one, other = (  # whatever the order of the fields
        sorted("".join(unicodedata.normalize("NFKC", text).replace("\0", "").replace("\ufeff", "").split()))
        for text in (document.text, read)
    )
    return one == other
