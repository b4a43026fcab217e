"""Classification: one label for a text, several, or a number.

Which of the three it is follows from the labels: lists are several, fractions are a number, everything else is one of a
set. A head over the model's hidden states tells them. This file leaves out labels that a model says in words
(`label_words`), how a label is decided on (`decisions`), and metrics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stepwell.config import Config
from stepwell.data import LABEL_COLUMNS, Document, Example, FieldConfig, PreparedText, tidy
from stepwell.errors import DataError
from stepwell.tasks.task import LONGEST_TOKENS, Found, Task, TaskConfig, one_of
from stepwell.tokenizers import Tokenizer

Problem = Literal["single", "multiple", "number"]

DENSE_LANGUAGES = ("zh", "ja", "th", "lo", "km", "my", "yue", "wuu")
"""Written without spaces between words."""

SHOWN = 5
FEWEST_OF_A_CLASS = 2


Template = Annotated[str, Field(pattern=r"\{text\}")]


class DecisionConfig(Config):
    """How labels are chosen of what the model says; found on validation text, without training again.

    Attributes:
        temperature: logits are divided by it, above 0; it makes confidences honest (Guo et al., 2017).
        prior: added to each label's logit, in order; empty for nothing.
        threshold: a label of several is chosen from this probability on, in (0, 1).
        members: whose probabilities are joined (their geometric mean): `model`, the one that was trained, and simple
            models that every run trains beside it (`baselines`).
        weights: how much each member counts in that mean, in order; empty for all alike.
        template: of labels in words, how a text is put to the model, `{text}` standing for it; None as it was trained.
    """

    temperature: Annotated[float, Field(gt=0)] = 1.0
    prior: tuple[float, ...] = ()
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    members: Annotated[tuple[str, ...], Field(min_length=1)] = ("model",)
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    template: Template | None = None

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.weights)} weights for {len(self.members)} members; write one for each")
        return self


class ClassificationConfig(TaskConfig):
    """Labels of texts.

    Attributes:
        text: column of the text; found by name.
        label: column of the label; found by name.
        problem: `single` label of each text, `multiple` labels, or a `number`; found in the labels.
        labels: all labels there are, in order; found in the text.
        cut: what the model reads: `characters`, for scripts without spaces, or `pieces` of words; found in the text.
        center: of numbers, what the model tells is how far from this they are; found in training text.
        spread: of numbers, the unit of that.
        fewest: examples that a label must have in training text; fewer are an error.
        mode: a `head` of its own tells labels, or the model says them in `words`, as it would go on with a text.
        template: of words, what is said about a text before its label, `{text}` standing for it; by its language.
        words: of words, what is said for each label, in the order of `labels`; empty for the labels themselves.
        ways: of words, other templates, with examples in them or without: each is tried on validation text after
            training, and the one of least loss is kept.
        decision: how labels are chosen.
    """

    kind: Literal["classification"] = "classification"
    text: str | None = None
    label: str | None = None
    problem: Problem | None = None
    labels: tuple[str, ...] = ()
    cut: Literal["characters", "pieces"] | None = None
    center: float = 0.0
    spread: Annotated[float, Field(gt=0)] = 1.0
    fewest: Annotated[int, Field(ge=1)] = FEWEST_OF_A_CLASS
    mode: Literal["head", "words"] = "head"
    template: Template | None = None
    words: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    ways: tuple[Template, ...] = ()
    decision: DecisionConfig = DecisionConfig()

    @model_validator(mode="after")
    def _asked_in_words(self) -> Self:
        if self.mode == "head" and (self.ways or self.decision.template is not None):
            raise ValueError("ways and decision.template are for mode=words: a head is not asked in words")
        return self


class Classification(Task[ClassificationConfig]):
    """See `ClassificationConfig`."""

    family = "encoder"
    depth, epochs, tuning_epochs, rate = 2, 12.0, 3.0, 1 / 3
    answer_field = "label"

    @property
    def metric(self) -> str:
        usual = {"number": "mean_squared_error", "multiple": "micro_f1"}
        return usual.get(self.config.problem or "single", "accuracy")

    def fields(self) -> Mapping[str, FieldConfig]:
        return {
            "text": FieldConfig(
                columns=one_of(self.config.text, "text", "sentence", "content", "review", "title", "body"),
                is_text=True,
                kept=False,
            ),
            "label": FieldConfig(columns=one_of(self.config.label, *LABEL_COLUMNS), is_answer=True),
        }

    def find(self, text: PreparedText) -> Found:
        """Problem, labels, and where numbers lie.

        Raises:
            DataError: when labels are of several kinds, of one class only, too rare, or unseen in training.
        """
        values = {split: [given(columns.get("label")) for columns in text.each_columns(split)] for split in SPLITS}
        everything = [value for several in values.values() for value in several if value is not None]
        problem = self.config.problem or problem_of(everything)
        dense = sum(share for language, share in text.facts.languages.items() if language in DENSE_LANGUAGES)
        found: dict[str, tuple[Any, str]] = {
            "problem": (problem, "as the labels are"),
            "cut": ("characters" if dense >= 0.5 else "pieces", "the languages of the text"),
        }
        train = [value for value in values["train"] if value is not None]
        if problem == "number":
            numbers = np.array([number_of(value) for value in train])
            if not len(numbers) or numbers.std() == 0:
                raise DataError("task.label: one number only", got=f"{train[:1]}", wanted="numbers that differ")
            return found | {
                "center": (round(float(numbers.mean()), 6), "mean of the training labels"),
                "spread": (round(float(numbers.std()), 6), "their standard deviation"),
            }
        counts = Counter(name for value in train for name in names_of(value, problem))
        labels = self.config.labels or tuple(sorted(counts))
        seen = {name for several in values.values() for value in several for name in names_of(value, problem)}
        _check_labels(counts, labels, seen, self.config.fewest)
        return found | {"labels": (labels, "found in the training text")}

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> Sequence[Example | str]:
        places = {name: number for number, name in enumerate(self.config.labels)}
        made: list[Example | str] = []
        for document, (ids, left_out) in zip(documents, self.read(documents, tokenizer), strict=True):
            value = given(document.columns.get("label"))
            if value is None:
                made.append("no label")
                continue
            of_document = {
                "label": self.label(value, places),
                "weight": np.float32(document.columns.get("weight", 1.0)),
            }
            framed = np.append(ids, tokenizer.eos_id)  # the last token of an example is a target, which is not read
            made.append(Example(framed, of_document=of_document, left_out_tokens=left_out))
        return made

    def document(self, asked: str | Mapping[str, Any]) -> Document:
        found = super().document(asked)
        return found.with_text(tidy(found.text))

    def answer(self, said: str, probabilities: Mapping[str, float]) -> Any:
        if self.config.problem == "number":
            return float(said)
        if self.config.problem == "multiple":
            return [name for name, one in probabilities.items() if one >= self.config.decision.threshold]
        return said

    def read(self, documents: Sequence[Document], tokenizer: Tokenizer) -> list[tuple[NDArray[np.int64], int]]:
        """What the model reads of each text, and how many of its tokens do not fit."""
        room = (self.config.max_tokens or LONGEST_TOKENS) - 2
        return [
            (np.array([tokenizer.bos_id, *ids[:room].tolist(), tokenizer.eos_id]), max(0, len(ids) - room))
            for ids in tokenizer.encode_many([one.text for one in documents])
        ]

    def needs(self) -> Found:
        config = self.config
        single = config.problem == "single"
        loss = {"single": "cross_entropy", "multiple": "binary_cross_entropy", "number": "mean_squared_error"}
        characters = {"tokenizer.kind": ("character", "the text has no spaces")} if config.cut == "characters" else {}
        return {
            **characters,
            "model.task_head.num_outputs": (
                1 if config.problem == "number" else len(config.labels),
                "one number" if config.problem == "number" else "one for each label",
            ),
            "training.objective.kind": ("labels", "what classification learns from"),
            "training.objective.loss": (loss[config.problem or "single"], "as the labels are"),
            "training.objective.label_smoothing": (0.1 if single else 0.0, "labels are wrong now and then"),
        }

    def label(self, value: Any, places: Mapping[str, int]) -> Any:
        """A label of a table as a model learns it.

        Args:
            value: as the table holds it.
            places: name -> number.

        Raises:
            DataError: when the model does not know it.
        """
        problem = self.config.problem or "single"
        if problem == "number":
            return np.float32((number_of(value) - self.config.center) / self.config.spread)
        names = names_of(value, problem)
        if unknown := [name for name in names if name not in places]:
            raise DataError(
                "task.label: a label that the model does not know",
                got=", ".join(unknown[:SHOWN]),
                wanted=f"{', '.join(list(places)[:SHOWN])}{', ...' if len(places) > SHOWN else ''}",
                do="leave such rows out, or train with examples of them",
            )
        if problem == "single":
            return np.int64(places[names[0]])
        row = np.zeros(len(places), np.float32)
        row[[places[name] for name in names]] = 1
        return row


SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")


def given(value: Any) -> Any:
    """A label as a table holds it; None for a blank cell."""
    return None if isinstance(value, str) and not value.strip() else value


def problem_of(values: Sequence[Any]) -> Problem:
    """What labels say about themselves: lists are several labels, fractions are numbers, all else is one of a set.

    A table of comma-separated values holds text alone, so text counts as a number where all of it is.

    Raises:
        DataError: when some are text and some are numbers, or lists.
    """
    kinds: dict[str, Any] = {}
    for value in values:
        kind = "a list" if isinstance(value, list) else "text" if isinstance(value, str) else "a number"
        kinds.setdefault(kind, value)
    if len(kinds) > 1:
        raise DataError(
            "task.label: labels of several kinds",
            got=" and ".join(f"{kind} ({value!r})" for kind, value in kinds.items()),
            wanted="all text, all numbers, or all lists",
            do="write them alike, or say --set task.problem=single to take them all as text",
        )
    if "a list" in kinds:
        return "multiple"
    numbers = [_as_number(value) for value in values]
    fractions = [one for one in numbers if one is not None and not one.is_integer()]
    return "number" if fractions and None not in numbers else "single"


def _as_number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def number_of(value: Any) -> float:
    """A label as a number.

    Raises:
        DataError: when it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError("task.label: is no number", got=repr(value)[:60], wanted="numbers") from None


