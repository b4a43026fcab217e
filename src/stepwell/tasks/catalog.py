"""Every task, one row each: its settings, its class, and the metrics that a target may be stated in.

Adding a task is one file and one row here, one row in `evaluation.MEASURES`, which says how a model is measured by it,
and one in `inference.ANSWERS`, which says how it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from stepwell.config import Config, build
from stepwell.data import ExampleMaker
from stepwell.errors import ConfigError
from stepwell.tasks.answer_writing import AnswerWriting
from stepwell.tasks.chat import Chat, ChatConfig
from stepwell.tasks.classification import Classification, ClassificationConfig
from stepwell.tasks.embedding import Embedding, EmbeddingConfig, Retrieval, RetrievalConfig
from stepwell.tasks.generation import Generation, GenerationConfig
from stepwell.tasks.label_words import LabelWords
from stepwell.tasks.language_modeling import LanguageModeling, LanguageModelingConfig
from stepwell.tasks.preference import Preference, PreferenceConfig
from stepwell.tasks.question_answering import Answering, QuestionAnsweringConfig
from stepwell.tasks.summarization import Summarization, SummarizationConfig
from stepwell.tasks.tagging import Tagging, TaggingConfig
from stepwell.tasks.task import Task, TaskConfig
from stepwell.tasks.translation import Translation, TranslationConfig

TaskConfigT = TypeVar("TaskConfigT", bound=TaskConfig)
Range = tuple[float, float]
SHARE: Range = (0.0, 1.0)
PERCENT: Range = (0.0, 100.0)
POSITIVE: Range = (0.0, float("inf"))
ANY: Range = (-float("inf"), float("inf"))


FOUND: Mapping[str, Range] = {
    "ndcg_at_10": SHARE,
    "mrr_at_10": SHARE,
    **{f"recall_at_{cutoff}": SHARE for cutoff in (1, 5, 10, 100)},
    "loss": POSITIVE,
}


@dataclass(frozen=True)
class TaskRow:
    """One task.

    Attributes:
        opens: its class, or what chooses one by the settings.
        metrics: name -> open interval in which a target makes sense.
    """

    opens: Callable[[Any], Task[Any]]
    metrics: Mapping[str, Range]


def _answering(config: QuestionAnsweringConfig) -> Task[QuestionAnsweringConfig]:
    return Answering(config) if config.mode == "extractive" else AnswerWriting(config)


def _classification(config: ClassificationConfig) -> Task[ClassificationConfig]:
    return LabelWords(config) if config.mode == "words" else Classification(config)


TASKS: dict[str, TaskRow] = {
    "language_modeling": TaskRow(
        LanguageModeling, {"bits_per_byte": (0.0, 8.0), "perplexity": (1.0, float("inf")), "accuracy": SHARE}
    ),
    "generation": TaskRow(
        Generation,
        {"bits_per_byte": (0.0, 8.0), "perplexity": (1.0, float("inf")), "accuracy": SHARE, "variety_gap": SHARE},
    ),
    "chat": TaskRow(
        Chat, {"loss": POSITIVE, "perplexity": (1.0, float("inf")), "stop_rate": SHARE, "format_rate": SHARE}
    ),
    "preference": TaskRow(Preference, {"preference_accuracy": SHARE, "margin": ANY, "loss": POSITIVE, "reward": ANY}),
    "classification": TaskRow(
        _classification,
        {
            "accuracy": SHARE,
            "macro_f1": SHARE,
            "micro_f1": SHARE,
            "macro_precision": SHARE,
            "macro_recall": SHARE,
            "roc_auc": SHARE,
            "mean_squared_error": POSITIVE,
            "mean_absolute_error": POSITIVE,
            "pearson": SHARE,
            "r_squared": SHARE,
        },
    ),
    "tagging": TaskRow(
        Tagging,
        {
            "span_f1": SHARE,
            "span_precision": SHARE,
            "span_recall": SHARE,
            "macro_span_f1": SHARE,
            "token_accuracy": SHARE,
            "sentence_accuracy": SHARE,
        },
    ),
    "retrieval": TaskRow(Retrieval, FOUND),
    "embedding": TaskRow(Embedding, {**FOUND, "spearman": SHARE, "pearson": SHARE}),
    "translation": TaskRow(
        Translation, {"bleu": PERCENT, "chrf": PERCENT, "chrf_plus_plus": PERCENT, "ter": POSITIVE, "loss": POSITIVE}
    ),
    "summarization": TaskRow(Summarization, {"rouge_1": SHARE, "rouge_2": SHARE, "rouge_l": SHARE, "loss": POSITIVE}),
    "question_answering": TaskRow(
        _answering, {"exact_match": SHARE, "f1": SHARE, "no_answer_accuracy": SHARE, "loss": POSITIVE}
    ),
}


def _as_section(value: object) -> object:
    """A task may be written as its kind alone."""
    return {"kind": value} if isinstance(value, str) else value


AnyTaskConfig = Annotated[
    Annotated[
        LanguageModelingConfig
        | GenerationConfig
        | ChatConfig
        | ClassificationConfig
        | TaggingConfig
        | RetrievalConfig
        | EmbeddingConfig
        | TranslationConfig
        | SummarizationConfig
        | QuestionAnsweringConfig
        | PreferenceConfig,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_as_section),
]
"""Settings of any row, told apart by `kind`; a kind alone will do."""


def read_task(written: object) -> TaskConfig:
    """The settings of a task as a checkpoint has them written; of an older one, or one of another project, plain text.

    Args:
        written: plain values.
    """
    known = isinstance(written, Mapping) and written.get("kind") in TASKS
    return build(_Section, {"task": written if known else "language_modeling"}, where="provenance").task


class _Section(Config):
    """A task where it stands alone."""

    task: AnyTaskConfig


def usual_family(written: object) -> str | None:
    """The kind of the model that suits a task; None for one that is unknown or faulty, which others tell of.

    Args:
        written: plain values.
    """
    known = isinstance(written, Mapping) and written.get("kind") in TASKS
    try:
        return build_task(build(_Section, {"task": written}, where="recipe").task).family if known else None
    except ConfigError:
        return None


def undecided(config: TaskConfigT) -> TaskConfigT:
    """A task as it is judged while a model is trained: with the decision that it begins with."""
    field = type(config).model_fields.get("decision")
    return config if field is None else config.model_copy(update={"decision": field.get_default()})


def members_of(config: TaskConfig) -> tuple[str, ...]:
    """Whose word counts in a task's decision."""
    return tuple(getattr(getattr(config, "decision", None), "members", ()))


def maker_of(config: TaskConfig) -> ExampleMaker | None:
    """What makes examples of documents for a task; None for plain text."""
    task = build_task(config)
    return task if task.fields() else None


def build_task(config: TaskConfig) -> Task[Any]:
    """The task of a config."""
    return TASKS[config.kind].opens(config)
