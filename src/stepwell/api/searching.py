"""The verb that looks texts up: the nearest of a corpus to a query, by a model's vectors.

Vectors of a corpus are made once and kept beside the model, under a name that follows from weights and texts; another
model or another text makes them anew. Words can be searched for too, and both rankings made one. This file leaves out
how vectors are made (`inference`).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from stepwell.api.requests import PathLike, Texts, several
from stepwell.api.using import load, task_of
from stepwell.config import build, counted
from stepwell.data import DataConfig, Document, FieldConfig
from stepwell.errors import DataError, DiskError, UsageError
from stepwell.progress import Fact, Stage, Watcher, unwatched
from stepwell.runs import to_json, write_atomically
from stepwell.tasks import RankedBy, RetrievalConfig, TaskConfig, VectorsConfig, build_task

if TYPE_CHECKING:
    from stepwell.checkpoints import Loaded

PASSAGE_BYTES = 2_000
"""A longer text is cut into passages of at most so much, each of which is found for itself."""

RANKED_AT_ONCE = 64
"""Queries whose similarities to all passages are held at once."""

FOLDER = "search"
"""Within a checkpoint's directory."""


def search(
    run: PathLike,
    text: Sequence[str] | str,
    data: Texts,
    *,
    k: int = 5,
    by: RankedBy | None = None,
    text_column: str | None = None,
    watch: Watcher = unwatched,
) -> list[list[dict[str, Any]]]:
    """Find the texts of a corpus that are nearest to queries.

    Args:
        run: a run directory or a checkpoint directory; made for models of the tasks `retrieval` and `embedding`, any
            will do.
        text: one query or many.
        data: the corpus: sources, as for `run`. Long texts are cut into passages.
        k: how many are wanted of each query.
        by: `vectors`, `words` (BM25), or `both` rankings joined; default what the run found best, else vectors.
        text_column: of tables; default the column of the task's documents.
        watch: is told of what takes time, and of problems in the sources.

    Returns:
        For each query its passages, the best first: `text`, `source`, `similarity` (the cosine), and the `score` that
        they are ranked by.

    Raises:
        CheckpointError: when there is no whole model.
        DataError: when there is no text.
        UsageError: when nothing is asked for, or for another way to rank.
    """
    queries = [text] if isinstance(text, str) else list(text)
    if not queries or not all(one.strip() for one in queries):
        raise UsageError("text: an empty query", wanted="some words to search for")
    if k < 1:
        raise UsageError("k: nothing is asked for", got=str(k), wanted="1 or more")
    if by not in (None, *get_args(RankedBy)):
        raise UsageError("by: no such way to rank", got=str(by), wanted=", ".join(get_args(RankedBy)))
    loaded = load(run)
    task = task_of(loaded.provenance)
    passages = _passages(data, text_column, task, watch)
    vectors = _vectors_of(loaded, task, passages, watch)
    asked = _made(loaded, task, queries, "query")
    usual = task.decision.by if isinstance(task, RetrievalConfig) else "vectors"
    return _found(queries, passages, asked, vectors, k, by or usual)


def _found(
    queries: Sequence[str],
    passages: Sequence[Document],
    asked: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    by: RankedBy,
) -> list[list[dict[str, Any]]]:
    from stepwell.baselines import BM25
    from stepwell.inference import highest, joined

    index = None if by == "vectors" else BM25([one.text for one in passages])
    found: list[list[dict[str, Any]]] = []
    for first in range(0, len(queries), RANKED_AT_ONCE):
        part = slice(first, first + RANKED_AT_ONCE)
        near = asked[part] @ vectors.T
        worth = near
        if index is not None:
            words = index.scores(queries[part])
            worth = words if by == "words" else joined(near, words)
        for row, numbers, values in zip(near, *(one.tolist() for one in highest(worth, k)), strict=True):
            found.append(
                [
                    {
                        "text": passages[number].text,
                        "source": passages[number].source,
                        "score": round(value, 6),
                        "similarity": round(float(row[number]), 6),
                    }
                    for number, value in zip(numbers, values, strict=True)
                ]
            )
    return found


def _passages(data: Texts, text_column: str | None, task: TaskConfig, watch: Watcher) -> list[Document]:
    """The texts of a corpus that differ, in order.

    Raises:
        DataError: when there are none.
    """
    from stepwell.data import read_documents

    sources = several(data)
    if not sources:
        raise UsageError("data: nothing to search in", wanted="files, folders or globs")
    fields = {}
    if isinstance(task, VectorsConfig) and text_column is None:
        names = [name for name, field in build_task(task).fields().items() if field.is_text]
        columns = build_task(task).fields()[names[-1 if task.kind == "retrieval" else 0]].columns
        fields = {"document": FieldConfig(columns=columns, is_text=True, kept=False).model_dump()}
    values = {"sources": sources, "text_column": text_column, "document_bytes": PASSAGE_BYTES, "fields": fields}
    found = {one.digest: one for one in read_documents(build(DataConfig, values, where="search"), watch)}
    if not found:
        raise DataError(f"{', '.join(sources)}: no text to search in")
    return list(found.values())


def _vectors_of(loaded: Loaded, task: TaskConfig, passages: Sequence[Document], watch: Watcher) -> NDArray[np.float32]:
    """(N, D) vectors of passages, made or found beside the model."""
    named = hashlib.sha256((loaded.path / "manifest.json").read_bytes())
    named.update(to_json(task.model_dump(mode="json", exclude={"decision"})).encode())
    for one in passages:
        named.update(one.digest)
    path = loaded.path / FOLDER / f"vectors-{named.hexdigest()[:16]}.npz"
    if path.exists():
        try:
            with np.load(path) as arrays:
                kept = np.asarray(arrays["vectors"], np.float32)
            if len(kept) == len(passages):
                return kept
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            watch(Fact(f"{path}: is damaged; it is made again", warning=True))
    watch(Stage("embed", counted(len(passages), "passage")))
    vectors = _made(loaded, task, [one.text for one in passages], "document")
    packed = io.BytesIO()
    np.savez(packed, vectors=vectors)
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, packed.getvalue())
    except (OSError, DiskError) as error:  # a model that may only be read is searched with all the same
        watch(Fact(f"{path.parent}: the vectors are not kept ({error})", warning=True))
    return vectors


def _made(loaded: Loaded, task: TaskConfig, texts: Sequence[str], role: Any) -> NDArray[np.float32]:
    from stepwell.inference import embed_texts, vectors_for

    if isinstance(task, VectorsConfig):
        return vectors_for(loaded.model, loaded.tokenizer, task, texts, role)
    return embed_texts(loaded.model, loaded.tokenizer, texts)
