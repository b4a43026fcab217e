"""How well a model finds the texts that belong to others: each held-out query among all held-out documents.

Vectors are made in batches and compared part by part, so no matrix of all queries and all documents is ever held. The
loss is that of training: each query tells its document from those of the examples around it, as many as a batch has.
How much is searched decides what is found, so it stands beside the scores. This file leaves out the ranks
(`retrieval.py`), and graded pairs (`similarity.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.baselines import BM25
from stepwell.data import Document
from stepwell.evaluation.intervals import bootstrap, paired_bootstrap
from stepwell.evaluation.scores.metrics import FloatArray, Metric
from stepwell.evaluation.scores.retrieval import RetrievalScores, ranks_of
from stepwell.inference import joined, vectors_for
from stepwell.models import LanguageModel
from stepwell.tasks import (
    EmbeddingConfig,
    RankedBy,
    RankingConfig,
    RetrievalConfig,
    Vectors,
    VectorsConfig,
    build_task,
    key_of_text,
)
from stepwell.tokenizers import Tokenizer

COMPARED_AT_ONCE = 256
"""Queries whose similarities to all documents are held at once."""

Similarities = Callable[[slice], NDArray[Any]]
"""From some of the queries to their similarities to all documents, (Q, D)."""


@dataclass(frozen=True)
class SearchedScores(RetrievalScores):
    """What was found for each of N queries, beside `RetrievalScores`.

    Attributes:
        nats: (N,) how unlikely the right document is among those of the examples around, by cosines over the
            temperature.
        candidates: (N,) documents that were searched.
    """

    nats: FloatArray
    candidates: FloatArray


SearchedScores.metrics = {
    **RetrievalScores.metrics,
    "loss": Metric(
        lambda totals: totals.nats / totals.count, higher_is_better=False, unit="nats per query", per="example"
    ),
    "candidates": Metric(
        lambda totals: totals.candidates / totals.count,
        higher_is_better=None,
        unit="documents searched",
        per="example",
    ),
}


@dataclass(frozen=True)
class Searched:
    """Queries, and what is searched for them.

    Attributes:
        queries: N texts.
        documents: D texts that differ; the documents of the queries come first, negatives after them.
        answers: (N,) which document was given with each query.
        groups: (N,) queries with one number look for the same: all their documents are right.
        is_itself: whether queries are documents too, each its own answer, which it does not look for: it looks for the
            others of its group.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    answers: NDArray[np.int64]
    groups: NDArray[np.int64]
    is_itself: bool = False

    def right(self, part: slice) -> NDArray[np.bool_]:
        """(Q, D) which documents are right for some of the queries."""
        found = np.zeros((len(self.groups[part]), len(self.documents)), np.bool_)
        order = np.argsort(self.groups, kind="stable")
        groups = self.groups[order]
        for row, group in zip(found, self.groups[part], strict=True):
            first, last = np.searchsorted(groups, [group, group + 1])
            row[self.answers[order[first:last]]] = True
        if self.is_itself:
            found[np.arange(len(found)), self.answers[part]] = False
        return found


def searched(documents: Sequence[Document], task: VectorsConfig) -> Searched:
    """Queries and documents of examples.

    Args:
        documents: examples of the task, all of which have their texts.
        task: whose.
    """
    reader = build_task(task)
    assert isinstance(reader, Vectors)
    rows = [_texts(reader, one) for one in documents]
    places: dict[str, int] = {}
    if isinstance(task, EmbeddingConfig) and task.relation == "classes":
        labels = [str(one.columns["label"]) for one in documents]
        texts = [row[0] for row in rows]
        return Searched(texts, texts, np.arange(len(texts)), _numbered(labels), is_itself=True)
    answers = np.array([places.setdefault(row[1], len(places)) for row in rows], np.int64)
    for row in rows:
        for negative in row[2:]:
            places.setdefault(negative, len(places))
    return Searched([row[0] for row in rows], list(places), answers, _numbered([row[0] for row in rows]))


def _texts(reader: Vectors[Any], document: Document) -> list[str]:
    found = reader.texts_of(document)
    assert not isinstance(found, str), found  # it would be no example
    return found


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    known: dict[Any, int] = {}
    return np.array([known.setdefault(int(key_of_text(name)), len(known)) for name in names], np.int64)


def evaluate_retrieval(
    model: LanguageModel, documents: Sequence[Document], tokenizer: Tokenizer, task: VectorsConfig
) -> SearchedScores:
    """Find the documents of held-out examples by their vectors.

    Args:
        model: trained for the task.
        documents: examples of `task`; what is searched is their documents and negatives.
        tokenizer: that the model was trained with.
        task: how vectors are made, and which texts belong together.
    """
    what = searched(documents, task)
    queries = vectors_for(model, tokenizer, task, what.queries, "query")
    vectors = queries if what.is_itself else vectors_for(model, tokenizer, task, what.documents, "document")
    ranked = ways_to_rank(what, queries, vectors)
    found = search_scores(what, ranked[task.decision.by if isinstance(task, RetrievalConfig) else "vectors"])
    nats = np.concatenate(list(_nats(what, queries, vectors, task)) or [np.zeros(0)])
    count = np.full(len(what.queries), float(len(what.documents) - what.is_itself))
    beside = {field.name: getattr(found, field.name) for field in fields(RetrievalScores)}
    return SearchedScores(**beside, nats=nats, candidates=count)


