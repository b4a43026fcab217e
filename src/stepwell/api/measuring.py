"""The verbs that measure finished models on any text: evaluate one, compare two.

Every value has an interval over documents, and two models are compared document by document. Rooms that need torch are
opened inside the functions. This file leaves out what else a model can be asked (`using.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import yaml

from stepwell.api.requests import PathLike, Texts, several
from stepwell.api.using import load, sampling_of, task_of
from stepwell.config import build
from stepwell.data import DataConfig, Document
from stepwell.errors import DataError, UsageError
from stepwell.progress import Watcher, unwatched
from stepwell.tasks import (
    TASKS,
    WHOLE_TEXT_BYTES,
    TaskConfig,
    TranslationConfig,
    build_task,
    maker_of,
    members_of,
    read_task,
)

if TYPE_CHECKING:
    from stepwell.checkpoints import Loaded
    from stepwell.evaluation import Held, Interval, Judge, Scores
    from stepwell.inference import SamplingParams

SHOWN_DOCUMENTS = 3
"""In which either model is the better one by most, shown of a comparison."""

SHOWN_CHARACTERS = 200

JUDGED_ANSWERS = 32
"""Conversations that two models answer for a judge."""


def evaluate(
    run: PathLike,
    data: Texts,
    *,
    text_column: str | None = None,
    task: str | None = None,
    watch: Watcher = unwatched,
) -> dict[str, Any]:
    """Measure a model on texts.

    Args:
        run: a run directory or a checkpoint directory.
        data: sources, as for `run`; all of it is measured.
        text_column: of tables.
        task: another task to measure by, for a model that learned from plain text or elsewhere: its kind (`chat`), or
            its section as in a recipe (`{kind: classification, mode: words, labels: [bad, good]}`).
        watch: is told of problems in the sources.

    Returns:
        `task`, `scoring` (`causal`, or `masked`: its numbers compare with those of other masked models alone),
        `num_examples`, `num_tokens`, and `metrics` of the model's task: each with its 95 % interval over examples.
        `errors` says where it is right and wrong (`evaluation.error_report`); empty for plain text. Of translations,
        `signatures`: how sacrebleu took each metric.

    Raises:
        DataError: when there is no text.
    """
    from stepwell.evaluation import summarize

    loaded = load(run)
    asked = task_of(loaded.provenance) if task is None else _task_named(task)
    documents = _documents(data, text_column, asked, watch)
    held = _held(loaded, asked, documents, watch)
    scores = _scores(loaded, asked, held)
    return {
        "task": asked.kind,
        "scoring": _scoring(loaded),
        "num_examples": len(held.documents),
        "num_tokens": held.split.num_tokens - held.split.num_documents,
        "metrics": {name: asdict(interval) for name, interval in summarize(scores).items()},
        "errors": _errors(scores, held, asked),
        **_signatures(held, asked),
    }


def _errors(scores: Scores, held: Held, task: TaskConfig) -> dict[str, Any]:
    """Tables of errors; nothing where there are no examples to look at."""
    from stepwell.evaluation import answer_rows, error_report

    if not build_task(task).fields():
        return {}
    rows = answer_rows(scores, held.documents, task)
    return error_report(scores, rows, held.documents, task, build_task(task).metric)


def compare(
    run: PathLike,
    other: PathLike,
    data: Texts,
    *,
    text_column: str | None = None,
    judge: str | Judge | None = None,
    watch: Watcher = unwatched,
) -> dict[str, Any]:
    """Measure two models on the same texts, and say whether one is better by more than chance.

    Args:
        run: a run directory or a checkpoint directory.
        other: another one.
        data: as in `evaluate`.
        text_column: as in `evaluate`.
        judge: of chat models, who says which of two answers is better (`evaluation.open_judge`).
        watch: as in `evaluate`.

    Returns:
        `task`, `scoring`, `num_examples`, and `metrics`: of each, `first` and `second` with their intervals, their
        `difference` (first - second, with the interval of a paired bootstrap), and which one is `better` beyond that:
        `first`, `second`, or None. Of models with two tokenizers, only what compares. `examples` has the documents in
        which each is the better one by most. `judged` has the `win_rate` of the first model's answers and how often
        the judge said the same in both orders, where there is a judge.

    Raises:
        DataError: when there is no text.
        UsageError: when one model is masked and the other is not, or the judge fails.
    """
    from stepwell.evaluation import bootstrap, paired_bootstrap

    pair = [load(one) for one in (run, other)]
    tasks = _tasks_of(pair)
    if tasks[0].kind != tasks[1].kind:
        raise UsageError("compare: two tasks", got=f"{tasks[0].kind} and {tasks[1].kind}", wanted="models for one task")
    documents = _documents(data, text_column, tasks[0], watch)
    if _scoring(pair[0]) != _scoring(pair[1]):
        raise UsageError(
            "compare: the numbers of these two say different things",
            got=" and ".join(f"{one.path} ({_scoring(one)})" for one in pair),
            wanted="two causal models, or two masked ones",
        )
    held = [_held(one, task, documents, watch) for one, task in zip(pair, tasks, strict=True)]
    first, second = (_scores(*several) for several in zip(pair, tasks, held, strict=True))
    one_tokenizer = held[0].tokenizer.fingerprint == held[1].tokenizer.fingerprint
    metrics: dict[str, dict[str, Any]] = {}
    for name, metric in first.metrics.items():
        if metric.per == "token" and not one_tokenizer:
            continue
        difference = paired_bootstrap(first, second, name)
        metrics[name] = {
            "first": asdict(bootstrap(first, name)),
            "second": asdict(bootstrap(second, name)),
            "difference": asdict(difference),
            "better": _better(difference, metric.higher_is_better),
        }
    return {
        "task": tasks[0].kind,
        "scoring": _scoring(pair[0]),
        "num_examples": len(held[0].documents),
        "metrics": metrics,
        "examples": _differing(held[0].documents, first, second),
        **({} if judge is None else {"judged": _judged(judge, pair, tasks, held)}),
    }


def _task_named(written: str) -> TaskConfig:
    """A task by its kind alone, or by its section as YAML.

    Raises:
        ConfigError: when a setting of it is wrong.
        UsageError: when there is no such task.
    """
    try:
        section = yaml.safe_load(written)
    except yaml.YAMLError:
        section = written
    section = section if isinstance(section, dict) else {"kind": written}
    kind = section.get("kind")
    if kind not in TASKS:
        raise UsageError("task: no such task", got=str(kind), wanted=f"one of {', '.join(TASKS)}")
    return read_task(section)


def _tasks_of(pair: Sequence[Loaded]) -> list[TaskConfig]:
    """What two models are for; one that learned from plain text alone is asked as the other one."""
    tasks = [task_of(one.provenance) for one in pair]
    kinds = [task.kind for task in tasks]
    if "chat" in kinds and "language_modeling" in kinds:
        return [tasks[kinds.index("chat")]] * 2
    return tasks


def _judged(
    judge: str | Judge, pair: Sequence[Loaded], tasks: Sequence[TaskConfig], held: Sequence[Held]
) -> dict[str, Any]:
    """Answers of two chat models to the same conversations, judged in both orders.

    Raises:
        UsageError: when they are no chat models, or the judge fails.
    """
    from stepwell.evaluation import answers_to, bootstrap, judged, open_judge
    from stepwell.tasks import Chat, ChatConfig

    task = tasks[0]
    if not isinstance(task, ChatConfig):
        raise UsageError("judge: judges answers in conversations", got=f"models of {task.kind}", wanted="chat models")
    decides, documents = open_judge(judge), held[0].documents
    chosen = documents[:: -(-len(documents) // JUDGED_ANSWERS)]
    told: list[list[str]] = []
    for one, its in zip(pair, tasks, strict=True):
        assert isinstance(its, ChatConfig)
        params = _drawn_for(one, its)
        told.append([some.text for some in answers_to(chosen, one.model, one.tokenizer, its, params)])
    asked = [Chat(ChatConfig()).asked(one.columns) for one in chosen]
    scores = judged(asked, told[0], told[1], decides)
    return {
        "judge": judge if isinstance(judge, str) else getattr(judge, "__name__", "a function"),
        "num_examples": len(chosen),
        **{name: asdict(bootstrap(scores, name)) for name in ("win_rate", "judge_agreement")},
    }


def _documents(data: Texts, text_column: str | None, task: TaskConfig, watch: Watcher) -> list[Document]:
    """All documents of some sources, as the task reads them.

    Raises:
        DataError: when there are none.
    """
    from stepwell.data import read_documents

    sources = several(data)
    if not sources:
        raise UsageError("data: nothing to measure on", wanted="files, folders or globs")
    fields = {name: field.model_dump() for name, field in build_task(task).fields().items()}
    whole = {"fields": fields, "document_bytes": WHOLE_TEXT_BYTES} if fields else {}
    config = build(DataConfig, {"sources": sources, "text_column": text_column, **whole}, where="evaluate")
    documents = list(read_documents(config, watch))
    if not documents:
        raise DataError(f"{', '.join(sources)}: no text to measure on")
    return documents


def _held(loaded: Loaded, task: TaskConfig, documents: list[Document], watch: Watcher) -> Held:
    """Documents as the model of a task reads them.

    Raises:
        DataError: when not one of them is an example of the task.
    """
    from stepwell.baselines import open_beside
    from stepwell.data import tokenize_documents
    from stepwell.evaluation import Held

    tokenizer = build_task(task).tokenizer(loaded.tokenizer)
    split = tokenize_documents(documents, tokenizer, maker_of(task), watch)
    if not split.num_documents:
        raise DataError(f"not one example of {task.kind}", got=f"{len(documents):,} documents")
    texts = split.of_document.get("text", range(len(documents)))
    examined = [documents[n] for n in dict.fromkeys(map(int, texts))]  # one that is read in parts counts once
    return Held(split, examined, tokenizer, open_beside(loaded.path, members_of(task)))


def _scores(loaded: Loaded, task: TaskConfig, held: Held) -> Scores:
    from stepwell.evaluation import measure_of
    from stepwell.hardware import examine

    params = _drawn_for(loaded, task)
    return measure_of(task).evaluate(loaded.model, held, task, params, examine().precision)


def _drawn_for(loaded: Loaded, task: TaskConfig) -> SamplingParams:
    """How a model draws: as its run found best, or as is usual for the task where it learned elsewhere."""
    usual = {
        path.removeprefix("decoding."): value
        for path, (value, _) in build_task(task).needs().items()
        if path.startswith("decoding.")
    }
    known = loaded.provenance.get("decoding")
    return sampling_of(None, {**loaded.provenance, "decoding": known or usual})


def _signatures(held: Held, task: TaskConfig) -> dict[str, dict[str, str]]:
    """How sacrebleu took the metrics of translations; nothing of other tasks."""
    from stepwell.evaluation import references_of, signatures

    if not isinstance(task, TranslationConfig):
        return {}
    return {"signatures": signatures(references_of(held.documents, task), task.target_language or "en")}


def _scoring(loaded: Loaded) -> str:
    return "causal" if loaded.model.is_causal else "masked"


def _better(difference: Interval, higher_is_better: bool | None) -> str | None:
    """Which of two is better by more than chance, of the first's value less the second's."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return None
    if higher_is_better is None:
        return None
    return "first" if (difference.value > 0) == higher_is_better else "second"


def _differing(documents: Sequence[Document], first: Scores, second: Scores) -> Mapping[str, list[dict[str, Any]]]:
    """The examples in which each is the better one by most, by the loss of each, in bits per byte or as it is."""
    from stepwell.evaluation import LanguageModelingScores, metric_of_each

    losses = [
        scores.nats / scores.bytes / math.log(2)
        if isinstance(scores, LanguageModelingScores)
        else metric_of_each(scores, "loss")
        for scores in (first, second)
    ]
    order = (losses[0] - losses[1]).argsort(kind="stable")
    found = {}
    for name, chosen in (("first", order), ("second", order[::-1])):
        better = [n for n in chosen[:SHOWN_DOCUMENTS].tolist() if (losses[0][n] < losses[1][n]) == (name == "first")]
        found[name] = [
            {
                "text": documents[n].text[:SHOWN_CHARACTERS],
                "first": float(losses[0][n]),
                "second": float(losses[1][n]),
            }
            for n in better
            if losses[0][n] != losses[1][n]
        ]
    return found
