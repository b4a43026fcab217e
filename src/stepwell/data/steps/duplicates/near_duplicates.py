"""Near duplicates: of texts that are almost the same, one is kept.

Texts are sets of n-grams; two are near duplicates when the Jaccard similarity of their sets is at least a threshold,
and what is alike by way of others is one cluster. Held-out texts are kept before all others, then what comes first.
This file leaves out what is the same to the letter (`exact.py`) and what only contains a piece of another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.clusters import cluster_findings, clusters_of
from stepwell.data.steps.duplicates.exact import HELD_OUT_FIRST, parts_of, rank_of
from stepwell.data.steps.duplicates.shingles import Hashes, batches, shingles_of
from stepwell.data.steps.duplicates.sketches import PERMUTATIONS, Sketches, bands_of, rows_of_a_band, sketches_of
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig
from stepwell.errors import DiskError

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
        with tempfile.TemporaryDirectory(prefix="stepwell-") as folder:
            spilled = _Spilled(Path(folder))
            spilled.take(looks)
            clusters, left_out = clusters_of(spilled.bands(), spilled.sketches(), self.config.threshold)
        roots = clusters.all_roots()  # by order of being kept
        again = np.empty(len(roots), bool)
        again[spilled.order] = roots != np.arange(len(roots))
        findings = cluster_findings(roots, spilled.order, spilled.held_out, spilled.counts, looks)
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
    """What was seen of all shards, in files: one for each band, so that one at a time is read.

    Documents are numbered in the order of being kept: held-out ones first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bands = 0
        self.counts: list[int] = []
        self.order: NDArray[np.int64] = np.zeros(0, np.int64)
        """(N,) where each numbered document stands in the corpus."""
        self.held_out = 0
        """The first so many are held out."""
        self._offsets: NDArray[np.int64] = np.zeros(1, np.int64)

    def take(self, looks: Sequence[Arrays]) -> None:
        """Write everything to the files.

        Raises:
            DiskError: when that cannot be done.
        """
        try:
            self._write(looks)
        except OSError as error:
            raise DiskError(
                f"{self._folder}: what near_duplicates compares cannot be written there",
                got=str(error),
                wanted="up to as many bytes as the text has, until they are compared",
                do="make room, or name another place for such files (TMPDIR=FOLDER)",
            ) from None

    def _write(self, looks: Sequence[Arrays]) -> None:
        ranks, sizes = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
        with ExitStack() as stack:
            hashes = stack.enter_context((self._folder / "hashes").open("wb"))
            bands: list[Any] = []
            for look in looks:
                self._bands = look["bands"].shape[1]
                bands = bands or [stack.enter_context(self._band(n).open("wb")) for n in range(self._bands)]
                for file, band in zip(bands, look["bands"].T, strict=True):
                    file.write(np.ascontiguousarray(band).data)
                hashes.write(look["hashes"].data)
                ranks.append(look["ranks"])
                sizes.append(look["sizes"])
                self.counts.append(len(look["ranks"]))
        everywhere = np.concatenate(ranks)
        self.order = np.argsort(everywhere, kind="stable")
        self.held_out = int(np.count_nonzero(everywhere < len(HELD_OUT_FIRST)))
        self._sizes = np.concatenate(sizes)

    def bands(self) -> Iterator[Hashes]:
        """(N,) of each band, read when asked for."""
        for number in range(self._bands):
            yield np.fromfile(self._band(number), np.uint64)[self.order]

    def sketches(self) -> Sketches:
        """Those of all documents; their hashes stay on disk."""
        begins = np.cumsum(self._sizes) - self._sizes
        hashes = np.memmap(self._folder / "hashes", np.uint32) if self._sizes.any() else np.zeros(0, np.uint32)
        return Sketches(hashes, begins[self.order], self._sizes[self.order])

    def _band(self, number: int) -> Path:
        return self._folder / f"band-{number}"
