"""Preference: of two answers to a conversation, the better one becomes likelier than the worse one.

An example holds the conversation with the better answer and again with the worse one, side by side in one document;
`side` tells them apart, and the loss is of answers alone. Rows may also say of a single answer whether it is good. Of
what is too long the oldest turns go first, then the beginning of what is asked, and answers lose their ends. Where a
reward judges, there are no answers: the model draws them itself. This file leaves out how answers are compared
(`objectives`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepwell.config import Config
from stepwell.data import Document, Example, FieldConfig
from stepwell.errors import ConfigError, TokenizerError
from stepwell.tasks.chat import Chat, ChatConfig
from stepwell.tasks.messages import Messages, conversation_of
from stepwell.tasks.task import LONGEST_TOKENS, Found, Task, TaskConfig, one_of
from stepwell.tokenizers import ROLE_TOKENS, Tokenizer, conversational, encode_conversation

GOOD = ("1", "true", "yes", "good", "desirable", "chosen", "是", "好")
BAD = ("0", "-1", "false", "no", "bad", "undesirable", "rejected", "否", "差")
"""How a table says whether an answer is good."""

ASKED = ("messages", "system", "history", "instruction", "input")
"""Fields of what is asked."""

Score = Literal["log_ratio", "mean_log_probability", "log_probability"]


class PreferenceDecisionConfig(Config):
    """How a trained model tells the better of two answers.

    Attributes:
        score: `log_ratio`, how much likelier an answer became than the reference finds it; `mean_log_probability` of
            its tokens; or `log_probability` of the whole. Chosen on validation pairs among those that can be had.
        reference: the model as it was before training: a run or a checkpoint; None where there is none.
        scale: what a nat of the score is worth in the loss that held-out pairs are judged by.
    """

    score: Score = "mean_log_probability"
    reference: str | None = None
    scale: float = 1.0


class PreferenceConfig(TaskConfig):
    """Better and worse answers.

    Attributes:
        messages: column of the conversation before the answers; found by name, or made of a prompt.
        chosen: column of the better answer, or of the conversation that ends with it.
        rejected: column of the worse one, likewise.
        completion: column of a single answer.
        label: column that says whether a single answer is good.
        reward: function of (prompt, completion, row) that judges what the model answers itself, as
            `package.module:function` or `path.py:function`; rows then hold prompts alone.
        row_columns: further columns that the reward is told of.
        decision: how the better of two answers is told.
    """

    kind: Literal["preference"] = "preference"
    messages: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    completion: str | None = None
    label: str | None = None
    reward: str | None = None
    row_columns: tuple[str, ...] = ()
    decision: PreferenceDecisionConfig = PreferenceDecisionConfig()


class _Asked(NamedTuple):
    """What an example asks, and the answers to it with the side that each is on."""

    messages: Messages
    answers: list[tuple[str, int]]


class Preference(Task[PreferenceConfig]):
    """See `PreferenceConfig`."""

    tuning_epochs = 1.0
    epochs = 10.0
    depth = 4
    longest_tokens = 2 * LONGEST_TOKENS
    special_tokens = ROLE_TOKENS

    @property
    def metric(self) -> str:
        return "reward" if self.config.reward else "preference_accuracy"

    def fields(self) -> Mapping[str, FieldConfig]:
        def optional(named: str | None, *columns: str, is_answer: bool = False) -> FieldConfig:
            return FieldConfig(
                columns=one_of(named, *columns), needed=named is not None, is_text=True, is_answer=is_answer
            )

        config = self.config
        asked = {
            "messages": optional(config.messages, "messages", "conversations", "conversation", "dialogue"),
            "system": optional(None, "system", "system_prompt"),
            "history": optional(None, "history"),
            "instruction": optional(None, "prompt", "instruction", "question", "query"),
            "input": optional(None, "input", "context"),
        }
        if config.reward:
            return asked | {one: FieldConfig(columns=(one,)) for one in config.row_columns}
        return asked | {
            "chosen": optional(config.chosen, "chosen", "better", "preferred", is_answer=True),
            "rejected": optional(config.rejected, "rejected", "worse", "dispreferred", is_answer=True),
            "completion": optional(config.completion, "completion", "output", "response", "answer", is_answer=True),
            "label": FieldConfig(
                columns=one_of(config.label, "label", "desirable", "kto_tag"), needed=False, is_answer=True
            ),
        }

    def tokenizer(self, tokenizer: Tokenizer) -> Tokenizer:
        return conversational(tokenizer)

    def needs(self) -> Found:
        return {
            "decoding.temperature": (0.7, "usual for answers"),
            "decoding.top_p": (0.9, "usual for answers"),
            "decoding.seed": (0, "the same draws in each round"),
        }

    def follows(self, get: Callable[[str], Any]) -> Found:
        begins = get("init_from")
        if self.config.reward:
            return self._of_reward(get, begins)
        loss = get("training.objective.loss.kind") or ("dpo" if begins else "orpo")
        found: dict[str, tuple[Any, str]] = {
            "training.objective.kind": ("preference", "answers are compared"),
            "training.objective.loss.kind": (loss, "usual " + ("after" if begins else "without") + " training"),
        }
        scale = get("training.objective.loss.beta") or {"dpo": 0.1, "kto": 0.1, "simpo": 2.0}.get(loss, 1.0)
        found["task.decision.scale"] = (scale, f"beta of {loss}")
        if loss not in ("dpo", "kto"):
            return found
        if not begins and not get("training.objective.reference"):
            raise ConfigError(
                f"training.objective.loss.kind: {loss} compares with the model as it was, and weights are fresh",
                wanted="init_from, a run or an imported model",
                do="set init_from, or training.objective.loss.kind=orpo",
            )
        reference = get("training.objective.reference") or begins
        found["task.decision.reference"] = (reference, "what training begins from")
        found["task.decision.score"] = ("log_ratio", f"what {loss} learns by")
        if not get("training.adapter"):
            found["training.objective.reference"] = (reference, "what training begins from")
        return found

    def _of_reward(self, get: Callable[[str], Any], begins: str | None) -> Found:
        if not begins:
            raise ConfigError(
                "task.reward: fresh weights draw nothing that a reward could tell apart",
                wanted="init_from, a run or an imported model",
                do="train a model on answers first (task chat), and begin from it",
            )
        reference = get("training.objective.reference") or begins
        own = (
            {} if get("training.adapter") else {"training.objective.reference": (reference, "training begins from it")}
        )
        return {
            "training.objective.kind": ("grpo", "a reward judges"),
            "training.objective.reward": (self.config.reward, "of the task"),
            "task.decision.reference": (reference, "training begins from it"),
            **own,
        }

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        ready = conversational(tokenizer)
        example = self._prompt if self.config.reward else self._example
        return [example(document, ready) for document in documents]

    def _example(self, document: Document, tokenizer: Tokenizer) -> Example | str:
        asked = self.asked(document.columns)
        if isinstance(asked, str):
            return asked
        room = (self.config.max_tokens or self.longest_tokens) + 1
        try:
            prompt, answers, left_out = _fitting(asked, tokenizer, room)
        except TokenizerError as error:
            return error.what
        if not all(len(one) for one in answers):
            return "no room for an answer after what is asked"
        if len(answers) == 2 and answers[0].tolist() == answers[1].tolist():
            return "the answers differ only beyond task.max_tokens"
        ids = np.concatenate([part for answer in answers for part in (prompt, answer)])
        weights = [part for answer in answers for part in (np.zeros(len(prompt)), np.ones(len(answer)))]
        lengths = [len(prompt) + len(answer) for answer in answers]
        weight = np.append(np.concatenate(weights)[1:], 0).astype(np.float32)  # at the input that tells the token
        side = np.repeat(np.array([number for _, number in asked.answers], np.int8), lengths)
        return Example(ids, aligned={"weight": weight, "side": side}, left_out_tokens=left_out)

    def _prompt(self, document: Document, tokenizer: Tokenizer) -> Example | str:
        """What is asked, and after it what the reward is told, as JSON; only the former is ever read by a model."""
        messages = conversation_of(_before(document.columns))
        if isinstance(messages, str):
            return messages
        if messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        row = {"messages": messages, **{name: document.columns.get(name) for name in self.config.row_columns}}
        written = json.dumps(row, ensure_ascii=False, default=str)
        told = tokenizer.encode(written)
        if tokenizer.decode(told) != written:
            return "what the reward is told cannot be written in the tokens of the model"
        try:
            prompt = tokenizer.chat(messages)
        except TokenizerError as error:
            return error.what
        left_out = max(0, len(prompt) + len(told) - (self.config.max_tokens or self.longest_tokens) - 1)
        if left_out >= len(prompt):
            return "what the reward is told leaves no room for a prompt"
        prompt = prompt[left_out:]
        weight, side = np.zeros(len(prompt) + len(told), np.float32), np.zeros(len(prompt) + len(told), np.int8)
        weight[len(prompt) - 1], side[len(prompt) :] = 1, 1  # an answer begins after the prompt
        return Example(
            np.concatenate([prompt, told]), aligned={"weight": weight, "side": side}, left_out_tokens=left_out
        )

    def prompted(self, asked: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Messages:
        """The conversation that a model is to answer.

        Args:
            asked: what a person says, messages, or a row of a table; its answers are left out.

        Raises:
            UsageError: when it is no conversation.
        """
        reader = Chat(ChatConfig())
        if not isinstance(asked, Mapping):
            return reader.asked(asked)
        before = _before(asked if "messages" in asked else self.document(asked).columns)
        if not any(before.values()):
            whole = next((one for one in map(asked.get, ("chosen", "rejected")) if isinstance(one, list | tuple)), ())
            before["messages"] = list(whole[:-1])
        return reader.asked(before)

    def asked(self, columns: Mapping[str, Any]) -> _Asked | str:
        """What a row asks and which answers it has, or in a few words why it is no example.

        Args:
            columns: by the names of the fields.
        """
        paired = [columns.get(name) for name in ("chosen", "rejected")]
        if paired == [None, None] and columns.get("completion") is not None:
            side = _side_of(columns.get("label"))
            if side is None:
                return "a single answer without a label that says whether it is good"
            told = [(columns["completion"], side)]
        elif None in paired:
            return f"no {'chosen' if paired[0] is None else 'rejected'} answer"
        else:
            told = [(one, number) for number, one in enumerate(paired)]
        before = _before(columns)
        prompts: list[Messages] = []
        answers: list[tuple[str, int]] = []
        for value, side in told:
            whole = _with_answer(before, value)
            if isinstance(whole, str):
                return whole
            prompts.append(whole[:-1])
            answers.append((whole[-1]["content"].strip(), side))
        if any(prompt != prompts[0] for prompt in prompts):
            return "the two answers are to different prompts"
        if len(answers) == 2 and answers[0][0] == answers[1][0]:
            return "the chosen and the rejected answer are the same"
        return _Asked(prompts[0], answers)


def _before(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of what is asked; a prompt may be messages."""
    before = {name: columns.get(name) for name in ASKED}
    if before["messages"] is None and isinstance(before["instruction"], list | tuple):
        before["messages"], before["instruction"] = before["instruction"], None
    return before