def names_of(value: Any, problem: Problem) -> list[str]:
    """The labels of a text, by name.

    Raises:
        DataError: for a list where one label is wanted, and the other way round.
    """
    if value is None:
        return []
    if problem == "multiple":
        if not isinstance(value, list):
            raise DataError("task.label: is no list of labels", got=repr(value)[:60], wanted="a list for each text")
        return [str(one).strip() for one in value]
    if isinstance(value, list):
        raise DataError(
            "task.label: several labels of one text",
            got=repr(value)[:60],
            wanted="one",
            do="--set task.problem=multiple",
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table with an empty cell somewhere makes fractions of whole numbers
    return [str(value).strip()]


def _check_labels(counts: Counter[str], labels: Sequence[str], seen: set[str], fewest: int) -> None:
    """See that labels can be learned.

    Raises:
        DataError: naming those that cannot.
    """
    if len(counts) < 2:
        raise DataError(
            "task.label: one class only",
            got=", ".join(counts) or "no label at all",
            wanted="two or more labels in training text",
            do="look at the column, or name another one (--set task.label=NAME)",
        )
    rare = [f"{name} ({counts[name]})" for name in labels if counts[name] < fewest]
    if rare:
        raise DataError(
            f"task.label: {'a label has' if len(rare) == 1 else 'labels have'} too few examples to learn from",
            got=", ".join(rare[:SHOWN]),
            wanted=f"{fewest} or more in training text",
            do="add examples, leave such rows out, or take fewer with --set task.fewest=1",
        )
    unseen = sorted(seen - set(labels))
    if unseen:
        raise DataError(
            "task.label: held-out text has labels that training text has not",
            got=", ".join(unseen[:SHOWN]),
            wanted=f"labels of training text, such as {', '.join(sorted(labels)[:SHOWN])}",
            do="add examples of them, or leave such rows out",
        )
