"""Clusters: which documents of a corpus are alike, directly or by way of others.

Documents that share a band are compared by their sketches; those alike are joined by union-find. Some buckets of one
band are in memory at a time, so all that grows with the corpus is one number for each document. This file leaves out
which document of a cluster is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data.steps.duplicates.buckets import RECORDS_TOGETHER, Records, places_of
from stepwell.data.steps.duplicates.shingles import Hashes
from stepwell.data.steps.duplicates.sketches import Sketches
from stepwell.data.steps.step import Arrays

Numbers = NDArray[np.int64]

SHOWN_CLUSTERS = 10
SHOWN_TEXTS = 3

CROWD = 64
"""All pairs of a bucket of so many documents are compared; in a larger one so many with all that are not yet like one
of them."""


class Clusters:
    """Union-find over the documents of a corpus: the first of a cluster stands for it.

    Args:
        count: of documents.
    """

    def __init__(self, count: int) -> None:
        self._parents: NDArray[Any] = np.arange(count, dtype=np.int32 if count < 1 << 31 else np.int64)

    def roots(self, documents: NDArray[Any]) -> NDArray[Any]:
        """(P,) the first document of the cluster of each."""
        roots: NDArray[Any] = self._parents[documents]
        while not np.array_equal(above := self._parents[roots], roots):
            roots = above
        self._parents[documents] = roots
        return roots

    def join(self, one: NDArray[Any], other: NDArray[Any]) -> None:
        """Make one cluster of those of each pair."""
        while len(one):
            one, other = self.roots(one), self.roots(other)
            apart = one != other
            first, later = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
            np.minimum.at(self._parents, later, first)
            one, other = first, later  # of several pairs with the same later one, the smallest won: the others again

    def all_roots(self) -> NDArray[Any]:
        """(N,) the first document of the cluster of every document."""
        for begin in range(0, len(self._parents), RECORDS_TOGETHER):
            self.roots(np.arange(begin, min(begin + RECORDS_TOGETHER, len(self._parents))))
        return self._parents


def clusters_of(bands: Iterable[Iterable[Records]], sketches: Sketches, threshold: float) -> tuple[Clusters, int]:
    """The clusters of documents whose similarity is at least the threshold.

    Args:
        bands: the records of each band, one after the other, in lots of which each holds all of a hash; documents
            without n-grams have none.
        sketches: of the N documents.
        threshold: Jaccard similarity, in (0, 1].

    Returns:
        The clusters, and how many times a document of a crowd was not compared with all others of it.
    """
    clusters = Clusters(len(sketches.sizes))
    left_out = 0
    for band in bands:
        for records in band:
            left_out += _join_alike(records[:, 0], places_of(records), sketches, threshold, clusters)
    return clusters, left_out


def _join_alike(band: Hashes, documents: Numbers, sketches: Sketches, threshold: float, clusters: Clusters) -> int:
    order = np.argsort(band, kind="stable")
    members, values = documents[order], band[order]
    shared = np.zeros(len(values) + 1, bool)  # with the one before
    shared[1:-1] = values[1:] == values[:-1]
    held = shared[:-1] | shared[1:]
    members, begins = members[held], ~shared[:-1][held]
    for _ in range(CROWD):
        if not len(members):
            return 0
        starts = np.flatnonzero(begins)
        sizes = np.diff(starts, append=len(members))
        roots = clusters.roots(members)
        apart = roots != np.repeat(roots[starts], sizes)
        leaders = np.repeat(members[starts], sizes)
        one, other = leaders[apart], members[apart]
        alike = sketches.jaccard(one, other) >= threshold
        clusters.join(one[alike], other[alike])
        # Go on with the buckets in which there is still more than one cluster, without the document just compared.
        going_on = np.repeat(np.logical_or.reduceat(apart, starts), sizes) & ~begins
        if len(sizes) and sizes.max() > CROWD:
            roots = clusters.roots(members)
            like_leader = roots == np.repeat(roots[starts], sizes)
            going_on &= ~(like_leader & np.repeat(sizes > CROWD, sizes))
        buckets = np.repeat(np.arange(len(starts)), sizes)[going_on]
        members = members[going_on]
        begins = np.diff(buckets, prepend=-1) != 0
    return len(members)


def repeats_among(roots: NDArray[Any]) -> Numbers:
    """Which documents are not the first of their cluster."""
    return np.flatnonzero(roots != np.arange(len(roots), dtype=roots.dtype))


def cluster_findings(
    roots: NDArray[Any], order: Numbers, held_out: int, counts: Sequence[int], looks: Sequence[Arrays]
) -> dict[str, Any]:
    """What the report shows: how many clusters of which size, and the largest with the beginnings of some texts.

    Args:
        roots: (N,) the number of the text that is kept for each.
        order: (N,) where each numbered text stands in the corpus.
        held_out: the first so many are held out.
        counts: of texts in each shard.
        looks: of each shard, with `heads`.
    """
    firsts, members = np.unique(roots[repeats_among(roots)], return_counts=True)
    members += 1  # the first itself
    sizes = Counter(map(int, members))
    largest = np.argsort(-members, kind="stable")[:SHOWN_CLUSTERS]
    shards = np.cumsum([0, *counts])
    shown = []
    for first, count in zip(firsts[largest], members[largest], strict=True):
        texts = []
        for place in order[np.flatnonzero(roots == first)[:SHOWN_TEXTS]]:
            shard = int(np.searchsorted(shards, place, "right")) - 1
            head = looks[shard]["heads"][place - shards[shard]]
            texts.append(bytes(head).decode("utf-8", "ignore"))
        shown.append({"documents": int(count), "texts": texts})
    return {
        "clusters": len(firsts),
        "clusters_by_size": {str(size): sizes[size] for size in sorted(sizes)},
        "near_held_out": int(np.count_nonzero(roots[held_out:] < held_out)),
        "largest_clusters": shown,
    }
