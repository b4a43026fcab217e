"""The verb that talks with a finished model: a conversation that goes on for as long as it is wanted.

The model stays open between the turns, and what it has read of the conversation is not read again. Of a conversation
that is too long for the model's window the oldest turns are no longer read; they stay in what is saved. This file
leaves out how it looks in a terminal (`cli`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.api.requests import PathLike
from stepwell.api.using import load, sampling_of, task_of
from stepwell.config import build
from stepwell.errors import DataError, UsageError
from stepwell.inference import SamplingParams
from stepwell.runs import to_json, write_atomically
from stepwell.tasks import WRITERS, Chat, ChatConfig, PreferenceConfig, TaskConfig, conversation_of
from stepwell.tokenizers import Tokenizer, conversational

if TYPE_CHECKING:
    from stepwell.inference import Engine, FinishReason

Messages = list[dict[str, str]]
"""Each with `role` and `content`: user and assistant in turns."""

ANSWER_SHARE = 4
"""At least one token in so many of the window is kept for the answer, unless the question needs it."""


@dataclass
class Pace:
    """How long answers took.

    Attributes:
        prompt_tokens: of the conversation as the model read it.
        tokens: that were written.
        first_seconds: until the first of them.
        seconds: in all.
    """

    prompt_tokens: int = 0
    tokens: int = 0
    first_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of writing, reading left out; 0 when fewer than two tokens were written."""
        writing = self.seconds - self.first_seconds
        return (self.tokens - 1) / writing if self.tokens > 1 and writing > 0 else 0.0


