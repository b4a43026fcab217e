"""A finished model behind the server: what it can do, what prompts mean to it, and who does the work.

A model that writes has an engine; every model has a thread for what is answered whole. What a request leaves open is as
the run found best. This file leaves out HTTP and the shapes of answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepwell.baselines import SimpleModel, open_beside
from stepwell.checkpoints import Loaded, load_checkpoint
from stepwell.errors import TokenizerError, UsageError
from stepwell.hardware import examine
from stepwell.inference import Engine, SamplingParams, answer_many, choose_weights
from stepwell.serving.batching import Batcher
from stepwell.serving.config import ServeConfig
from stepwell.serving.faults import Refusal, too_long
from stepwell.serving.meters import Meters, ModelMeters
from stepwell.serving.requests import SEARCHES
from stepwell.serving.worker import EngineWorker
from stepwell.tasks import (
    WRITERS,
    Chat,
    ChatConfig,
    PreferenceConfig,
    TaskConfig,
    conversation_of,
    members_of,
    read_task,
    usual_drawing,
)
from stepwell.tokenizers import Tokenizer, conversational

VERBS = {
    "classification": "classify",
    "tagging": "tag",
    "translation": "translate",
}
"""Kind of a task -> the route that is made for it."""


@dataclass
class Served:
    """See the module.

    Attributes:
        name: that it is asked for by.
        loaded: the model with what belongs to it.
        task: that it was trained for.
        tokenizer: its own; of a chat model with a chat template in any case.
        decoding: how it draws where a request does not say.
        beside: simple models that its task listens to.
        batcher: does what is answered whole.
        worker: writes; None for a model that does not.
        meters: of it.
        window: tokens of a prompt and its completion together; of a source and its target each.
        most_bytes: of a prompt; more of them cannot be as few tokens as the window has. None where that is not known.
        created: when it was opened, in seconds since 1970.
    """

    name: str
    loaded: Loaded
    task: TaskConfig
    tokenizer: Tokenizer
    decoding: Mapping[str, Any]
    beside: Mapping[str, SimpleModel]
    batcher: Batcher
    worker: EngineWorker | None
    meters: ModelMeters
    window: int
    most_bytes: int | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def reads_source(self) -> bool:
        """Whether a prompt is a source, and the completion its target."""
        return self.loaded.model.reads_source

    @property
    def has_chat_template(self) -> bool:
        """Whether it can be asked in conversations."""
        return self.worker is not None and self.tokenizer.chat_template is not None

    @property
    def verbs(self) -> tuple[str, ...]:
        """What it can be asked for."""
        found = ["complete"] if self.worker is not None else []
        if self.has_chat_template:
            found.append("chat")
        if self.task.kind in VERBS:
            found.append(VERBS[self.task.kind])
        if self.task.kind not in WRITERS:
            found.append("answer")
        return (*found, "embed") if self.reads_source is False else tuple(found)

    def start(self) -> None:
        """Begin to work."""
        self.batcher.start()
        if self.worker is not None:
            self.worker.start()

    def stop(self) -> None:
        """End what works."""
        self.batcher.stop()
        if self.worker is not None:
            self.worker.stop()

    def writer(self) -> EngineWorker:
        """Who writes.

        Raises:
            Refusal: when this model does not.
        """
        if self.worker is None:
            raise Refusal(
                400,
                f"The model `{self.name}` does not write text; it is made for {self.task.kind.replace('_', ' ')}.",
                param="model",
                code="unsupported_model",
            )
        return self.worker

    def check_length(self, text: str) -> None:
        """Refuse a prompt that is so long that it need not be cut into tokens to be too long.

        Raises:
            Refusal: when it is.
        """
        size = len(text.encode("utf-8", errors="replace"))
        if self.most_bytes is not None and size > self.most_bytes:
            raise too_long(self.window, f"at least {-(-size * self.window // self.most_bytes)}", None, param="prompt")

    def text_ids(self, text: str) -> tuple[int, ...]:
        """A text as a prompt: the begin token before it where the family puts one; a source with its end token."""
        ids = self.tokenizer.encode(text)
        if self.reads_source:
            return tuple(self.tokenizer.frame(ids).tolist())
        begin = [self.tokenizer.bos_id] if self.tokenizer.adds_bos or not len(ids) else []
        return (*begin, *ids.tolist())

    def chat_ids(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> tuple[int, ...]:
        """A conversation as a prompt, by the chat template; of a chat model as its task asks it.

        Raises:
            Refusal: when there is no template, or it refuses the messages.
        """
        if not self.has_chat_template:
            raise Refusal(
                400,
                f"The model `{self.name}` has no chat template; ask it by /v1/completions.",
                param="model",
                code="unsupported_model",
            )
        said = list(messages)
        if isinstance(self.task, ChatConfig) and tools is None:
            read = conversation_of({"messages": said})
            if not isinstance(read, str) and read[-1]["role"] == "user":
                said = list(Chat(self.task).framed(read))
        try:
            return tuple(self.tokenizer.chat(said, tools=tools).tolist())
        except (TokenizerError, UsageError) as error:
            told = error.what if error.got is None else f"{error.what} ({error.got})"
            raise Refusal(400, f"messages: {told}", param="messages", code="invalid_value") from None

    def answers(self, asked: Sequence[Any]) -> list[Any]:
        """What the task's model says of examples, one answer each; in the batcher's thread."""
        params = SamplingParams(**{**self.decoding, "n": 1})
        found = answer_many(
            self.loaded.model, self.loaded.tokenizer, self.task, asked, params, dict(self.beside) or None
        )
        return [some[0] for some in found]


def open_model(path: Path, name: str, config: ServeConfig, meters: Meters) -> Served:
    """Read a model, and have its workers ready to start.

    Args:
        path: a run directory or a checkpoint directory.
        name: that it will be asked for by.
        config: of the server.
        meters: of the server.

    Raises:
        CheckpointError: when it is missing or damaged.
        UsageError: when it cannot be decoded with the weights that were asked for.
    """
    loaded = load_checkpoint(path)
    loaded.model.to(examine().device)
    task = read_task(loaded.provenance.get("task"))
    tokenizer, mine = loaded.tokenizer, ModelMeters(meters, name)
    worker, window = None, loaded.model.config.max_seq_len
    if loaded.model.is_causal and loaded.model.task_head is None and task.kind in WRITERS:
        if isinstance(task, ChatConfig | PreferenceConfig):
            tokenizer = conversational(tokenizer)
        engine = Engine(
            loaded.model,
            tokenizer,
            weights=choose_weights(config.weights, loaded.model),
            most_samples=config.most_running,
            cache_tokens=config.cache_tokens,
            coded_cache=config.coded_cache,
            guess_tokens=config.guess_tokens,
            draft=None if config.draft is None else load_checkpoint(config.draft).model,
        )
        window = engine.max_seq_len
        worker = EngineWorker(engine, config.most_waiting, mine)
    return Served(
        name=name,
        loaded=loaded,
        task=task,
        tokenizer=tokenizer,
        decoding={name: one for name, one in usual_drawing(task, loaded.provenance).items() if name not in SEARCHES},
        beside=open_beside(loaded.path, members_of(task)),
        batcher=Batcher(config.most_waiting, config.batch_inputs, mine),
        worker=worker,
        meters=mine,
        window=window,
        most_bytes=longest_text(tokenizer, window),
    )


def longest_text(tokenizer: Tokenizer, window: int) -> int | None:
    """Bytes that a window of tokens can hold; None where a token may stand for any number of them."""
    if not tokenizer.is_lossless:
        return None
    return window * max(len(tokenizer.token_bytes(one)) for one in range(tokenizer.vocab_size))
