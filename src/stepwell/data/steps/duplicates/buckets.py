"""Hashes of a whole corpus brought together by what they begin with, on disk, so that a few at a time are in memory.

Records go to buckets by the first bits of their hash, by a counting sort into one file; those that are the same are
then in one bucket, and the file is read from front to back. Pages of the file belong to the system, which takes them
back when memory is short. This file leaves out what records mean (`repeats.py`, `clusters.py`).
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import DiskError

BUCKET_BITS = 12
RANK_BITS = 2
_PLACE_BITS = np.uint64(64 - RANK_BITS)
_PLACES = np.uint64((1 << (64 - RANK_BITS)) - 1)

RECORDS_TOGETHER = 1 << 18
"""Records that are compared at once: about 100 bytes of memory for each. A bucket that is larger is read whole."""

Records = NDArray[np.uint64]
"""(R, W + 1) the words of a hash, which must be even over their range, and at last a rank with a place."""


def records_of(hashes: Records, ranks: NDArray[np.uint8], places: NDArray[np.int64]) -> Records:
    """Records of hashes.

    Args:
        hashes: (R, W) words of each.
        ranks: (R,) below 4; of the same hashes those of a lower rank come first.
        places: (R,) what each stands for, not negative.
    """
    made = np.empty((len(hashes), hashes.shape[1] + 1), np.uint64)
    made[:, :-1] = hashes
    made[:, -1] = (ranks.astype(np.uint64) << _PLACE_BITS) | places.astype(np.uint64)
    return made


def places_of(records: Records) -> NDArray[np.int64]:
    """(R,) what each stands for."""
    return (records[:, -1] & _PLACES).astype(np.int64)


def ranks_of(records: Records) -> NDArray[np.uint8]:
    """(R,) the rank of each."""
    return (records[:, -1] >> _PLACE_BITS).astype(np.uint8)


def bucketed(path: Path, blocks: Callable[[], Iterable[Records]]) -> Records:
    """All records, in one file, by bucket; inside one by rank; inside that in their order.

    Args:
        path: of the file.
        blocks: gives the records, some at a time, and the same ones when it is called again.

    Raises:
        OSError: when they cannot be written.
    """
    counts = np.zeros(1 << (BUCKET_BITS + RANK_BITS), np.int64)
    width = 0
    for block in blocks():
        width = block.shape[1]
        counts += np.bincount(_groups_of(block), minlength=len(counts))
    if not counts.any():
        return np.zeros((0, width), np.uint64)
    records = mapped(path, np.uint64, (int(counts.sum()), width))
    cursors = np.cumsum(counts) - counts
    for block in blocks():
        groups = _groups_of(block)
        order = np.argsort(groups, kind="stable")
        sizes = np.bincount(groups, minlength=len(counts))
        befores = np.cumsum(sizes) - sizes
        records[np.arange(len(order)) + np.repeat(cursors - befores, sizes)] = block[order]
        cursors += sizes
    return records


def mapped(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Zeros in a new file that is mapped into memory; a file that is empty cannot be.

    Raises:
        OSError: when there is no room for it; without asking first, the process would be ended when it is written to.
    """
    num_bytes = math.prod(shape) * np.dtype(kind).itemsize
    if not num_bytes:
        return np.zeros(shape, kind)
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        else:
            file.truncate(num_bytes)
    return np.asarray(np.memmap(path, kind, "r+", shape=shape))


def _groups_of(records: Records) -> NDArray[np.int64]:
    buckets = records[:, 0] >> np.uint64(64 - BUCKET_BITS)
    return (buckets << np.uint64(RANK_BITS) | records[:, -1] >> _PLACE_BITS).astype(np.int64)


def whole_buckets(records: Records) -> Iterator[Records]:
    """Records that `bucketed` gave, about `RECORDS_TOGETHER` at a time, the same hashes always together."""
    begin = 0
    while begin < len(records):
        end = min(begin + RECORDS_TOGETHER, len(records))
        if end < len(records):
            border = _bucket_begin(records, begin, end)
            end = border if border > begin else _bucket_end(records, end)
        yield np.array(records[begin:end])
        begin = end


def _bucket_begin(records: Records, low: int, place: int) -> int:
    """Where the bucket of a record begins."""
    bucket = records[place, 0] >> np.uint64(64 - BUCKET_BITS)
    return low + int(np.searchsorted(records[low:place, 0] >> np.uint64(64 - BUCKET_BITS), bucket))


def _bucket_end(records: Records, place: int) -> int:
    """Where the bucket of a record ends."""
    bucket = records[place, 0] >> np.uint64(64 - BUCKET_BITS)
    while place < len(records):
        buckets = records[place : place + RECORDS_TOGETHER, 0] >> np.uint64(64 - BUCKET_BITS)
        same = int(np.searchsorted(buckets, bucket, "right"))
        place += same
        if same < len(buckets):
            break
    return place


@contextmanager
def folder_for(step: str, wanted: str) -> Iterator[Path]:
    """A temporary folder for what a step compares.

    Args:
        step: that needs it.
        wanted: how much room that is.

    Raises:
        DiskError: when something cannot be written there.
    """
    with tempfile.TemporaryDirectory(prefix="stepwell-", ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        except OSError as error:
            raise DiskError(
                f"{folder}: what {step} compares cannot be written there",
                got=str(error),
                wanted=wanted,
                do="make room, or name another place for such files (TMPDIR=FOLDER)",
            ) from None