def _side_of(label: object) -> int | None:
    """0 for a good answer, 1 for a bad one; None where the label says neither."""
    said = str(label).strip().lower()
    return 0 if said in (*GOOD, "1.0") else 1 if said in (*BAD, "0.0", "-1.0") else None


def _with_answer(before: Mapping[str, Any], answer: object) -> Messages | str:
    """A conversation that ends with an answer, or what is wrong with it.

    Args:
        before: the fields of what is asked.
        answer: text, a message, messages that go on with what is asked, or the whole conversation.
    """
    if isinstance(answer, list | tuple):
        if len(answer) > 1:
            whole = conversation_of({"messages": answer, "system": _system_for(before, answer)})
            return whole if isinstance(whole, str) or whole[-1]["role"] == "assistant" else "no answer at the end"
        answer = answer[0] if answer else ""
    content = answer.get("content", answer.get("value")) if isinstance(answer, Mapping) else answer
    if not isinstance(content, str) or not content.strip():
        return "an empty answer"
    asked = conversation_of(before)
    if isinstance(asked, str):
        return asked
    if asked[-1]["role"] != "user":
        return "what is asked ends with an answer"
    return [*asked, {"role": "assistant", "content": content}]


def _system_for(before: Mapping[str, Any], messages: Sequence[Any]) -> object:
    """The system message of a row, where the messages have none."""
    first = messages[0] if isinstance(messages[0], Mapping) else {}
    return None if first.get("role", first.get("from")) == "system" else before.get("system")


