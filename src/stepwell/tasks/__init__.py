"""What a model is asked to do: what examples hold, how they become tokens, and how an answer is read back."""

from stepwell.tasks.catalog import TASKS, AnyTaskConfig, TaskRow, build_task, maker_of, read_task
from stepwell.tasks.classification import Classification, ClassificationConfig, DecisionConfig
from stepwell.tasks.decisions import chosen_labels, in_words, numbers_told, probabilities_of
from stepwell.tasks.language_modeling import LanguageModelingConfig
from stepwell.tasks.task import LONGEST_TOKENS, WHOLE_TEXT_BYTES, Task, TaskConfig

__all__ = [
    "LONGEST_TOKENS",
    "TASKS",
    "WHOLE_TEXT_BYTES",
    "AnyTaskConfig",
    "Classification",
    "ClassificationConfig",
    "DecisionConfig",
    "LanguageModelingConfig",
    "Task",
    "TaskConfig",
    "TaskRow",
    "build_task",
    "chosen_labels",
    "in_words",
    "maker_of",
    "numbers_told",
    "probabilities_of",
    "read_task",
]