def ways_to_rank(
    what: Searched, queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> dict[RankedBy, Similarities]:
    """Every way to rank documents for queries.

    Args:
        what: queries and documents.
        queries: (N, W) vectors of the queries.
        vectors: (D, W) vectors of the documents.
    """
    index = cache(lambda: BM25(what.documents))

    def near(part: slice) -> NDArray[np.float32]:
        return queries[part] @ vectors.T

    def words(part: slice) -> NDArray[np.float32]:
        return index().scores(what.queries[part])

    return {"vectors": near, "words": words, "both": lambda part: joined(near(part), words(part))}


def choose_ranking(
    model: LanguageModel, documents: Sequence[Document], tokenizer: Tokenizer, task: RetrievalConfig, metric: str
) -> RetrievalConfig:
    """The way to rank that finds most in held-out examples; vectors alone where nothing is better by more than chance.

    Args:
        model: trained for the task.
        documents: examples of `task`.
        tokenizer: that the model was trained with.
        task: how vectors are made.
        metric: that counts; of one that ranks do not decide, vectors stay.
    """
    if metric not in RetrievalScores.metrics:
        return task
    what = searched(documents, task)
    queries = vectors_for(model, tokenizer, task, what.queries, "query")
    vectors = vectors_for(model, tokenizer, task, what.documents, "document")
    scores = {by: search_scores(what, rank) for by, rank in ways_to_rank(what, queries, vectors).items()}
    best = max(scores, key=lambda by: bootstrap(scores[by], metric, resamples=1).value)
    gain = paired_bootstrap(scores[best], scores["vectors"], metric)
    by: RankedBy = best if gain.low is not None and gain.low > 0 else "vectors"
    return task.model_copy(update={"decision": RankingConfig(by=by)})


def search_scores(what: Searched, similarities: Similarities) -> RetrievalScores:
    """Scores of any way to search.

    Args:
        what: queries and documents.
        similarities: of queries to documents.
    """
    ranks: list[list[int | None]] = []
    for first in range(0, len(what.queries), COMPARED_AT_ONCE):
        part = slice(first, first + COMPARED_AT_ONCE)
        near = np.array(similarities(part), np.float64)
        if what.is_itself:
            near[np.arange(len(near)), what.answers[part]] = -np.inf
        ranks += [row or [None] for row in ranks_of(near, what.right(part))[0]]
    return RetrievalScores.of(ranks)


def nearest_held(
    model: LanguageModel, documents: Sequence[Document], tokenizer: Tokenizer, task: VectorsConfig, count: int
) -> list[tuple[str, str]]:
    """A few queries of held-out examples, spread evenly, each with the document that is nearest to it.

    Args:
        model: trained for the task.
        documents: examples of `task`; all of them are searched.
        tokenizer: that the model was trained with.
        task: how vectors are made.
        count: of queries, at most.
    """
    what = searched(documents, task)
    chosen = np.arange(0, len(what.queries), max(1, len(what.queries) // max(1, count)))[:count]
    asked = [what.queries[number] for number in chosen]
    vectors = vectors_for(model, tokenizer, task, what.documents, "document")
    near = vectors_for(model, tokenizer, task, asked, "query") @ vectors.T
    if what.is_itself:
        near[np.arange(len(chosen)), what.answers[chosen]] = -np.inf
    return [(query, what.documents[at]) for query, at in zip(asked, near.argmax(1).tolist(), strict=True)]


def evaluate_bm25(documents: Sequence[Document], task: RetrievalConfig | EmbeddingConfig) -> RetrievalScores:
    """The baseline: the same search by words, or by pairs of characters in Chinese.

    Args:
        documents: examples of `task`.
        task: which texts belong together.
    """
    what = searched(documents, task)
    index = BM25(what.documents)
    return search_scores(what, lambda part: index.scores(what.queries[part]))


def _nats(
    what: Searched, queries: NDArray[np.float32], vectors: NDArray[np.float32], task: VectorsConfig
) -> Iterator[FloatArray]:
    """How unlikely the right documents are, batch by batch."""
    for first in range(0, len(queries), task.batch_examples):
        part = slice(first, first + task.batch_examples)
        near = (queries[part] @ vectors[what.answers[part]].T).astype(np.float64) / task.temperature
        groups, answers = what.groups[part], what.answers[part]
        itself = np.eye(len(near), dtype=np.bool_)
        alike = (groups[:, None] == groups[None, :]) | (answers[:, None] == answers[None, :])
        allowed, right = (~itself, alike & ~itself) if what.is_itself else (itself | ~alike, itself)
        near = np.where(allowed, near, -np.inf)
        highest = near.max(1, initial=-1e300, keepdims=True)
        total = np.log(np.maximum(np.exp(near - highest).sum(1, keepdims=True), 1e-300)) + highest
        told = np.where(right, total - near, 0.0).sum(1)
        yield told / np.maximum(1, right.sum(1))
