"""The verbs that measure finished models on any text: evaluate one, compare two.

Every value has an interval over documents, and two models are compared document by document. Rooms that need torch are
opened inside the functions. This file leaves out what else a model can be asked (`using.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stepwell.api.requests import PathLike, Texts, several
from stepwell.api.using import load, sampling_of, task_of
from stepwell.config import build
from stepwell.data import DataConfig, Document
from stepwell.errors import DataError, UsageError
from stepwell.progress import Watcher, unwatched
from stepwell.tasks import WHOLE_TEXT_BYTES, TaskConfig, build_task, maker_of

if TYPE_CHECKING:
    from stepwell.checkpoints import Loaded
    from stepwell.evaluation import Held, Interval, Scores

SHOWN_DOCUMENTS = 3
"""In which either model is the better one by most, shown of a comparison."""

SHOWN_CHARACTERS = 200


def evaluate(
    run: PathLike, data: Texts, *, text_column: str | None = None, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Measure a model on texts.

    Args:
        run: a run directory or a checkpoint directory.
        data: sources, as for `run`; all of it is measured.
        text_column: of tables.
        watch: is told of problems in the sources.

    Returns:
        `task`, `scoring` (`causal`, or `masked`: its numbers compare with those of other masked models alone),
        `num_examples`, `num_tokens`, and `metrics` of the model's task: each with its 95 % interval over examples.

    Raises:
        DataError: when there is no text.
    """
    from stepwell.evaluation import summarize

    loaded = load(run)
    task = task_of(loaded.provenance)
    documents = _documents(data, text_column, task, watch)
    held = _held(loaded, task, documents, watch)
    scores = _scores(loaded, task, held)
    return {
        "task": task.kind,
        "scoring": _scoring(loaded),
        "num_examples": held.split.num_documents,
        "num_tokens": held.split.num_tokens - held.split.num_documents,
        "metrics": {name: asdict(interval) for name, interval in summarize(scores).items()},
    }


def compare(
    run: PathLike, other: PathLike, data: Texts, *, text_column: str | None = None, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Measure two models on the same texts, and say whether one is better by more than chance.

    Args:
        run: a run directory or a checkpoint directory.
        other: another one.
        data: as in `evaluate`.
        text_column: as in `evaluate`.
        watch: as in `evaluate`.

    Returns:
        `task`, `scoring`, `num_examples`, and `metrics`: of each, `first` and `second` with their intervals, their
        `difference` (first - second, with the interval of a paired bootstrap), and which one is `better` beyond that:
        `first`, `second`, or None. Of models with two tokenizers, only what compares. `examples` has the documents in
        which each is the better one by most.

    Raises:
        DataError: when there is no text.
        UsageError: when one model is masked and the other is not.
    """
    from stepwell.evaluation import bootstrap, paired_bootstrap

    pair = [load(one) for one in (run, other)]
    tasks = [task_of(one.provenance) for one in pair]
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
    one_tokenizer = pair[0].tokenizer.fingerprint == pair[1].tokenizer.fingerprint
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
    from stepwell.data import tokenize_documents
    from stepwell.evaluation import Held

    split = tokenize_documents(documents, loaded.tokenizer, maker_of(task), watch)
    if not split.num_documents:
        raise DataError(f"not one example of {task.kind}", got=f"{len(documents):,} documents")
    texts = split.of_document.get("text", range(len(documents)))
    return Held(split, [documents[int(n)] for n in texts], loaded.tokenizer)


def _scores(loaded: Loaded, task: TaskConfig, held: Held) -> Scores:
    from stepwell.evaluation import measure_of
    from stepwell.hardware import examine

    params = sampling_of(None, loaded.provenance)
    return measure_of(task).evaluate(loaded.model, held, task, params, examine().precision)


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
