"""Packed rows beside the plain way of packing, which defines what is right."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from stepwell.data import Batch, Document, Packer, TokenSplit, tokenize_documents
from stepwell.data.tokens import packing
from stepwell.data.tokens.packing import pack_best_fit
from stepwell.errors import DataError
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer


def plain_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """Best fit, the longest first, one piece at a time. Returns the filling of each row."""
    rows: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [n for n, filled in enumerate(rows) if filled + length <= capacity]
        if fitting:
            rows[max(fitting, key=lambda n: rows[n])] += length
        else:
            rows.append(length)
    return rows


def make_split(lengths: list[int], vocab_size: int = 1_000, seed: int = 0) -> TokenSplit:
    """Documents of so many tokens; every token is told apart, so every pair can be found again."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(offsets[-1]).astype(np.uint32)
    return TokenSplit(ids, offsets, np.array(lengths, dtype=np.int64))


def pairs_of(batch: Batch) -> Counter[tuple[int, int]]:
    mask = batch.loss_mask
    return Counter(zip(batch.token_ids[mask].tolist(), batch.targets[mask].tolist(), strict=True))


def all_pairs(split: TokenSplit) -> Counter[tuple[int, int]]:
    documents = [split.document(n).tolist() for n in range(split.num_documents)]
    return Counter(pair for ids in documents for pair in pairwise(ids))


@pytest.mark.parametrize("capacity", [1, 7, 64])
@pytest.mark.parametrize("seed", range(5))
def test_best_fit_is_the_plain_best_fit(capacity: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, capacity + 1, size=200)
    rows = pack_best_fit(lengths, capacity)
    filled = np.bincount(rows, weights=lengths).astype(int).tolist()
    assert sorted(filled) == sorted(plain_best_fit(lengths.tolist(), capacity))


def test_nothing_to_pack() -> None:
    assert len(pack_best_fit(np.zeros(0, dtype=np.int64), 8)) == 0


def test_examples_stay_whole_and_what_goes_with_their_tokens_goes_along() -> None:
    lengths = [2, 9, 10, 9, 3, 17, 9, 11, 5, 1]
    split = replace(make_split(lengths), whole=True)
    marks = {"double": 2 * split.token_ids.astype(np.int64), "is_odd": split.token_ids % 2 == 1}
    packer = Packer(replace(split, aligned=marks), 16, seed=3)
    for first in (0, packer.row_count(0) - 1):  # the second batch has rows of two epochs
        batch = packer.batch(first, packer.row_count(0))
        assert batch.aligned["double"].tolist() == (2 * batch.token_ids).tolist()
        assert batch.aligned["is_odd"].tolist() == (batch.token_ids % 2 == 1).tolist()
        assert batch.aligned["is_odd"].dtype == np.bool_
    rows = packer.rows(0)
    batch = rows.batch(np.arange(len(rows)))
    assert pairs_of(batch) == all_pairs(split)
    pieces = {(row, piece) for row, piece in zip(*np.nonzero(batch.loss_mask), strict=True)}
    sizes = Counter((row, batch.document_ids[row, place]) for row, place in pieces)
    assert sorted(sizes.values()) == sorted(length - 1 for length in lengths if length > 1)
    assert not Packer(make_split(lengths), 16, seed=3).batch(0, 1).aligned
    with pytest.raises(DataError, match="an example is longer than a row"):
        Packer(split, 15, seed=3).batch(0, 1)


def test_every_pair_once_and_no_row_crosses_documents() -> None:
    split = make_split([2, 40, 7, 100, 3, 16, 17, 1, 33, 300])
    packer = Packer(split, 16, seed=3)
    document_of = np.repeat(np.arange(split.num_documents), np.diff(split.offsets))
    for epoch in range(3):
        rows = packer.rows(epoch)
        batch = rows.batch(np.arange(len(rows)))
        assert pairs_of(batch) == all_pairs(split)
        assert batch.num_targets == packer.tokens(epoch) == split.num_tokens - split.num_documents
        for row in range(len(rows)):
            for piece in range(batch.document_ids[row].max() + 1):
                here = (batch.document_ids[row] == piece) & batch.loss_mask[row]
                ids = batch.token_ids[row][here]
                assert len(set(document_of[ids])) <= 1
                assert (np.diff(ids) == 1).all()
                assert (np.diff(np.flatnonzero(here)) == 1).all()


def test_the_shape_of_a_batch() -> None:
    packer = Packer(make_split([5, 4, 9]), 6, seed=0)
    batch = packer.batch(0, 4)
    assert batch.token_ids.dtype == batch.targets.dtype == np.int64
    assert batch.loss_mask.dtype == np.bool_
    assert batch.document_ids.dtype == np.int32
    assert {array.shape for array in (batch.token_ids, batch.targets, batch.loss_mask, batch.document_ids)} == {(4, 6)}
    padding = ~batch.loss_mask
    assert not batch.token_ids[padding].any()
    assert not batch.targets[padding].any()
    for row in range(4):
        pieces = batch.document_ids[row][batch.loss_mask[row]]
        assert pieces[0] == 0
        assert set(np.diff(pieces)) <= {0, 1}
        assert (batch.document_ids[row][padding[row]] == pieces[-1] + 1).all()


