"""How difficult documents are, and that training takes the easy ones first."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from itertools import pairwise
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_shards import in_shards

from stepwell.data import Packer, TokenSplit
from stepwell.data.config import DataConfig
from stepwell.data.documents import Document
from stepwell.data.prepare import prepare_text
from stepwell.data.steps.balance.order import Order, OrderConfig, compression_ratio
from stepwell.data.steps.step import Surroundings
from stepwell.data.tokens.shards import DocumentOrder, TokenShards, tokenize_text
from stepwell.errors import DataError
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer


def documents_of(*texts: str, split: str = "train") -> list[Document]:
    return [Document(text, "made", split=split) for text in texts]


def difficulties(documents, shards=1, **settings) -> list[float | None]:
    kept, _, _ = in_shards(Order(OrderConfig(**settings), Surroundings()), documents, shards)
    return [one.columns.get("difficulty") for one in kept]


def test_by_length_in_bytes():
    assert difficulties(documents_of("abc", "好", "a longer one"), by="length") == [3, 3, 12]


def test_by_compression():
    text = "the same words again " * 40
    repeated, plain = difficulties(documents_of(text, "colourless green ideas sleep furiously"), by="compression")
    assert repeated < 0.1 < 0.8 < plain
    deflate = zlib.compressobj(6, wbits=-15)
    assert compression_ratio(text) == round(len(deflate.compress(text.encode()) + deflate.flush()) / len(text), 6)
    assert compression_ratio("") == 2.0


@pytest.mark.parametrize("shards", [1, 3])
def test_by_rare_words_beside_a_plain_count(shards):
    texts = ["the cat sat", "The cat, the dog!", "zymurgy", "猫和狗", "猫猫猫", "..."]
    units = [["the", "cat", "sat"], ["the", "cat", "the", "dog"], ["zymurgy"], [*"猫和狗"], [*"猫猫猫"], []]
    counts = Counter(unit for several in units for unit in several)
    total = sum(counts.values())
    plain = [sum(log2(total / counts[one]) for one in several) / max(1, len(several)) for several in units]
    held_out = documents_of("zymurgy zymurgy", split="test")
    found = difficulties([*documents_of(*texts), *held_out], shards, by="rare_words")
    assert found[:-1] == pytest.approx(plain, abs=1e-5)
    assert found[-1] is None


def test_by_a_column():
    documents = [
        one.with_columns({"grade": grade}) for one, grade in zip(documents_of("a", "b"), (3, -1.5), strict=True)
    ]
    assert difficulties(documents, by="column", column="grade") == [3.0, -1.5]


@pytest.mark.parametrize("value", ["3", None, True, float("nan")])
def test_a_column_that_is_no_number(value):
    with pytest.raises(DataError, match="grade is no number"):
        difficulties([documents_of("a")[0].with_columns({"grade": value})], by="column", column="grade")
    with pytest.raises(DataError, match="columns: none"):
        difficulties(documents_of("a"), by="column", column="grade")


def test_a_column_of_the_same_name_is_not_overwritten():
    documents = [documents_of("abc")[0].with_columns({"difficulty": 9})]
    with pytest.raises(DataError, match="of their own"):
        difficulties(documents, by="length")
    assert difficulties(documents, by="column", column="difficulty") == [9]


def test_a_column_needs_its_name_and_only_a_column():
    for settings in ({"by": "column"}, {"by": "length", "column": "x"}):
        with pytest.raises(ValueError, match="column"):
            OrderConfig(**settings)


def split_in_order(epochs: int | None = 1, count: int = 400, seed: int = 0) -> TokenSplit:
    """Documents of 2 to 100 tokens in a random order; every token says which place its document has."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 100, count)
    places = random.permutation(count)
    ids = np.repeat(places, lengths).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenSplit(ids, offsets, lengths, DocumentOrder(places.astype(float), epochs))


def means_of_rows(packer: Packer, epoch: int) -> list[float]:
    batch = packer.rows(epoch).batch(np.arange(packer.row_count(epoch)))
    return [float(ids[mask].mean()) for ids, mask in zip(batch.token_ids, batch.loss_mask, strict=True)]


def in_order(means: list[float]) -> bool:
    """Whether no row is easier than an earlier one by more than the spread within a row."""
    return max(one - other for one, other in pairwise(means)) < 20


def test_rows_go_from_easy_to_difficult_in_the_first_epoch():
    packer = Packer(split_in_order(), 32, seed=0)
    means = means_of_rows(packer, 0)
    assert in_order(means)
    assert means[0] < 20 < 380 < means[-1]
    assert not in_order(means_of_rows(packer, 1))


def test_rows_hold_documents_of_like_difficulty():
    packer = Packer(split_in_order(count=3_000), 64, seed=0)
    batch = packer.rows(0).batch(np.arange(packer.row_count(0)))
    spreads = [float(np.ptp(ids[mask])) for ids, mask in zip(batch.token_ids, batch.loss_mask, strict=True)]
    assert max(spreads) < 3_000 / 8 * 1.2
    assert packer.padding_ratio(0) < 0.01


