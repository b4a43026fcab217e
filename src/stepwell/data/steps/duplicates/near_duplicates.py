"""Near duplicates: of texts that are almost the same, one is kept.

Texts are sets of n-grams; two are near duplicates when the Jaccard similarity of their sets is at least a threshold,
and what is alike by way of others is one cluster. Held-out texts are kept before all others, then what comes first.
This file leaves out what is the same to the letter (`exact.py`) and what only contains a piece of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.buckets import (
    RECORDS_TOGETHER,
    Records,
    bucketed,
    folder_for,
    mapped,
    records_of,
    whole_buckets,
)
from stepwell.data.steps.duplicates.clusters import cluster_findings, clusters_of, repeats_among
from stepwell.data.steps.duplicates.exact import HELD_OUT_FIRST, parts_of, rank_of
from stepwell.data.steps.duplicates.shingles import batches, shingles_of
from stepwell.data.steps.duplicates.sketches import PERMUTATIONS, Sketches, bands_of, rows_of_a_band, sketches_of
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig

SKETCHED_CHARACTERS = 1 << 16
"""Sketched together."""

HEAD_CHARACTERS = 80


class NearDuplicatesConfig(StepConfig):
    """Which texts are near duplicates.

    Attributes:
        threshold: Jaccard similarity from which two texts are near duplicates.
        words: of an n-gram; a text with fewer is left alone.
        characters: of an n-gram in Chinese, Japanese and other scripts without spaces.
    """

    kind: Literal["near_duplicates"] = "near_duplicates"
    threshold: float = Field(default=0.8, ge=0.5, le=1)
    words: int = Field(default=5, ge=1, le=50)
    characters: int = Field(default=5, ge=1, le=50)


class NearDuplicates(Step[NearDuplicatesConfig]):
    """Keep one text of each cluster of near duplicates."""

    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """`bands` (N, bands), sketches (`hashes` (H,), `sizes` (N,)), `heads` (N,) UTF-8 and `ranks` (N,)."""
        rows = rows_of_a_band(self.config.threshold)
        bands = [np.zeros((0, PERMUTATIONS // rows), np.uint64)]
        hashes, sizes = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
        for texts in batches([one.text for one in documents], SKETCHED_CHARACTERS):
            shingles = shingles_of(texts, self.config.words, self.config.characters)
            sketches = sketches_of(shingles)
            bands.append(bands_of(shingles, rows))
            hashes.append(sketches.hashes)
            sizes.append(sketches.sizes)
        return {
            "bands": np.concatenate(bands),
            "hashes": np.concatenate(hashes),
            "sizes": np.concatenate(sizes),
            "heads": heads_of(documents),
            "ranks": np.array([rank_of(one) for one in documents], np.uint8),
        }

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `again` (N,): which of its documents are near duplicates of one that is kept."""
        wanted = "up to as many bytes as the text has, until they are compared"
        with folder_for("near_duplicates", wanted) as folder:
            spilled = _Spilled(folder)
            spilled.take(looks)
            clusters, left_out = clusters_of(spilled.bands(), spilled.sketches(), self.config.threshold)
            roots = clusters.all_roots()  # by order of being kept
            again = np.zeros(len(roots), bool)
            again[spilled.order[repeats_among(roots)]] = True
            findings = cluster_findings(roots, spilled.order, spilled.held_out, spilled.counts, looks)
            spilled.close()
        findings |= {"not_compared_in_crowds": left_out} if left_out else {}
        return Joined([{"again": part} for part in parts_of(again, spilled.counts)], findings)

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        return without_repeats(documents, known, "near_duplicate")


def without_repeats(documents: Sequence[Document], known: Arrays | None, reason: str) -> Outcome:
    """Drop what a shard was told stands for something that is kept (`again`, (N,))."""
    outcome = Outcome()
    again = np.zeros(len(documents), bool) if known is None else known["again"]
    for document, drop in zip(documents, again, strict=True):
        if drop:
            outcome.dropped.append((document, reason))
        else:
            outcome.kept.append(document)
    return outcome