def _fitting(asked: _Asked, tokenizer: Tokenizer, room: int) -> tuple[NDArray[Any], list[NDArray[Any]], int]:
    """What is asked and the answers in so many tokens, and how many are left out.

    Raises:
        TokenizerError: when the chat template changes what is said.
    """
    messages = asked.messages
    prompt, answers = _encoded(messages, asked, tokenizer)
    sides = len(answers)

    def total(of_prompt: NDArray[Any]) -> int:
        return sides * len(of_prompt) + sum(map(len, answers))

    whole = total(prompt)
    system = messages[:1] if messages[0]["role"] == "system" else []
    turns = messages[len(system) :]
    while total(prompt) > room and len(turns) > 2:
        turns = turns[2:]
        prompt, answers = _encoded([*system, *turns], asked, tokenizer)
    excess = total(prompt) - room
    if excess > 0:
        least = min(len(prompt), room // (2 * sides))  # half of the room is the prompt's, if it wants so much
        prompt = prompt[min(len(prompt) - least, -(-excess // sides)) :]
        left = room - sides * len(prompt)
        longest = _longest([len(one) for one in answers], left)
        answers = [one[:longest] for one in answers]
    return prompt, answers, whole - total(prompt)


def _longest(lengths: Sequence[int], room: int) -> int:
    """The length to which answers are cut so that all fit; the short ones stay whole."""
    if sum(lengths) <= room:
        return max(lengths)
    return max(room // len(lengths), room - min(lengths) if len(lengths) > 1 else room)


def _encoded(messages: Messages, asked: _Asked, tokenizer: Tokenizer) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """The ids of what is asked, and of each answer with its end."""
    told = [
        encode_conversation(tokenizer, [*messages, {"role": "assistant", "content": answer}])
        for answer, _ in asked.answers
    ]
    begin = told[0].answers[-1][0]
    return told[0].token_ids[:begin], [one.token_ids[one.answers[-1][0] :] for one in told]
