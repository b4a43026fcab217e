"""Joins of the whole corpus beside a plain walk that remembers everything, and how much they hold while they do it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.steps.cutting import SamePieces, SamePiecesConfig
from stepwell.data.steps.duplicates import buckets, clusters, near_duplicates
from stepwell.data.steps.duplicates.buckets import bucketed, records_of, whole_buckets
from stepwell.data.steps.duplicates.exact import Duplicates, DuplicatesConfig
from stepwell.data.steps.duplicates.near_duplicates import NearDuplicates, NearDuplicatesConfig
from stepwell.data.steps.duplicates.repeats import repeats
from stepwell.data.steps.duplicates.sketches import PERMUTATIONS, rows_of_a_band
from stepwell.data.steps.step import Arrays, Surroundings
from stepwell.errors import DiskError

Hash = tuple[int, int]
HASHES = st.tuples(st.sampled_from([0, 1, 2, 1 << 52, (1 << 52) + 1, 1 << 63, (1 << 64) - 1]), st.integers(0, 2))
SHARDS = st.lists(st.lists(st.tuples(HASHES, st.integers(0, 3)), max_size=12), max_size=5)


def plainly(shards: Sequence[Sequence[tuple[Hash, int]]], within_a_rank: bool) -> list[list[bool]]:
    """A walk through all hashes, those of a lower rank first, that remembers each with its rank."""
    again = [[False] * len(shard) for shard in shards]
    seen: dict[Hash, int] = {}
    for rank in range(4):
        for number, shard in enumerate(shards):
            for row, (one, own) in enumerate(shard):
                if own == rank:
                    again[number][row] = one in seen and (within_a_rank or seen[one] < rank)
                    seen.setdefault(one, rank)
    return again


def as_arrays(shard: Sequence[tuple[Hash, int]]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([one for one, _ in shard], np.uint64).reshape(-1, 2),
        np.array([rank for _, rank in shard], np.uint8),
    )


@given(SHARDS, st.booleans(), st.sampled_from([1, 2, 5, 1000]))
def test_repeats_are_those_of_a_plain_walk(tmp_path_factory, shards: list, within_a_rank: bool, together: int) -> None:
    folder = tmp_path_factory.mktemp("repeats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "RECORDS_TOGETHER", together)
        found = [one.tolist() for one in repeats(folder, lambda: map(as_arrays, shards), within_a_rank=within_a_rank)]
    assert found == plainly(shards, within_a_rank)


@given(SHARDS, st.sampled_from([1, 2, 5, 1000]))
def test_the_same_hashes_are_always_together(tmp_path_factory, shards: list, together: int) -> None:
    path = tmp_path_factory.mktemp("buckets") / "records"
    flat = [as_arrays(shard) for shard in shards]
    blocks = [records_of(hashes, ranks, np.arange(len(ranks))) for hashes, ranks in flat]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "RECORDS_TOGETHER", together)
        lots = [lot.tolist() for lot in whole_buckets(bucketed(path, lambda: blocks))]
    assert sorted(row for lot in lots for row in lot) == sorted(row for block in blocks for row in block.tolist())
    firsts = [{row[0] for row in lot} for lot in lots]
    assert len(set().union(*firsts)) == sum(map(len, firsts))
    assert all(lots)


@given(st.lists(st.lists(st.tuples(HASHES, st.booleans()), max_size=10), max_size=4), st.booleans())
def test_same_pieces_are_those_of_a_walk_with_sets(shards: list, everywhere: bool) -> None:
    shards = [[(one, True) for one, own in shard if own] for shard in shards] + [
        [(one, False) for one, own in shard if not own] for shard in shards
    ]  # held-out sources are read first
    looks = [{"digests": as_arrays(shard)[0], "own": np.array([own for _, own in shard], bool)} for shard in shards]
    seen: set[Hash] = set()
    held_out: set[Hash] = set()
    expected = []
    for shard in shards:
        expected.append([])
        for one, own in shard:
            expected[-1].append(one in seen or (not own and one in held_out))
            if everywhere:
                seen.add(one)
            if own:
                held_out.add(one)
    step = SamePieces(SamePiecesConfig(everywhere=everywhere, own_splits=("test",)), Surroundings())
    assert [told["again"].tolist() for told in step.join(looks).known] == expected


TOGETHER = 1 << 14
SHARD = 20_000
"""Documents of each; as a real one, it is in memory while it is looked at."""


class Looks(Sequence[Arrays]):
    """Shards that are made when they are asked for, as real ones are read from disk."""

    def __init__(self, shards: int, make: Callable[[np.random.Generator], dict[str, Any]]) -> None:
        self._shards, self._make = shards, make

    def __len__(self) -> int:
        return self._shards

    def __getitem__(self, index: Any) -> Any:
        if index >= self._shards:
            raise IndexError(index)
        return self._make(np.random.default_rng(index))


def one_in(some: int, rng: np.random.Generator, count: int, words: int = 1) -> np.ndarray:
    """Hashes of which each `some`-th is one of a hundred that come in every shard."""
    hashes = rng.integers(0, 1 << 64, (count, words), np.uint64)
    known = np.random.default_rng(99).integers(0, 1 << 64, (100, words), np.uint64)
    hashes[::some] = known[rng.integers(0, 100, len(hashes[::some]))]
    return hashes


def pieces(rng: np.random.Generator) -> dict[str, Any]:
    return {"digests": one_in(10, rng, SHARD, 2), "own": np.zeros(SHARD, bool)}


def documents_and_lines(rng: np.random.Generator) -> dict[str, Any]:
    each = 4
    return {
        "ranks": np.full(SHARD // each, 2, np.uint8),
        "lines": one_in(10, rng, SHARD).ravel(),
        "lines_counts": np.full(SHARD // each, each),
    }


def sketched(rng: np.random.Generator) -> dict[str, Any]:
    bands = PERMUTATIONS // rows_of_a_band(0.8)
    count = SHARD // 4
    some = one_in(20, rng, count)
    return {
        "bands": some ^ np.arange(bands, dtype=np.uint64),
        "hashes": np.repeat((some.ravel() >> np.uint64(34)).astype(np.uint32), 2) + np.tile([0, 1], count).astype("u4"),
        "sizes": np.full(count, 2),
        "heads": np.full(count, b"head"),
        "ranks": np.full(count, 2, np.uint8),
    }


def peak_of(join: Callable[[], Iterable[Arrays]]) -> tuple[int, int]:
    """The most bytes that Python and NumPy held on the way, and how many repeats were told."""
    tracemalloc.start()
    try:
        told = sum(int(next(iter(one.values())).sum()) for one in join())
        return tracemalloc.get_traced_memory()[1], told
    finally:
        tracemalloc.stop()


JOINS = {
    "same_pieces": (SamePieces(SamePiecesConfig(), Surroundings()), pieces, SHARD, 0),
    "duplicates": (
        Duplicates(DuplicatesConfig(documents=False, lines=True), Surroundings()),
        documents_and_lines,
        SHARD,
        0,
    ),
    "near_duplicates": (NearDuplicates(NearDuplicatesConfig(), Surroundings()), sketched, SHARD // 4, 20),
}
"""The step, what is seen of a shard, of how many pieces, and bytes that may be held for each piece of the corpus."""


@pytest.mark.slow
@pytest.mark.parametrize("name", JOINS)
def test_a_join_holds_some_records_and_not_the_corpus(monkeypatch, name: str) -> None:
    for module in (buckets, clusters, near_duplicates):
        monkeypatch.setattr(module, "RECORDS_TOGETHER", TOGETHER)
    step, make, size, bytes_each = JOINS[name]
    peaks = {shards: peak_of(lambda shards=shards: step.join(Looks(shards, make)).known) for shards in (10, 20)}
    for shards, (peak, told) in peaks.items():
        assert told > 0.03 * shards * size  # it does find what comes again
        a_shard = sum(array.nbytes for array in make(np.random.default_rng(0)).values())
        assert peak <= 200 * TOGETHER + 5 * a_shard + bytes_each * shards * size
    assert peaks[20][0] - peaks[10][0] <= (bytes_each + 1) * 10 * size


@pytest.mark.slow
def test_near_duplicates_are_the_same_however_many_are_compared_at_once(monkeypatch) -> None:
    looks = Looks(3, sketched)
    step = NearDuplicates(NearDuplicatesConfig(), Surroundings())
    sizes = [len(look["ranks"]) for look in looks]
    alike = np.concatenate([look["bands"][:, 0] for look in looks])
    _, firsts = np.unique(alike, return_index=True)
    expected = np.ones(len(alike), bool)
    expected[firsts] = False
    whole = step.join(looks)
    for module in (buckets, clusters, near_duplicates):
        monkeypatch.setattr(module, "RECORDS_TOGETHER", 100)
    parts = step.join(looks)
    told = [[one["again"] for one in joined.known] for joined in (whole, parts)]
    assert [len(one) for one in told[0]] == sizes
    np.testing.assert_array_equal(np.concatenate(told[0]), expected)
    np.testing.assert_array_equal(np.concatenate(told[1]), expected)
    assert parts.findings == whole.findings
    assert whole.findings["clusters"] == 100


@pytest.mark.parametrize("name", JOINS)
def test_no_room_for_what_is_compared(monkeypatch, name: str) -> None:
    def full(*told: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    step, make, *_ = JOINS[name]
    with pytest.raises(DiskError, match=f"what {name} compares") as caught:
        list(step.join(Looks(1, make)).known)
    assert "No space left on device" in str(caught.value)
    assert "TMPDIR" in str(caught.value)