def test_an_epoch_in_order_holds_every_pair_once():
    split = split_in_order()
    plain = Packer(split.shuffled, 32, seed=0)
    packer = Packer(split, 32, seed=0)
    for epoch in range(2):
        batch = packer.rows(epoch).batch(np.arange(packer.row_count(epoch)))
        assert (
            np.bincount(batch.token_ids[batch.loss_mask]).tolist()
            == (np.diff(split.offsets) - 1)[np.argsort(split.order.places)].tolist()
        )
    np.testing.assert_array_equal(
        packer.rows(1).batch(np.arange(9)).token_ids, plain.rows(1).batch(np.arange(9)).token_ids
    )


def test_all_epochs_or_the_first_few():
    every, two = Packer(split_in_order(None), 32, seed=0), Packer(split_in_order(2), 32, seed=0)
    for epoch, packer, ordered in [(5, every, True), (1, two, True), (2, two, False)]:
        assert in_order(means_of_rows(packer, epoch)) is ordered
    first, second = (every.rows(epoch).batch(np.arange(30)).token_ids for epoch in (0, 1))
    assert not np.array_equal(first, second)  # long documents are cut elsewhere


def test_rows_of_another_order_are_another_stream():
    one, same, other = (Packer(split_in_order(seed=seed), 32, seed=0) for seed in (0, 0, 1))
    assert one.whereabouts(9) == same.whereabouts(9)
    plain = Packer(split_in_order().shuffled, 32, seed=0)
    assert one.whereabouts(9)["stream"] != plain.whereabouts(9)["stream"]
    assert len(plain.whereabouts(9)["stream"]) == 4
    assert one.whereabouts(9)["stream"] != other.whereabouts(9)["stream"]


@pytest.mark.parametrize("descending", [False, True])
def test_from_a_recipe_to_rows(tmp_path, small_text, descending):
    (tmp_path / "a.txt").write_text(small_text("mixed", 120_000), encoding="utf-8")
    step = {"kind": "order", "by": "rare_words", "descending": descending, "epochs": 3}
    prepared = prepare_text(DataConfig(sources=(str(tmp_path / "a.txt"),), steps=[step]), tmp_path)
    tokenizer = train_tokenizer(prepared.texts("train"), ByteBPEConfig(vocab_size=300))
    shards = tokenize_text(prepared, tokenizer, tmp_path)
    order = TokenShards.open(shards.path).split("train").order
    numbers = np.array([columns["difficulty"] for columns in prepared.columns("train")])
    np.testing.assert_array_equal(order.places, -numbers if descending else numbers)
    assert order.epochs == 3
    assert shards.split("validation").order is None
    assert all("difficulty" not in columns for columns in prepared.columns("test"))


def test_documents_without_a_place_are_an_error(tmp_path, small_text, monkeypatch):
    (tmp_path / "a.txt").write_text(small_text("en", 60_000))
    prepared = prepare_text(DataConfig(sources=(str(tmp_path / "a.txt"),), steps=[{"kind": "order"}]), tmp_path)
    tokenizer = train_tokenizer(prepared.texts("train"), ByteBPEConfig(vocab_size=300))
    monkeypatch.setattr(type(prepared), "each_columns", lambda self, split: iter([{"difficulty": 1.0}, {}]))
    with pytest.raises(DataError, match=r"(?s)have no place.*1 of 2.*after those that add"):
        tokenize_text(prepared, tokenizer, tmp_path)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=80),
    st.integers(1, 24),
    st.integers(0, 99),
)
def test_any_order_packs_every_pair_once(documents, max_seq_len, seed):
    lengths = np.array([length for length, _ in documents])
    if lengths.max() < 2:
        return
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.array([place for _, place in documents], float)
    split = TokenSplit(np.arange(offsets[-1]).astype(np.uint32), offsets, lengths, DocumentOrder(places, None))
    packer = Packer(split, max_seq_len, seed)
    batch = packer.rows(0).batch(np.arange(packer.row_count(0)))
    firsts = np.delete(np.arange(offsets[-1]), offsets[1:] - 1)
    assert sorted(batch.token_ids[batch.loss_mask].tolist()) == firsts.tolist()
    assert (batch.targets - batch.token_ids)[batch.loss_mask].tolist() == [1] * len(firsts)


def test_going_on_in_a_later_epoch_gives_the_same_rows():
    first = Packer(split_in_order(3), 32, seed=0)
    row = first.row_count(0) + first.row_count(1) - 2
    expected = first.batch(row, 5)
    later = Packer(split_in_order(3), 32, seed=0)
    later.take_up(json.loads(json.dumps(first.whereabouts(row))))
    np.testing.assert_array_equal(later.batch(row, 5).token_ids, expected.token_ids)
