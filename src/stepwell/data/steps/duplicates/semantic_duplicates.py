"""Semantic duplicates: of texts that say almost the same in other words, one is kept.

A model gives each text a vector; a text whose cosine with one that is kept is at least a threshold is dropped (Abbas et
al., 2023, "SemDeDup", without their clusters: every pair is compared). Held-out texts are kept before all others, then
what comes first. This file leaves out the model, which a checkpoint is opened for from outside, and what is alike in
its words (`near_duplicates.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.clusters import Numbers, cluster_findings
from stepwell.data.steps.duplicates.exact import HELD_OUT_FIRST, parts_of, rank_of
from stepwell.data.steps.duplicates.near_duplicates import heads_of, without_repeats
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig, Surroundings, TextEmbedder
from stepwell.errors import DataError, DiskError

COMPARED_TOGETHER = 2048
"""Texts of a block; blocks are compared with blocks."""

PERCENTILES = (50, 90, 95, 99)


class SemanticDuplicatesConfig(StepConfig):
    """Which texts say the same.

    Attributes:
        model: a run or a checkpoint that gives texts vectors; one that was trained for that, such as a sentence
            encoder.
        characters: of each text that the model reads, from its beginning; fewer where it cannot read so many.
        threshold: cosine from which two texts say the same; the account tells how near texts are to each other.
    """

    kind: Literal["semantic_duplicates"] = "semantic_duplicates"
    model: str
    characters: int = Field(default=1000, ge=10)
    threshold: float = Field(default=0.95, gt=0, le=1)

    def models(self) -> Sequence[str]:
        return (self.model,)


class SemanticDuplicates(Step[SemanticDuplicatesConfig]):
    """Keep one of the texts that say the same.

    Raises:
        DataError: when there is no model to be had.
    """

    looks: ClassVar[bool] = True

    def __init__(self, config: SemanticDuplicatesConfig, around: Surroundings) -> None:
        super().__init__(config, around)
        self._embed: TextEmbedder | None = None
        if around.open_embedder is None:
            raise DataError("semantic_duplicates: needs a model", do="leave it out, or use `stepwell prepare`")

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "around": self.around, "_embed": None}

    def look(self, documents: Sequence[Document]) -> Arrays:
        """`vectors` (N, D) of length 1 in half precision, `heads` (N,) UTF-8 and `ranks` (N,)."""
        if self._embed is None:
            assert self.around.open_embedder is not None
            self._embed = self.around.open_embedder(Path(self.config.model))
        vectors = self._embed([one.text[: self.config.characters] for one in documents])
        return {
            "vectors": vectors.astype(np.float16),
            "heads": heads_of(documents),
            "ranks": np.array([rank_of(one) for one in documents], np.uint8),
        }

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `again` (N,): which of its documents say what one that is kept says."""
        counts = [len(look["ranks"]) for look in looks]
        ranks = np.concatenate([np.zeros(0, np.uint8), *(look["ranks"] for look in looks)])
        order = np.argsort(ranks, kind="stable")
        held_out = int(np.count_nonzero(ranks < len(HELD_OUT_FIRST)))
        with tempfile.TemporaryDirectory(prefix="stepwell-") as folder:
            roots, cosines = nearest_kept(_together(Path(folder), looks), order, self.config.threshold)
        again = np.empty(len(roots), bool)
        again[order] = roots != np.arange(len(roots))
        findings = cluster_findings(roots, order, held_out, counts, looks)
        known = cosines[cosines > -1]
        if len(known):
            several = zip(PERCENTILES, np.percentile(known, PERCENTILES), strict=True)
            findings["cosine_percentiles"] = {f"{percent}": round(float(value), 3) for percent, value in several}
        return Joined([{"again": part} for part in parts_of(again, counts)], findings)

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        return without_repeats(documents, known, "says_the_same")


def nearest_kept(vectors: NDArray[np.float16], order: Numbers, threshold: float) -> tuple[Numbers, NDArray[np.float32]]:
    """For each text the kept one before it that is most like it.

    Args:
        vectors: (N, D) of length 1, as the texts stand in the corpus.
        order: (N,) where each numbered text stands in the corpus; the first are kept before all others.
        threshold: cosine from which a text is not kept.

    Returns:
        (N,) the number of the kept text that stands for it, its own where it is kept; and (N,) the largest cosine
        with a kept text before it, -1 where there is none.
    """
    count = len(order)
    roots, cosines = np.arange(count), np.full(count, -1.0, np.float32)
    for start in range(0, count, COMPARED_TOGETHER):
        here = slice(start, start + COMPARED_TOGETHER)
        block = vectors[order[here]].astype(np.float32)
        nearest = np.arange(start, start + len(block))
        best = np.full(len(block), -1.0, np.float32)
        for numbers in _kept_before(roots, start):
            similar = block @ vectors[order[numbers]].astype(np.float32).T
            at = similar.argmax(1)
            found = similar[np.arange(len(block)), at]
            nearer = found > best
            best[nearer], nearest[nearer] = found[nearer], numbers[at[nearer]]
        inside = block @ block.T
        for row in range(len(block)):
            kept = np.flatnonzero(roots[start : start + row] == np.arange(start, start + row))
            if len(kept) and (found := inside[row, kept].max()) > best[row]:
                best[row], nearest[row] = found, start + kept[inside[row, kept].argmax()]
            if best[row] >= threshold:
                roots[start + row] = nearest[row]
        cosines[here] = best
    return roots, cosines


def _kept_before(roots: Numbers, start: int) -> Iterator[Numbers]:
    """Numbers of the kept texts before a block, in blocks."""
    kept = np.flatnonzero(roots[:start] == np.arange(start))
    for place in range(0, len(kept), COMPARED_TOGETHER):
        yield kept[place : place + COMPARED_TOGETHER]


def _together(folder: Path, looks: Sequence[Arrays]) -> NDArray[np.float16]:
    """(N, D) the vectors of all shards, in one file.

    Raises:
        DiskError: when it cannot be written.
    """
    width, path = 0, folder / "vectors"
    try:
        with path.open("wb") as file:
            for look in looks:
                width = max(width, look["vectors"].shape[1])
                file.write(np.ascontiguousarray(look["vectors"]).data)
    except OSError as error:
        raise DiskError(
            f"{folder}: what semantic_duplicates compares cannot be written there",
            got=str(error),
            do="make room, or name another place for such files (TMPDIR=FOLDER)",
        ) from None
    return np.memmap(path, np.float16, "r").reshape(-1, width) if path.stat().st_size else np.zeros((0, 0), np.float16)