def test_the_same_seed_gives_the_same_rows_and_epochs_differ() -> None:
    split = make_split([50, 3, 20, 70, 8] * 10)
    one, other = Packer(split, 16, seed=1), Packer(split, 16, seed=1)
    other.batch(5 * one.row_count(0), 2)  # another way to the same place
    assert (one.batch(3, 8).token_ids == other.batch(3, 8).token_ids).all()
    assert not np.array_equal(one.batch(0, 8).token_ids, Packer(split, 16, seed=2).batch(0, 8).token_ids)
    first, second = one.rows(0).batch(np.arange(8)), one.rows(1).batch(np.arange(8))
    assert not np.array_equal(first.token_ids, second.token_ids)


def test_epochs_follow_each_other_without_end() -> None:
    split = make_split([50, 3, 20, 70, 8] * 3)
    packer = Packer(split, 16, seed=1)
    counts = [packer.row_count(epoch) for epoch in range(4)]
    plain = [packer.rows(epoch).batch(np.array([row])) for epoch, count in enumerate(counts) for row in range(count)]
    stream = Packer(split, 16, seed=1)
    for first, count in [(0, 5), (counts[0] - 2, 6), (sum(counts[:2]) - 1, 2), (1, 3), (2, counts[0] + counts[1])]:
        batch = stream.batch(first, count)
        wanted = plain[first : first + count]
        for name in ("token_ids", "targets", "loss_mask", "document_ids"):
            assert np.array_equal(getattr(batch, name), np.concatenate([getattr(row, name) for row in wanted]))


def test_padding_is_small() -> None:
    lengths = np.random.default_rng(0).integers(2, 400, size=2_000).tolist()
    packer = Packer(make_split(lengths), 128, seed=0)
    assert 0 <= packer.padding_ratio(0) < 0.01


def test_long_documents_are_cut_elsewhere_each_epoch() -> None:
    split = make_split([1_000])
    packer = Packer(split, 64, seed=0)
    heads = set()
    for epoch in range(8):
        batch = packer.rows(epoch).batch(np.arange(packer.row_count(epoch)))
        first = np.argwhere((batch.token_ids == 0) & batch.loss_mask)[0]
        heads.add(int((batch.document_ids[first[0]] == batch.document_ids[tuple(first)]).sum()))
    assert len(heads) > 3


def test_nothing_to_predict_is_an_error() -> None:
    for lengths in ([], [1, 1]):
        with pytest.raises(DataError, match="no tokens to predict"):
            Packer(make_split(lengths), 16, seed=0)


def test_going_on_at_a_late_epoch_packs_no_earlier_one(monkeypatch):
    split = make_split([5, 40, 9, 30, 17, 3])
    first = Packer(split, 16, seed=1)
    row = sum(first.row_count(epoch) for epoch in range(30)) + 2
    expected = first.batch(row, 3)
    packed = []
    make = packing.PackedEpoch
    monkeypatch.setattr(packing, "PackedEpoch", lambda *words: (packed.append(1), make(*words))[1])
    later = Packer(split, 16, seed=1)
    later.take_up(json.loads(json.dumps(first.whereabouts(row))))
    np.testing.assert_array_equal(later.batch(row, 3).token_ids, expected.token_ids)
    assert len(packed) <= 2


def test_whereabouts_depend_on_the_row_alone():
    """Not on how far ahead a packer was asked: a checkpoint says the same whoever looked ahead."""
    split = make_split([5, 40, 9, 30, 17, 3])
    ahead, fresh = Packer(split, 16, seed=1), Packer(split, 16, seed=1)
    ahead.batch(500, 3)
    ends = np.cumsum([fresh.row_count(epoch) for epoch in range(4)])
    for row in (0, 1, int(ends[0]) - 1, int(ends[0]), int(ends[2]) + 1):
        assert ahead.whereabouts(row) == Packer(split, 16, seed=1).whereabouts(row)
    assert ahead.whereabouts(int(ends[2]))["ends"] == ends[:3].tolist()


@pytest.mark.parametrize("other", [{"seed": 2}, {"max_seq_len": 8}, {"lengths": [5, 40, 9]}], ids=str)
def test_whereabouts_in_another_stream_are_passed_over(other):
    def packer(lengths: list[int] = [5, 40, 9, 30], max_seq_len: int = 16, seed: int = 1) -> Packer:  # noqa: B006
        return Packer(make_split(lengths), max_seq_len, seed)

    stranger, plain = packer(**other), packer(**other)
    stranger.take_up(packer().whereabouts(100))
    stranger.take_up({})
    np.testing.assert_array_equal(stranger.batch(90, 5).token_ids, plain.batch(90, 5).token_ids)


