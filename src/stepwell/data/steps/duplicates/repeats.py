"""Which of a corpus's hashes were there before, in memory that does not grow with the corpus.

Hashes are brought together by their first bits (`buckets.py`) and compared some at a time; the answer, a byte for each,
lies in a file as well. Only what must be remembered of a bucket that goes on is carried from one lot to the next. This
file leaves out what is hashed, and what becomes of a repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stepwell.data.steps.duplicates import buckets
from stepwell.data.steps.duplicates.buckets import (
    BUCKET_BITS,
    Records,
    bucketed,
    mapped,
    places_of,
    ranks_of,
    records_of,
)

Ranked = tuple[NDArray[np.uint64], NDArray[np.uint8]]
"""(n, W) hashes of one shard and (n,) the rank of each, below 4."""


def repeats(
    folder: Path, shards: Callable[[], Iterable[Ranked]], *, within_a_rank: bool = True
) -> Iterator[NDArray[np.bool_]]:
    """For each shard which hashes were there before: in a lower rank, or further to the front of the corpus.

    Memory is about 100 bytes for each of `RECORDS_TOGETHER` hashes; beyond 4096 times as many hashes, for each
    different one of a bucket. The folder takes 9 + 8 W bytes for each hash.

    Args:
        folder: takes the files.
        shards: gives those of all shards in order, and the same when it is called again; hashes are even over their
            range.
        within_a_rank: whether the first of the same rank counts; otherwise only one of a lower rank does.

    Raises:
        OSError: when the files cannot be written.
    """
    sizes = [len(ranks) for _, ranks in shards()]
    total = sum(sizes)
    if not total:
        yield from (np.zeros(0, bool) for _ in sizes)
        return
    records = bucketed(folder / "records", lambda: _numbered(shards()))
    again = mapped(folder / "again", np.bool_, (total,))
    carried = records[:0]
    for begin in range(0, total, buckets.RECORDS_TOGETHER):
        block = records[begin : begin + buckets.RECORDS_TOGETHER]
        found, carried = _repeated(np.concatenate([carried, block]), within_a_rank)
        again[found] = True
    for begin, size in zip(np.cumsum([0, *sizes]).tolist(), sizes, strict=False):
        yield again[begin : begin + size].copy()


def _numbered(shards: Iterable[Ranked]) -> Iterator[Records]:
    place = 0
    for hashes, ranks in shards:
        yield records_of(hashes, ranks, np.arange(place, place + len(hashes)))
        place += len(hashes)


def _repeated(records: Records, within_a_rank: bool) -> tuple[NDArray[np.int64], Records]:
    """Places of the repeats among records in their order, and the first records of the last bucket's hashes."""
    order = np.lexsort(records[:, -2::-1].T)  # stable: of the same hashes the first stays before the others
    ordered = records[order]
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = (ordered[1:, :-1] != ordered[:-1, :-1]).any(1)
    is_repeat = ~is_first
    if not within_a_rank:
        ranks = ranks_of(ordered)
        is_repeat &= ranks > ranks[is_first][np.cumsum(is_first) - 1]
    last = ordered[-1, 0] >> np.uint64(64 - BUCKET_BITS)
    goes_on = is_first & (ordered[:, 0] >> np.uint64(64 - BUCKET_BITS) == last)
    return places_of(ordered[is_repeat]), ordered[goes_on]
