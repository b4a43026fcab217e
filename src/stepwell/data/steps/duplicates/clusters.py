"""Clusters: which documents of a corpus are alike, directly or by way of others.

Documents that share a band are compared by their sketches; those alike are joined by union-find. One band is in memory
at a time, so memory grows with the number of documents and not with their length. This file leaves out which document
of a cluster is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stepwell.data.steps.duplicates.shingles import Hashes
from stepwell.data.steps.duplicates.sketches import Sketches

Numbers = NDArray[np.int64]

CROWD = 64
"""All pairs of a bucket of so many documents are compared; in a larger one so many with all that are not yet like one
of them."""


class Clusters:
    """Union-find over the documents of a corpus: the first of a cluster stands for it.

    Args:
        count: of documents.
    """

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count)

    def roots(self, documents: Numbers) -> Numbers:
        """(P,) the first document of the cluster of each."""
        roots = self._parents[documents]
        while not np.array_equal(above := self._parents[roots], roots):
            roots = above
        self._parents[documents] = roots
        return roots

    def join(self, one: Numbers, other: Numbers) -> None:
        """Make one cluster of those of each pair."""
        while len(one):
            one, other = self.roots(one), self.roots(other)
            apart = one != other
            first, later = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
            np.minimum.at(self._parents, later, first)
            one, other = first, later  # of several pairs with the same later one, the smallest won: the others again

    def all_roots(self) -> Numbers:
        """(N,) the first document of the cluster of every document."""
        return self.roots(np.arange(len(self._parents)))


def clusters_of(bands: Iterable[Hashes], sketches: Sketches, threshold: float) -> tuple[Clusters, int]:
    """The clusters of documents whose similarity is at least the threshold.

    Args:
        bands: (N,) of each band, one array after the other.
        sketches: of the N documents.
        threshold: Jaccard similarity, in (0, 1].

    Returns:
        The clusters, and how many times a document of a crowd was not compared with all others of it.
    """
    clusters = Clusters(len(sketches.sizes))
    somewhere = np.flatnonzero(sketches.sizes)
    left_out = 0
    for band in bands:
        left_out += _join_alike(band[somewhere], somewhere, sketches, threshold, clusters)
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