def test_threads_may_share_a_packer():
    split = make_split([5, 40, 9, 30, 17, 3])
    rows = [int(row) for row in np.random.default_rng(0).integers(0, 300, 200)]
    plain = Packer(split, 16, seed=1)
    expected = {row: plain.batch(row, 3).token_ids for row in rows}
    shared = Packer(split, 16, seed=1)
    with ThreadPoolExecutor(6) as pool:
        for row, batch in zip(rows, pool.map(lambda row: shared.batch(row, 3), rows), strict=True):
            np.testing.assert_array_equal(batch.token_ids, expected[row])


def plain_fill(starts: list[int], lengths: list[int], rows: list[int], capacity: int) -> list[list[tuple[int, int]]]:
    """Take the emptiest rows apart, one after the other, until all rows together are few enough."""
    kept = [[n for n in range(len(rows)) if rows[n] == row] for row in range(max(rows) + 1)]
    most = max(-(-sum(lengths) // capacity), int(sum(lengths) / (capacity * (1 - packing.MOST_PADDING))))
    loose: list[int] = []
    while len(kept) + -(-sum(lengths[n] for n in loose) // capacity) > most:
        emptiest = min(kept, key=lambda row: sum(lengths[n] for n in row))
        kept.remove(emptiest)
        loose += emptiest
    whole = [[(starts[n], lengths[n]) for n in row] for row in kept]
    filled: list[list[tuple[int, int]]] = []
    space = 0
    for n in sorted(loose):
        start, length = starts[n], lengths[n]
        while length:
            if not space:
                filled.append([])
                space = capacity
            part = min(length, space)
            filled[-1].append((start, part))
            start, length, space = start + part, length - part, space - part
    return whole + filled


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("low", "high"), [(1, 64), (30, 40), (33, 64), (17, 22), (64, 64)])
def test_rows_are_filled_as_the_plain_way_does(seed: int, low: int, high: int) -> None:
    lengths = np.random.default_rng(seed).integers(low, high + 1, size=150)
    starts = np.cumsum(lengths) - lengths
    rows = pack_best_fit(lengths, 64)
    num_rows = int(rows.max()) + 1
    got = packing._fill_rows(starts, lengths, rows, num_rows, 64)
    pieces: list[list[tuple[int, int]]] = [[] for _ in range(got[3])]
    for start, length, row in zip(*(one.tolist() for one in got[:3]), strict=True):
        pieces[row].append((start, length))
    wanted = plain_fill(starts.tolist(), lengths.tolist(), rows.tolist(), 64)
    assert sorted(map(sorted, pieces)) == sorted(map(sorted, wanted))
    assert got[3] <= num_rows
    assert max(sum(length for _, length in row) for row in pieces) <= 64
    assert got[3] * 64 * (1 - packing.MOST_PADDING) <= lengths.sum() or got[3] == -(-int(lengths.sum()) // 64)


def test_documents_a_little_longer_than_half_a_row_leave_nothing_empty() -> None:
    """No two of them go into one row, so each epoch cuts some; every pair is there all the same."""
    lengths = np.random.default_rng(0).integers(36, 44, size=400).tolist()
    split = make_split(lengths)
    packer = Packer(split, 64, seed=0)
    for epoch in range(3):
        rows = packer.rows(epoch)
        assert rows.padding_ratio < 0.01
        assert pairs_of(rows.batch(np.arange(len(rows)))) == all_pairs(split)
    assert packer.rows(0).num_targets == packer.rows(1).num_targets == packer.tokens(2)
    first, second = (packer.rows(epoch).batch(np.arange(8)).token_ids for epoch in (0, 1))
    assert not np.array_equal(first, second)


def test_nothing_is_cut_that_need_not_be() -> None:
    """Where best fit leaves little empty, rows are those of best fit."""
    lengths = np.random.default_rng(1).integers(1, 65, size=4_000)
    rows = pack_best_fit(lengths, 64)
    starts, num_rows = np.cumsum(lengths) - lengths, int(rows.max()) + 1
    assert 1 - lengths.sum() / (64 * num_rows) < packing.MOST_PADDING
    assert packing._fill_rows(starts, lengths, rows, num_rows, 64)[0] is starts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classification/news.zh", "translation/captions.en-fr.dev", "qa/reading.zh"])
def test_padding_is_small_on_real_text(real_data, name: str) -> None:
    lines = gzip.decompress(real_data(f"{name}.jsonl.gz").read_bytes()).decode().splitlines()
    texts = [json.loads(line) for line in lines]
    documents = [Document(str(one.get("text") or one.get("source") or one.get("context")), "") for one in texts]
    tokenizer = train_tokenizer([one.text for one in documents[::9]], ByteBPEConfig(vocab_size=1024))
    split = tokenize_documents(documents, tokenizer)
    for max_seq_len in (64, 128, 256, 512, 1024):
        packed = Packer(split, max_seq_len, seed=0).rows(0)
        spare = 1 - packed.num_targets / (max_seq_len * -(-packed.num_targets // max_seq_len))  # of the last row
        assert packed.padding_ratio < max(0.01, spare + 1e-9)