class Conversation:
    """A conversation with a model, which goes on.

    Args:
        name: of the model.
        engine: with the model.
        task: that the model was trained for.
        params: how answers are drawn, one at a time.
        system: system message; None for what the model was trained with, if anything.

    Attributes:
        messages: what was said, without the system message.
        left_out: turns at the beginning that the model no longer reads.
        pace: of the last answer.
        answers: how many there were.
    """

    def __init__(
        self, name: str, engine: Engine, task: TaskConfig, params: SamplingParams, system: str | None = None
    ) -> None:
        self.name, self.params, self.system = name, _one_answer(params), system
        self._engine, self._task = engine, task
        self.messages: Messages = []
        self.left_out = 0
        self.pace = Pace()
        self.answers = 0
        self.finish_reason: FinishReason | None = None

    @property
    def max_seq_len(self) -> int:
        """Tokens that the model reads at once."""
        return self._engine.max_seq_len

    @property
    def weights(self) -> str:
        """How matrices are held while decoding; `plain` when the model is left as it is."""
        return self._engine.weights or "plain"

    def say(self, text: str) -> Generator[str, None, None]:
        """Say something and be answered.

        Closing the iterator stops the answer; what was written so far counts as said, and a question without any
        answer is taken back.

        Args:
            text: not empty.

        Yields:
            Pieces of the answer, one for each token, some of them empty.

        Raises:
            UsageError: when the text is empty or does not fit into the model's window.
            TokenizerError: when the chat template refuses the conversation.
            StepwellError: when the model predicts NaN or infinity.
        """
        if not text.strip():
            raise UsageError("message: is empty", wanted="some text")
        self.messages.append({"role": "user", "content": text})
        answer: list[str] = []
        try:
            with closing(self._answer()) as pieces:
                for piece in pieces:
                    answer.append(piece)
                    yield piece
        finally:
            said = "".join(answer).strip()
            if said:
                self.messages.append({"role": "assistant", "content": said})
                self.answers += 1
            else:
                self.messages.pop()

    def again(self) -> Generator[str, None, None]:
        """Have the last question answered once more, instead of its answer; see `say`.

        Raises:
            UsageError: when nothing was asked.
        """
        if not self.messages:
            raise UsageError("retry: nothing was asked yet", do="ask something first")
        return self._again(self.messages[-2:])

    def _again(self, before: Messages) -> Generator[str, None, None]:
        self.take_back()
        length = len(self.messages)
        try:
            yield from self.say(before[0]["content"])
        finally:
            if len(self.messages) == length:
                self.messages += before

    def take_back(self) -> None:
        """Forget the last question and its answer.

        Raises:
            UsageError: when nothing was asked.
        """
        if not self.messages:
            raise UsageError("undo: nothing was asked yet", do="ask something first")
        del self.messages[-2:]

    def clear(self) -> None:
        """Forget what was said; the system message stays."""
        self.messages.clear()
        self.left_out = 0

    def change(self, values: Mapping[str, Any]) -> None:
        """Draw further answers otherwise.

        Args:
            values: fields of `SamplingParams`; None for the default.

        Raises:
            ConfigError: when one is unknown or out of its range.
            UsageError: when more than one answer is asked for.
        """
        now = self.params.model_dump(exclude_unset=True)
        self.params = _one_answer(build(SamplingParams, {**now, **values}, where="set"))

    def save(self, path: Path) -> None:
        """Write the conversation to a file, as `load` and the task `chat` read it.

        Raises:
            DiskError: when that cannot be done.
        """
        system = [{"role": "system", "content": self.system}] if self.system else []
        found = {
            "model": self.name,
            "sampling": self.params.stated(),
            "messages": [*system, *self.messages],
        }
        write_atomically(path, to_json(found, indent=2) + "\n")

    def load(self, path: Path) -> None:
        """Go on with the conversation of a file: one of `save`, one that the page of a server exported, or messages.

        A question at its end that was not answered is left out.

        Raises:
            DataError: when there is no conversation in it.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: cannot be read", got=str(error), wanted="a conversation as JSON, with `messages`"
            ) from None
        if isinstance(found, Mapping) and isinstance(found.get("conversations"), list) and found["conversations"]:
            found = found["conversations"][0]
        said = conversation_of(found if isinstance(found, Mapping) else {"messages": found})
        if isinstance(said, str):
            raise DataError(f"{path}: {said}", wanted="a conversation as JSON, with `messages`")
        self.system = said.pop(0)["content"] if said[0]["role"] == "system" else None
        if said and said[-1]["role"] == "user":
            said.pop()
        self.messages, self.left_out = said, 0

    def _answer(self) -> Generator[str, None, None]:
        from stepwell.inference import Request

        began = time.monotonic()
        prompt, self.left_out = self._prompt()
        self.pace, self.finish_reason = Pace(prompt_tokens=len(prompt)), None
        request = Request(prompt, self.params, continues=False)
        for event in self._engine.run([request]):
            self.pace.seconds = time.monotonic() - began
            if event.drawn is not None:
                self.pace.first_seconds = self.pace.first_seconds or self.pace.seconds
                self.pace.tokens += 1
            if event.finish_reason in ("stop", "length"):
                self.finish_reason = event.finish_reason
            yield event.text

    def _prompt(self) -> tuple[tuple[int, ...], int]:
        """The token ids that the model reads, and how many of the oldest turns are left out.

        Raises:
            UsageError: when not even the last question fits.
        """
        window = self.max_seq_len
        room = min(self.params.max_tokens, window // ANSWER_SHARE)
        for begin in range(0, len(self.messages), 2):
            token_ids = self._token_ids(self.messages[begin:])
            is_last = begin + 1 == len(self.messages)
            if len(token_ids) + (1 if is_last else room) <= window:
                return token_ids, begin // 2
        raise UsageError(
            "message: is longer than the model's window",
            got=f"{len(token_ids)} tokens",
            wanted=f"at most {window - 1}",
            do="say it in fewer words",
        )

    def _token_ids(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        said = [dict(one) for one in messages]
        if self.system:
            said.insert(0, {"role": "system", "content": self.system})
        if isinstance(self._task, ChatConfig):
            said = Chat(self._task).framed(said)
        return tuple(self._engine.tokenizer.chat(said).tolist())


def chat(
    run: PathLike, params: Mapping[str, Any] | None = None, *, system: str | None = None, weights: str = "auto"
) -> Conversation:
    """Talk with a model, turn by turn.

    Args:
        run: a run directory or a checkpoint directory.
        params: fields of `SamplingParams`; the others are as the run found best.
        system: system message of the conversation.
        weights: how matrices are held while decoding: `auto` takes what is best here, `plain` leaves the model as it
            is; `float32`, `bfloat16` (or `bf16`), `int8` and `int4` decode in machine code on a CPU.

    Returns:
        A conversation in which nothing was said yet.

    Raises:
        CheckpointError: when there is no whole model.
        UsageError: when the model does not write, more than one answer is asked for, or the weights cannot be had.
        ConfigError: when a parameter is out of its range.
        TokenizerError: when there is no chat template.
    """
    from stepwell.inference import Engine, choose_weights

    _one_answer(sampling_of(params, {}))
    loaded = load(run)
    task = task_of(loaded.provenance)
    if not loaded.model.is_causal or loaded.model.reads_source or task.kind not in WRITERS:
        raise UsageError(
            f"{run}: does not talk",
            got=f"a model for {task.kind.replace('_', ' ')}",
            wanted="a model that goes on with texts",
            do=f"stepwell predict {run} --prompt TEXT",
        )
    tokenizer = _talking(loaded.tokenizer, task)
    held = choose_weights(weights, loaded.model)
    engine = Engine(loaded.model, tokenizer, weights=held, most_samples=1)
    return Conversation(_name_of(Path(run)), engine, task, sampling_of(params, loaded.provenance), system)


def _talking(tokenizer: Tokenizer, task: TaskConfig) -> Tokenizer:
    """A tokenizer that writes conversations as the model has learned them.

    Raises:
        TokenizerError: when it has learned none.
    """
    if isinstance(task, ChatConfig | PreferenceConfig):
        return conversational(tokenizer)
    tokenizer.chat([{"role": "user", "content": "a"}])
    return tokenizer


def _name_of(run: Path) -> str:
    """What a person calls it: the folder."""
    return run.resolve().name


def _one_answer(params: SamplingParams) -> SamplingParams:
    """The same settings.

    Raises:
        UsageError: when they ask for several answers.
    """
    if params.samples > 1:
        raise UsageError(
            "chat: draws one answer at a time", got=f"{params.samples} samples", do="leave n and best_of out"
        )
    return params
