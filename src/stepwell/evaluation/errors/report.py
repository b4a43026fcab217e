"""Where a model was right and wrong on held-out examples, as plain values: what a page or another program shows of it.

Of the scores, and of a row for each example (`rows.py`), come tables: classes, what is taken for what, how
honest probabilities are, how parts of the data do, and the worst examples. Which tables there are follows from the kind
of the scores, so a new task has those that fit it at once. This file leaves out how they look, and the primitives
(`tables.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stepwell.data import Document, language_scores
from stepwell.evaluation.errors.rows import Row
from stepwell.evaluation.errors.tables import (
    ClassRow,
    Confusion,
    Key,
    class_table,
    confused_classes,
    confused_spans,
    length_ranges,
    slices,
    worst_examples,
)
from stepwell.evaluation.measuring.telling_tags import types_of
from stepwell.evaluation.scores.classification import ClassificationScores, confusion
from stepwell.evaluation.scores.metrics import Scores
from stepwell.evaluation.scores.tagging import TaggingScores
from stepwell.tasks import Tagging, TaggingConfig, TaskConfig, reading_of

MOST_LABELS = 40
"""Of which each is shown beside each other."""

SHOWN_WORST, SHOWN_DRAWN, SHOWN_PAIRS = 12, 8, 12

LEAST_OF_A_LANGUAGE = 0.02
"""Share of the examples from which on a language is a part of its own."""

CALIBRATION_BINS = 10

RANKED_BY = {"translation": "chrf", "summarization": "rouge_l", "question_answering": "f1", "retrieval": "mrr_at_10"}
"""Kind of a task -> the metric of one example by which it is good or bad; the loss, where it is not here."""


def error_report(
    scores: Scores, rows: Sequence[Row], documents: Sequence[Document], task: TaskConfig, metric: str
) -> dict[str, Any]:
    """Tables of what went right and wrong.

    Args:
        scores: of N examples, one at least.
        rows: of `answer_rows`, all or none.
        documents: of the examples.
        task: what was asked.
        metric: that parts of the data are compared by.

    Returns:
        `task`, `metric`, `num_examples`, `ranked_by`; with rows `num_answered`, `worst` and `drawn` ones, and `slices`
        by what they are of; and, as far as they fit, `classes`, `confusion` (`labels` and `counts`), `confused`,
        `calibration`, `lengths`, and the `scheme` by which tags are read.
    """
    ranked_by = RANKED_BY.get(task.kind, "loss")
    found: dict[str, Any] = {
        "task": task.kind,
        "metric": metric,
        "num_examples": len(scores),
        "ranked_by": ranked_by if ranked_by in scores.metrics else None,
    }
    if isinstance(scores, ClassificationScores):
        found |= _of_classes(scores, rows, tuple(getattr(task, "labels", ())))
    if isinstance(scores, TaggingScores) and isinstance(task, TaggingConfig):
        found |= _of_tags(scores, rows, documents, task)
    if rows:
        worst = _worst(scores, rows, ranked_by)
        found |= {
            "slices": _slices(scores, rows, documents, metric),
            "num_answered": sum("answer" in row for row in rows),
            "worst": [rows[number] for number in worst],
            "drawn": _drawn([row for row in rows if row["number"] not in worst]),
            **_lengths(rows),
        }
    return found


def _of_classes(scores: ClassificationScores, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, Any]:
    """Tables of classes; what is taken for what, where each text has one class."""
    names = labels if len(labels) == scores.true.shape[1] else [str(n) for n in range(scores.true.shape[1])]
    found: dict[str, Any] = {"classes": [_class_row(one) for one in class_table(scores, names)]}
    confidence, right = _confidences(scores, rows)
    if len(confidence):
        found["calibration"] = calibration_bins(confidence, right)
    if not ((scores.true.sum(1) == 1) & (scores.chosen.sum(1) == 1)).all():
        return found
    true, chosen = scores.true.argmax(1).tolist(), scores.chosen.argmax(1).tolist()
    if len(names) <= MOST_LABELS:
        found["confusion"] = {"labels": list(names), "counts": confusion(true, chosen, len(names)).tolist()}
    pairs = confused_classes([names[n] for n in true], [names[n] for n in chosen], SHOWN_PAIRS, num_rows=3)
    return found | {"confused": [_confused(one, rows) for one in pairs]}


def _confidences(scores: ClassificationScores, rows: Sequence[Row]) -> tuple[list[float], list[bool]]:
    """How sure each decision was and whether it was right; of several labels each one is a decision."""
    if rows and all("probability" in row for row in rows):
        return [row["probability"] for row in rows], scores.exact.tolist()
    if rows and all("probabilities" in row for row in rows):
        told = np.array([row["probabilities"] for row in rows])
        if told.shape == scores.true.shape:
            return np.maximum(told, 1 - told).ravel().tolist(), ((told >= 0.5) == scores.true).ravel().tolist()
    return [], []


def calibration_bins(
    confidence: Sequence[float], right: Sequence[bool], num: int = CALIBRATION_BINS
) -> list[dict[str, float]]:
    """How often a decision is right, by how sure it was (Guo et al., 2017).

    Args:
        confidence: (N,) probability of what was chosen.
        right: (N,) whether that was right.
        num: of equally wide bins.

    Returns:
        Of each bin that holds something `low`, `high`, `count`, mean `confidence`, and `accuracy`.
    """
    sure, hits = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    bins = np.minimum((sure * num).astype(np.int64), num - 1)
    return [
        {
            "low": at / num,
            "high": (at + 1) / num,
            "count": int((bins == at).sum()),
            "confidence": float(sure[bins == at].mean()),
            "accuracy": float(hits[bins == at].mean()),
        }
        for at in np.unique(bins).tolist()
    ]


def _of_tags(
    scores: TaggingScores, rows: Sequence[Row], documents: Sequence[Document], task: TaggingConfig
) -> dict[str, Any]:
    """Tables of the types of spans."""
    right = [Tagging(task).tags_of(one) or [] for one in documents]
    names = types_of(task, right)
    scheme = reading_of(task.scheme or "plain")
    found: dict[str, Any] = {"scheme": scheme}
    if len(names) == scores.true.shape[1]:
        found["classes"] = [_class_row(one) for one in class_table(scores, names)]
    if len(scores.said) == len(right):
        chosen = [one["answer"] for one in scores.said]
        pairs = confused_spans(right, chosen, SHOWN_PAIRS, scheme=scheme, num_rows=3)
        found["confused"] = [_confused(one, rows) for one in pairs]
    return found


def _class_row(row: ClassRow) -> dict[str, Any]:
    return asdict(row)


def _confused(pair: Confusion, rows: Sequence[Row]) -> dict[str, Any]:
    texts = [rows[number]["text"][:160] for number in pair.rows] if rows else []
    return {
        "true": pair.true,
        "chosen": pair.chosen,
        "count": pair.count,
        "true_ratio": pair.true_ratio,
        "examples": texts,
    }


def _worst(scores: Scores, rows: Sequence[Row], ranked_by: str) -> list[int]:
    """Numbers of the examples that do worst; where some were answered and some were not, of those that were."""
    if ranked_by not in scores.metrics:
        return []
    has_answer = [row["number"] for row in rows if "answer" in row]
    among = has_answer or list(range(len(rows)))
    return [among[at] for at in worst_examples(scores.take(among), ranked_by, SHOWN_WORST)]


def _drawn(rows: Sequence[Row]) -> list[Row]:
    """Rows spread evenly over those that have an answer, or over all."""
    some = [row for row in rows if "answer" in row] or list(rows)
    stride = max(1, len(some) // SHOWN_DRAWN)
    return some[stride // 2 :: stride][:SHOWN_DRAWN]


def _slices(
    scores: Scores, rows: Sequence[Row], documents: Sequence[Document], metric: str
) -> dict[str, list[dict[str, Any]]]:
    """The metric of parts of the data, by length, language and source; a kind with one part says nothing."""
    kinds: dict[str, Sequence[Key]] = {
        "length": length_ranges([row["characters"] for row in rows]),
        "language": _languages(rows),
        "source": [document.source for document in documents],
    }
    found = {}
    for kind, keys in kinds.items():
        if metric in scores.metrics and 1 < len(set(keys)) <= MOST_LABELS:
            found[kind] = [
                {"key": one.key, "num_examples": one.num_examples, **asdict(one.metrics[metric])}
                for one in slices(scores, keys, [metric])
                if metric in one.metrics
            ]
    return found


def _languages(rows: Sequence[Row]) -> list[str]:
    told = [next(iter(language_scores(row["text"])), "other") for row in rows]
    common = {name for name, count in Counter(told).items() if count >= LEAST_OF_A_LANGUAGE * len(told)}
    if len(common) == 1:
        return [common.pop()] * len(told)  # the few others say nothing
    return [name if name in common else "other" for name in told]


def _lengths(rows: Sequence[Row]) -> dict[str, Any]:
    """How long answers that are written are beside the right ones, in characters; nothing where none are written."""
    pairs = [(row.get("answer"), row.get("true")) for row in rows if "probability" not in row]
    sizes = [(len(a), len(t)) for a, t in pairs if isinstance(a, str) and isinstance(t, str) and t]
    if not sizes:
        return {}
    each = np.array([answer / right for answer, right in sizes])
    low, middle, high = np.quantile(each, (0.1, 0.5, 0.9)).tolist()
    whole = sum(answer for answer, _ in sizes) / sum(right for _, right in sizes)
    return {"lengths": {"ratio": whole, "low": low, "median": middle, "high": high, "num_examples": len(sizes)}}
