"""What every step of the pipeline is: documents in, documents out, and an account of what happened to them.

A step sees the corpus shard by shard, in any process. One that must know the whole corpus (duplicates, mixtures) looks
at every shard first; what it found is joined in one place, and each shard is then told what it needs to know. Nothing
may depend on how many workers there are, so every draw follows from a document's digest. This file leaves out the
steps themselves, and how shards reach the workers (`data/pipeline.py`).
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from stepwell.config import Config
from stepwell.data.documents import Document
from stepwell.errors import DataError

Arrays = Mapping[str, NDArray[Any]]
"""Numbers, text or bytes by name; what a step sees of a shard and is told of it goes through files of these."""


def as_several(value: object) -> object:
    """A single value as several."""
    return (value,) if isinstance(value, str) else value


Sources = Annotated[tuple[str, ...], BeforeValidator(as_several)]
"""One source or several; a recipe may write a single one without brackets."""


class StepConfig(Config):
    """Base of the settings of a step; each narrows `kind` to a literal of its own.

    Attributes:
        kind: which step.
        enabled: whether it is done; the loop turns steps off and on with it.
    """

    kind: str
    enabled: bool = True

    def reads(self) -> Sequence[str]:
        """Sources beside the corpus that the step reads; what is made of the corpus is named by their content too."""
        return ()

    def models(self) -> Sequence[str]:
        """Runs or checkpoints that the step asks; what is made of the corpus is named by their weights too."""
        return ()


ConfigT = TypeVar("ConfigT", bound=StepConfig)

TextMaker = Callable[[Sequence[str]], Sequence[str]]
"""Prompts -> texts, one for each; how a step that writes text asks a model."""


TextEmbedder = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> (N, D) vectors of length 1; how a step asks a model what texts are about."""


@dataclass(frozen=True)
class Surroundings:
    """What a step may know beside its settings.

    Attributes:
        seed: of the run.
        open_model: opens a checkpoint to make texts with; None where there is none to be had. It can be sent to
            another process.
        open_embedder: the same, to give texts vectors with.
    """

    seed: int = 0
    open_model: Callable[[Path], TextMaker] | None = None
    open_embedder: Callable[[Path], TextEmbedder] | None = None


@dataclass
class Outcome:
    """What a step did to the documents of one shard.

    Attributes:
        kept: what goes on, in order; perhaps changed, perhaps more than came in.
        dropped: what does not, with the reason: a short name (`too_few_words`) that is the same for all like it.
        changed: what was done to texts -> how many documents it was done to (`mojibake`).
        findings: counts that the report shows, by name; added up over the shards.
    """

    kept: list[Document] = field(default_factory=list)
    dropped: list[tuple[Document, str]] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Joined:
    """What is known of the whole corpus.

    Attributes:
        known: for each shard what `apply` is told of it, in order; perhaps made when asked for.
        findings: plain JSON values for the report.
    """

    known: Iterable[Arrays]
    findings: Mapping[str, Any] = field(default_factory=dict)


class Step(ABC, Generic[ConfigT]):
    """A step, made of its settings.

    Class attributes:
        place: whether it sees whole texts, before they are cut and split, or the pieces of each split.
        looks: whether it must see the whole corpus first.
        draws: whether it draws by the seed.

    Args:
        config: its settings.
        around: what else it may know.
    """

    place: ClassVar[Literal["before_split", "after_split"]] = "before_split"
    looks: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def __init__(self, config: ConfigT, around: Surroundings) -> None:
        self.config, self.around = config, around

    def look(self, documents: Sequence[Document]) -> Arrays:
        """What must be known of one shard, as small as can be.

        Args:
            documents: exactly those that `apply` gets later.
        """
        raise NotImplementedError

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Put together what was seen.

        Args:
            looks: of each shard, in order; each is read from disk when it is asked for.

        Raises:
            DataError: when the corpus must not be used as it is.
        """
        raise NotImplementedError

    @abstractmethod
    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        """Do it to one shard.

        Args:
            documents: of the shard, in order.
            known: what `join` gave for this shard; None for a step that does not look.
        """

    def shown(self, text: str) -> str:
        """A text as it may be shown: what the step takes out of the corpus is not in the accounts of others either."""
        return text


def needed(module: str, extra: str, what: str) -> ModuleType:
    """A library that only some steps need.

    Args:
        module: its import name.
        extra: of stepwell, that brings it.
        what: needs it; begins the message.

    Raises:
        DataError: when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{what}: needs the library {module.partition('.')[0]}",
            got=str(error),
            do=f"pip install 'stepwell[{extra}]'",
        ) from None
