"""Tasks that read some fields of an example and write one: a translation, a summary, an answer in words.

What is read becomes a prompt, which an encoder reads as a source, or a decoder goes on with; what is written ends with
the end token, which is learned and predicted like any other. Where the prompt ends stands beside each example, so one
set of examples serves both families. This file leaves out how a target is searched for (`inference`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from stepwell.config import Config
from stepwell.data import Document, Example, FieldConfig
from stepwell.errors import DataError
from stepwell.tasks.task import LONGEST_TOKENS, Found, Task, TaskConfig, one_of
from stepwell.tokenizers import Tokenizer

HERE = "{source}"
"""Where the source stands in a template."""

LABEL_SMOOTHING = 0.1
"""Of fresh weights (Vaswani et al., 2017)."""

SHORTEST_SOURCE_TOKENS = 4
"""Of a source that is shortened at least so much stays; where the target leaves no room for it, there is no example."""


class SearchConfig(Config):
    """How a target is searched for; chosen on validation text, without training again.

    Attributes:
        beam_size: unfinished targets that are kept at each step; 1 takes the likeliest token each time.
        length_penalty: the sum of log-probabilities is divided by the length in tokens to this power: 0 favours short
            targets, above 1 long ones.
        members: who answers: the `model`, or what is taken of an example without one: `copy`, the source as it is;
            `lead_1`, its first sentence; `likely_sentence`, the one most like the question.
    """

    beam_size: Annotated[int, Field(ge=1, le=64)] = 4
    length_penalty: Annotated[float, Field(ge=-4, le=4)] = 1.0
    members: Annotated[
        tuple[Literal["model", "copy", "lead_1", "likely_sentence"], ...], Field(min_length=1, max_length=1)
    ] = ("model",)


class WritingConfig(TaskConfig):
    """A text that is written for what is read.

    Attributes:
        max_target_tokens: longest target that is written, its end token included; found in training text.
        decision: how a target is searched for.
    """

    max_target_tokens: Annotated[int, Field(ge=2)] | None = None
    decision: SearchConfig = SearchConfig()


class PairConfig(WritingConfig):
    r"""A text that is written for another.

    Attributes:
        source: column of what is read; found by name.
        target: column of what is written; found by name.
        template: how the source is put to the model, `{source}` standing for it, such as `Translate: {source}\n`; None
            for the source alone, with an end token after it.
    """

    source: str | None = None
    target: str | None = None
    template: str | None = None

    @field_validator("template")
    @classmethod
    def _says_where(cls, template: str | None) -> str | None:
        if template is not None and template.count(HERE) != 1:
            raise ValueError(f"a template with {HERE} in it once")
        return template


class Prompt(NamedTuple):
    """What a model reads of an example, in words.

    Attributes:
        before: stands before the source.
        source: may be shortened where there is no room, at its end.
        after: stands after the source.
        ends: whether an end token comes after it all.
    """

    before: str
    source: str
    after: str
    ends: bool


ConfigT = TypeVar("ConfigT", bound=WritingConfig)
PairConfigT = TypeVar("PairConfigT", bound=PairConfig)


class Writing(Task[ConfigT]):
    """A task that reads some fields and writes one; see `WritingConfig`.

    Another such task says which fields it has, how they are put to the model, and what is to be written.
    """

    family = "encoder_decoder"
    objectives = ("pairs", "causal")
    measuring_passes = 2.0

    @abstractmethod
    def prompt(self, document: Document) -> Prompt:
        """What the model reads of an example."""

    @abstractmethod
    def references(self, document: Document) -> list[str]:
        """What a model should write of an example: one text, or any of several, of which the first is learned."""

    @abstractmethod
    def fault(self, document: Document) -> str | None:
        """Why there is no example; None where there is one."""

    def needs(self) -> Found:
        return {"training.objective.loss.kind": ("cross_entropy", "targets are told token by token")}

    def follows(self, get: Callable[[str], Any]) -> Found:
        if get("init_from"):
            return {}
        smoothing = (LABEL_SMOOTHING, "another word may be right too")
        found: dict[str, tuple[Any, str]] = {"training.objective.loss.label_smoothing": smoothing}
        if (get("model.kind") or self.family) == "encoder_decoder":
            found["model.tie_embeddings"] = (True, "one table for both texts and the output")
        return found

    def measure(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Found:
        lengths = [len(ids) + 1 for ids in tokenizer.encode_many([self._target(one) for one in documents])]
        longest = max(lengths, default=0)
        return {"max_target_tokens": (max(2, longest), "the longest target of the training text")} if longest else {}

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        targets = tokenizer.encode_many([self._target(one) for one in documents])
        most = (self.config.max_tokens or LONGEST_TOKENS) + 1
        made: list[Example | str] = []
        for document, parts, target in zip(documents, self._parts(documents, tokenizer), targets, strict=True):
            if reason := self.fault(document):
                made.append(reason)
                continue
            read, left_out = parts.within(most - len(target) - 1)
            if read is None:
                made.append("the target leaves no room for what is read")
                continue
            ids = np.concatenate([read, target, [tokenizer.eos_id]])
            weight = np.zeros(len(ids), np.float32)
            weight[len(read) - 1 : -1] = 1  # where the next token is one of the target
            made.append(
                Example(
                    ids,
                    aligned={"weight": weight},
                    of_document={"source_tokens": np.int64(len(read))},
                    left_out_tokens=left_out,
                )
            )
        return made

    def read(
        self, documents: Sequence[Document], tokenizer: Tokenizer, max_tokens: int
    ) -> list[tuple[NDArray[np.int64], int]]:
        """What the model reads of each example, its begin token included, and how many tokens do not fit.

        Args:
            documents: with or without a target.
            tokenizer: of the tokens.
            max_tokens: room for a prompt.

        Raises:
            DataError: when what stands around the source takes all the room.
        """
        found = []
        for parts in self._parts(documents, tokenizer):
            read, left_out = parts.within(max_tokens)
            if read is None:
                raise DataError("task.template: leaves no room for a source", wanted=f"fewer than {max_tokens} tokens")
            found.append((read, left_out))
        return found

    def _target(self, document: Document) -> str:
        return next(iter(self.references(document)), "")

    def _parts(self, documents: Sequence[Document], tokenizer: Tokenizer) -> list[_Parts]:
        prompts = [self.prompt(one) for one in documents]
        encoded = zip(
            tokenizer.encode_many([one.before for one in prompts]),
            tokenizer.encode_many([one.source for one in prompts]),
            tokenizer.encode_many([one.after for one in prompts]),
            strict=True,
        )
        return [
            _Parts(
                np.concatenate([[tokenizer.bos_id], before]),
                source,
                np.concatenate([after, [tokenizer.eos_id] if prompt.ends else []]),
            )
            for prompt, (before, source, after) in zip(prompts, encoded, strict=True)
        ]


class PairWriting(Writing[PairConfigT]):
    """A task that reads one text and writes another; see `PairConfig`."""

    answer_field = "target"

    usual_sources: ClassVar[tuple[str, ...]] = ("source", "src", "text", "document", "input")
    """Columns that may hold the source."""

    usual_targets: ClassVar[tuple[str, ...]] = ("target", "tgt", "output")
    """Columns that may hold the target."""

    def fields(self) -> Mapping[str, FieldConfig]:
        return {
            "source": FieldConfig(columns=one_of(self.config.source, *self.usual_sources), is_text=True, is_group=True),
            "target": FieldConfig(
                columns=one_of(self.config.target, *self.usual_targets), is_text=True, is_answer=True
            ),
        }

    def prompt(self, document: Document) -> Prompt:
        """What the model reads of an example."""
        source = _said(document.columns.get("source"))
        if self.config.template is None:
            return Prompt("", source, "", ends=True)
        before, after = self.config.template.split(HERE)
        return Prompt(before, source, after, ends=False)

    def references(self, document: Document) -> list[str]:
        """What a model should write of an example: one text, or any of several, of which the first is learned."""
        value = document.columns.get("target")
        several = value if isinstance(value, list) else [value]
        return [text for one in several if (text := _said(one))]

    def fault(self, document: Document) -> str | None:
        """See `Writing.fault`."""
        if not self.prompt(document).source:
            return "no source" if document.columns.get("source") is None else "empty source"
        if not self._target(document):
            return "no target" if document.columns.get("target") is None else "empty target"
        return None


class _Parts(NamedTuple):
    """A prompt in tokens."""

    before: NDArray[Any]
    source: NDArray[Any]
    after: NDArray[Any]

    def within(self, max_tokens: int) -> tuple[NDArray[np.int64] | None, int]:
        """The prompt in at most so many tokens, and how many of the source are left out; None where none would stay."""
        room = max_tokens - len(self.before) - len(self.after)
        if room < min(SHORTEST_SOURCE_TOKENS, len(self.source)):
            return None, 0
        left_out = max(0, len(self.source) - room)
        kept = self.source[: len(self.source) - left_out]
        return np.concatenate([self.before, kept, self.after]).astype(np.int64), left_out


def _said(value: Any) -> str:
    """A value as text; nothing where it is none."""
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)
