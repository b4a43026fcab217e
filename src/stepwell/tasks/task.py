"""What a task is: what an example of it holds, how it becomes tokens, and what a model of it must have.

A task is a pure function of its settings. What the user leaves out is found in the text once (which labels there are),
and becomes a part of the recipe, so a finished model knows its task without the text. This file leaves out every
concrete task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import Field

from stepwell.config import Config
from stepwell.data import Document, Example, FieldConfig, PreparedText, text_of
from stepwell.errors import UsageError
from stepwell.tokenizers import Tokenizer

Found = Mapping[str, tuple[Any, str]]
"""Path within the task's section -> value and where it came from."""

LONGEST_TOKENS = 512
"""Of an example, when nobody says another number."""

WHOLE_TEXT_BYTES = 1 << 24
"""Documents are examples: none is cut."""


class TaskConfig(Config):
    """Base of every task's settings; `kind` names its row in the catalog.

    Attributes:
        max_tokens: length of an example; of a longer one a part is left out, and counted. None for what takes nearly
            all of them whole, at most 512 or the window of the model to begin from.
    """

    kind: str
    max_tokens: Annotated[int, Field(ge=8)] | None = None


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class Task(ABC, Generic[ConfigT]):
    """One task.

    Args:
        config: its settings.
    """

    family: ClassVar[str] = "decoder"
    """Kind of the model that suits it."""

    objectives: ClassVar[tuple[str, ...]] = ()
    """Kinds of objectives that it can be learned by; of those that the model's family knows, the first is taken. Empty
    where `needs` says it."""

    depth: ClassVar[int] = 1
    """Of a fresh model for it, on its family's dial, where `epochs` are known."""

    epochs: ClassVar[float] = 0.0
    """How often fresh weights see its examples; 0 for as long as there is time."""

    vocabulary_factor: ClassVar[int] = 1
    """How many times the vocabulary that the size of the text asks for."""

    measuring_passes: ClassVar[float] = 1.0
    """What measuring a model costs, in passes over the examples; writing texts takes many."""

    rate: ClassVar[float] = 1.0
    """Share of the usual learning rates for fresh weights."""

    tuning_epochs: ClassVar[float] = 0.0
    """How often weights that are trained already see its examples."""

    tuning_rate: ClassVar[float] = 1.0
    """Share of the usual learning rates for such weights."""

    longest_tokens: ClassVar[int] = LONGEST_TOKENS
    """Of an example, when nobody says another number."""

    whole_ratio: ClassVar[float] = 0.995
    """Share of the examples that shall stay whole, of those that are looked at for their length."""

    special_tokens: ClassVar[tuple[str, ...]] = ()
    """That a tokenizer which is trained for it gets."""

    answer_field: ClassVar[str | None] = None
    """In which what a model says can be learned from; None where that is no answer of the kind."""

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @property
    @abstractmethod
    def metric(self) -> str:
        """What is improved when nobody says another."""

    def passes(self, pretrained: bool) -> float:
        """How often its examples are usually seen; 0 for as long as there is time.

        Args:
            pretrained: whether the weights are trained already.
        """
        return self.tuning_epochs if pretrained else self.epochs

    @property
    def key(self) -> str:
        """See `ExampleMaker.key`: the settings, but for those of the decision, which come after the model."""
        return self.config.model_dump_json(exclude={"decision"})

    def follows(self, get: Callable[[str], Any]) -> Found:
        """What model and training must be for it, as far as that follows from the rest of the recipe.

        Args:
            get: from a recipe path to its value so far, or None.

        Raises:
            ConfigError: when what the recipe says does not go together.
        """
        return {}

    @abstractmethod
    def fields(self) -> Mapping[str, FieldConfig]:
        """What an example holds."""

    def find(self, text: PreparedText) -> Found:
        """What the user left out and the text tells.

        Raises:
            DataError: when the text cannot be learned from.
        """
        return {}

    def measure(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Found:
        """What the user left out and tokens tell.

        Args:
            documents: some of the training text, spread evenly over it.
            tokenizer: of the tokens.
        """
        return {}

    def tokenizer(self, tokenizer: Tokenizer) -> Tokenizer:
        """A tokenizer as the task needs it.

        Raises:
            TokenizerError: when it cannot be had so.
        """
        return tokenizer

    def document(self, asked: str | Mapping[str, Any]) -> Document:
        """What somebody asks about, as a document without an answer.

        Args:
            asked: the text, where an example has no other part; or the example by the names of its fields or columns.

        Raises:
            UsageError: naming the field that is missing.
        """
        fields = {name: field for name, field in self.fields().items() if not field.is_answer}
        if isinstance(asked, str):
            asked = {self._only_part(asked): asked}
        by_lower = {name.strip().lower(): value for name, value in asked.items()}
        values: dict[str, Any] = {}
        for name, field in fields.items():
            found = next((by_lower[one.lower()] for one in (name, *field.columns) if one.lower() in by_lower), None)
            if found is None and field.needed:
                raise UsageError(
                    f"prompt: has no {name}",
                    got=", ".join(asked) or "nothing",
                    wanted=f"one of {', '.join(dict.fromkeys((name, *field.columns)))}",
                )
            values[name] = found
        text = text_of([values[name] for name, field in fields.items() if field.is_text])
        return Document(text, "prompt", columns={name: values[name] for name, field in fields.items() if field.kept})

    def row(self, asked: str | Mapping[str, Any], said: str, probabilities: Mapping[str, float]) -> dict[str, Any]:
        """A row to learn from: what somebody asked about, with what a model said in the place of the answer.

        Only where there is an `answer_field`.

        Args:
            asked: as in `document`.
            said: the answer in words.
            probabilities: of each label, where there are labels.

        Raises:
            UsageError: naming the part that is missing.
        """
        fields = self.fields()
        assert self.answer_field is not None
        if isinstance(asked, str):
            asked = {fields[self._only_part(asked)].columns[0]: asked}
        columns = fields[self.answer_field].columns
        taken = {name.lower() for name in (self.answer_field, *columns)}
        others = {name: value for name, value in asked.items() if name.strip().lower() not in taken}
        place = next((name for name in asked if name not in others), columns[0])  # that of the answer in it, if any
        return {**others, place: self.answer(said, probabilities)}

    def answer(self, said: str, probabilities: Mapping[str, float]) -> Any:
        """What a model said (see `row`), as a table holds it."""
        return said

    def _only_part(self, asked: str) -> str:
        """The field that a text alone is.

        Raises:
            UsageError: when an example has several parts.
        """
        needed = [name for name, field in self.fields().items() if field.needed and not field.is_answer]
        if len(needed) != 1:
            raise UsageError(
                f"prompt: an example of {self.config.kind} has several parts",
                got=repr(asked)[:60],
                wanted=f"jsonl with {' and '.join(needed)}",
            )
        return needed[0]

    @abstractmethod
    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str | Sequence[Example]]:
        """See `ExampleMaker.make`."""

    @abstractmethod
    def needs(self) -> Found:
        """What model and training must be for it: recipe path -> value and reason."""


def one_of(column: str | None, *usual: str) -> tuple[str, ...]:
    """Columns that may hold a field: the one that the user names, or the usual ones."""
    return usual if column is None else (column,)
