"""Sketches: what is kept of a text's shingles to find its near duplicates, and to be sure of them.

Bands of a MinHash signature say which texts may be alike (Broder 1997; Leskovec et al., Mining of Massive Datasets,
chapter 3). The smallest hashes of a text, up to 4096, then give the Jaccard similarity: exactly for a text that has no
more, with a standard error of 0.006 at 0.8 for a longer one (Beyer et al. 2007). This file leaves out clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stepwell.data.steps.duplicates.shingles import Hashes, Shingles, mix

PERMUTATIONS = 128
"""Values of a signature."""

SKETCH_HASHES = 4096
"""Hashes that are kept of a text, at most."""

RECALL = 0.99
"""Chance that two texts whose similarity is just the threshold share a band."""

PAIRS_TOGETHER_HASHES = 1 << 18
"""Hashes that are compared at once, about; 80 bytes of memory for each."""


def rows_of_a_band(threshold: float) -> int:
    """How many values of a signature are one band: as many as find a pair at the threshold with a chance of 0.99.

    Args:
        threshold: Jaccard similarity, in (0, 1].
    """
    fitting = [
        rows for rows in range(1, PERMUTATIONS + 1) if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= RECALL
    ]
    return max(fitting, default=1)


def bands_of(shingles: Shingles, rows: int) -> Hashes:
    """(N, bands) one hash for each band of each text's MinHash signature.

    Args:
        shingles: of the texts.
        rows: values of a band.
    """
    from rensa import RMinHash

    offsets = shingles.offsets.astype(np.uint64)
    digests = RMinHash.digest_matrix_from_flat_token_hashes(shingles.hashes, offsets, PERMUTATIONS, 0).to_rows()
    bands = PERMUTATIONS // rows
    signatures = np.array(digests, np.uint64).reshape(len(shingles), PERMUTATIONS)[:, : bands * rows]
    hashed = np.zeros((len(shingles), bands), np.uint64)
    for values in np.moveaxis(signatures.reshape(-1, bands, rows), 2, 0):
        hashed = mix(hashed ^ values)
    return hashed


@dataclass(frozen=True)
class Sketches:
    """The smallest hashes of each text.

    Attributes:
        hashes: (H,) uint32, those of a text together, rising, none twice.
        begins: (N,) where each text begins.
        sizes: (N,) how many hashes it has.
    """

    hashes: NDArray[np.uint32]
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def jaccard(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """(P,) similarity of pairs of texts: exact where both are kept whole, an estimate otherwise.

        Args:
            one: (P,) the first of each pair.
            other: (P,) the second.
        """
        found = np.zeros(len(one))
        done = np.cumsum(self.sizes[one] + self.sizes[other]) // PAIRS_TOGETHER_HASHES
        for part in np.split(np.arange(len(one)), np.flatnonzero(np.diff(done)) + 1):
            found[part] = self._jaccard(one[part], other[part])
        return found

    def _jaccard(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        limit = np.minimum(self._known_up_to(one), self._known_up_to(other))
        # A pair's number before each hash, so that one sort brings the hashes that both have side by side.
        # Each half rises already, and a stable sort merges what does.
        both = np.sort(np.concatenate([self._numbered(one, limit), self._numbered(other, limit)]), kind="stable")
        shared = both[:-1][both[1:] == both[:-1]]
        shared_counts = np.bincount((shared >> np.uint64(32)).astype(np.int64), minlength=len(one))
        counts = np.bincount((both >> np.uint64(32)).astype(np.int64), minlength=len(one))
        similarity: NDArray[np.float64] = shared_counts / np.maximum(counts - shared_counts, 1)
        return similarity

    def _known_up_to(self, texts: NDArray[np.int64]) -> NDArray[np.uint32]:
        """(P,) the largest hash up to which all of a text's hashes are kept."""
        full = self.sizes[texts] == SKETCH_HASHES
        limit = np.full(len(texts), 0xFFFFFFFF, np.uint32)
        limit[full] = self.hashes[self.begins[texts[full]] + SKETCH_HASHES - 1]
        return limit

    def _numbered(self, texts: NDArray[np.int64], limit: NDArray[np.uint32]) -> Hashes:
        sizes = self.sizes[texts]
        pairs = np.repeat(np.arange(len(texts)), sizes)
        places = np.arange(len(pairs)) + np.repeat(self.begins[texts] - np.cumsum(sizes) + sizes, sizes)
        hashes = self.hashes[places]
        inside = hashes <= limit[pairs]
        return (pairs[inside].astype(np.uint64) << np.uint64(32)) | hashes[inside]


def sketches_of(shingles: Shingles) -> Sketches:
    """The sketches of texts."""
    rising = (shingles.hashes >> np.uint64(32)).astype(np.uint32)
    borders = shingles.offsets.tolist()
    for begin, end in pairwise(borders):
        rising[begin:end].sort()  # many short sorts are several times faster than one of all, numbered by text
    once = np.ones(len(rising), bool)
    once[1:] = rising[1:] != rising[:-1]
    once[shingles.offsets[:-1][np.diff(shingles.offsets) > 0]] = True
    ends = np.append(0, np.cumsum(once))[shingles.offsets]
    sizes = np.diff(ends)
    kept = np.arange(ends[-1]) - np.repeat(ends[:-1], sizes) < SKETCH_HASHES
    sizes = np.minimum(sizes, SKETCH_HASHES)
    return Sketches(rising[once][kept], np.cumsum(sizes) - sizes, sizes)