def heads_of(documents: Sequence[Document]) -> NDArray[np.bytes_]:
    """(N,) the beginnings of texts, UTF-8."""
    return np.array([one.text[:HEAD_CHARACTERS].encode() for one in documents], np.bytes_)


class _Spilled:
    """What was seen of all shards, in files that are mapped into memory; of the bands, one at a time.

    Documents are numbered in the order of being kept: held-out ones first. Only those with n-grams have bands.

    Args:
        folder: takes the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bands = 0
        self.counts: list[int] = []
        self.held_out = 0
        """The first so many are held out."""
        self.order: NDArray[np.int64] = np.zeros(0, np.int64)
        """(N,) where each numbered document stands in the corpus."""
        self._begins = self._sizes = self.order

    def take(self, looks: Sequence[Arrays]) -> None:
        """Write everything to the files.

        Raises:
            OSError: when that cannot be done.
        """
        by_rank = np.zeros(len(HELD_OUT_FIRST) + 1, np.int64)
        for look in looks:
            by_rank += np.bincount(look["ranks"], minlength=len(by_rank))
            self.counts.append(len(look["ranks"]))
        self.held_out = int(by_rank[:-1].sum())
        total = int(by_rank.sum())
        self.order, self._begins, self._sizes = (
            mapped(self._file(name), np.int64, (total,)) for name in ("order", "begins", "sizes")
        )
        following, place, begin = np.cumsum(by_rank) - by_rank, 0, 0
        with ExitStack() as stack:
            hashes, records = (stack.enter_context(self._file(name).open("wb")) for name in ("hashes", "places"))
            bands: list[Any] = []
            for look in looks:
                ranks, sizes = look["ranks"], look["sizes"]
                numbers = np.empty(len(ranks), np.int64)
                for rank in np.unique(ranks):
                    mine = np.flatnonzero(ranks == rank)
                    numbers[mine] = np.arange(following[rank], following[rank] + len(mine))
                    following[rank] += len(mine)
                self.order[numbers] = np.arange(place, place + len(numbers))
                self._begins[numbers] = np.cumsum(sizes) - sizes + begin
                self._sizes[numbers] = sizes
                place, begin = place + len(numbers), begin + int(sizes.sum())
                hashes.write(look["hashes"].data)
                some = sizes > 0
                records.write(records_of(np.zeros((int(some.sum()), 0), np.uint64), ranks[some], numbers[some]).data)
                self._bands = look["bands"].shape[1]
                bands = bands or [stack.enter_context(self._file(f"band-{n}").open("wb")) for n in range(self._bands)]
                for file, band in zip(bands, look["bands"][some].T, strict=True):
                    file.write(np.ascontiguousarray(band).data)

    def bands(self) -> Iterator[Iterator[Records]]:
        """The records of each band, some at a time, those of the same hash together."""
        for number in range(self._bands):
            path = self._file("records")
            yield whole_buckets(bucketed(path, partial(self._blocks, f"band-{number}")))
            path.unlink(missing_ok=True)

    def _blocks(self, band: str) -> Iterator[Records]:
        with self._file(band).open("rb") as hashes, self._file("places").open("rb") as places:
            while len(words := np.fromfile(hashes, np.uint64, RECORDS_TOGETHER)):
                yield np.stack([words, np.fromfile(places, np.uint64, RECORDS_TOGETHER)], axis=1)

    def sketches(self) -> Sketches:
        """Those of all documents."""
        path = self._file("hashes")
        hashes = np.asarray(np.memmap(path, np.uint32, "r")) if path.stat().st_size else np.zeros(0, np.uint32)
        return Sketches(hashes, self._begins, self._sizes)

    def close(self) -> None:
        """Let go of the files."""
        self.order = self._begins = self._sizes = np.zeros(0, np.int64)

    def _file(self, name: str) -> Path:
        return self._folder / name
