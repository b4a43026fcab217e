"""What is taken of an example without a model: the source itself, its first sentence, the sentence that was asked for.

Such an answer is what a model has to beat, and where it is not beaten, it is the answer. This file leaves out how good
they are (`studies.baselines`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise

from stepwell.data import Document
from stepwell.errors import ConfigError
from stepwell.tasks.task import TaskConfig

_FIRST_SENTENCE = re.compile(r"\s*(.+?(?:[。！？!?…]+[”’」』）】》\"')\]]*|\.[\"')\]]*(?=\s|$)|\n|$))", re.DOTALL)
_SENTENCE = re.compile(r"[^。！？!?…\n]+?(?:[。！？!?…]+[”’」』）】》\"')\]]*|\.[\"')\]]*(?=\s|$)|\n|$)")
_UNITS = re.compile("[\u3400-\u9fff]|[^\\W\u3400-\u9fff]+")


def copied(source: str) -> str:
    """The baseline of a translation: the source as it is."""
    return source


def first_sentence(text: str) -> str:
    """The baseline of a summary (lead-1): the first sentence, by English and Chinese marks, or the first line."""
    found = _FIRST_SENTENCE.match(text)
    return found[1].strip() if found else text.strip()


def likely_sentence(question: str, context: str) -> str:
    """A baseline of answers: the sentence that shares most words, characters and pairs of them with the question.

    Args:
        question: as it is asked.
        context: where the answer is looked for; of equal sentences the first is taken.
    """
    asked = _ngrams(question)
    sentences: list[str] = [one.strip() for one in _SENTENCE.findall(context) if one.strip()] or [context.strip()]
    return max(sentences, key=lambda one: (_ngrams(one) & asked).total())


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    units = _UNITS.findall(text.lower())
    return Counter((one,) for one in units) + Counter(pairwise(units))


TAKEN: Mapping[str, Mapping[str, Callable[[Callable[[str], str]], str]]] = {
    "translation": {"copy": lambda field: copied(field("source"))},
    "summarization": {"lead_1": lambda field: first_sentence(field("source"))},
    "question_answering": {
        "lead_1": lambda field: first_sentence(field("context")),
        "likely_sentence": lambda field: likely_sentence(field("question"), field("context")),
    },
}
"""Kind of a task -> name -> function of what reads a field of an example."""


def taken_by(task: TaskConfig) -> tuple[str, ...]:
    """Names of what can be taken of an example of a task."""
    return tuple(TAKEN.get(task.kind, ()))


def taken(name: str, task: TaskConfig, document: Document) -> str:
    """What is taken of an example.

    Args:
        name: one of `taken_by`.
        task: whose example.
        document: the example.

    Raises:
        ConfigError: when there is no such thing to take.
    """
    known = TAKEN.get(task.kind, {})
    if name not in known:
        raise ConfigError("task.decision.members: unknown", got=name, wanted=f"model, or {', '.join(known)}")

    def field(name: str) -> str:
        value = document.columns.get(name)
        return value if isinstance(value, str) else "" if value is None else str(value)

    return known[name](field)
