"""Texts side by side: what an example holds, what is cut, what relates texts, and what cannot be learned from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stepwell.data import Document, Example
from stepwell.errors import DataError, UsageError
from stepwell.tasks import Embedding, EmbeddingConfig, Retrieval, RetrievalConfig, Vectors, key_of_text
from stepwell.tasks.embedding import fair_lengths
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


class Rows:
    """Prepared text of these rows, all of which are trained on."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def each_columns(self, split: str) -> Iterator[dict[str, Any]]:
        return iter(self.rows if split == "train" else [])


def made(task: Vectors[Any], row: dict[str, Any], tokenizer: Tokenizer) -> Example | str:
    (one,) = task.make([Document("x", "test", columns=row)], tokenizer)
    return one


def sides(one: Example | str, tokenizer: Tokenizer) -> list[str]:
    """The text on each side."""
    assert isinstance(one, Example), one
    ids, side = one.token_ids[:-1], one.aligned["side"][:-1]
    return [tokenizer.decode(ids[side == number]) for number in range(int(side.max()) + 1)]


def test_the_texts_of_an_example_stand_side_by_side(tokenizer: Tokenizer) -> None:
    row = {"query": "哪里 ", "document": "在河边", "negative": ["在桥下", None, "在河边", "the gate"]}
    one = made(Retrieval(RetrievalConfig()), row, tokenizer)
    assert isinstance(one, Example)
    assert sides(one, tokenizer) == ["哪里", "在河边", "在桥下", "the gate"]  # its own document is no negative
    begins = np.flatnonzero(np.diff(one.aligned["side"][:-1], prepend=255))
    assert (one.token_ids[begins] == tokenizer.bos_id).all()
    assert one.token_ids[-1] == tokenizer.eos_id
    assert len(one.aligned["side"]) == len(one.aligned["key"]) == len(one.token_ids)
    assert one.aligned["key"][begins].tolist() == [key_of_text(text) for text in sides(one, tokenizer)]
    assert one.left_out_tokens == 0


def test_prefixes_stand_before_queries_and_documents(tokenizer: Tokenizer) -> None:
    task = Retrieval(RetrievalConfig(query_prefix="query: ", document_prefix="passage: "))
    one = made(task, {"query": "who", "document": "me", "negative": "you"}, tokenizer)
    assert sides(one, tokenizer) == ["query: who", "passage: me", "passage: you"]
    plain = made(Retrieval(RetrievalConfig()), {"query": "who", "document": "me", "negative": "you"}, tokenizer)
    assert isinstance(one, Example)
    assert isinstance(plain, Example)
    assert set(one.aligned["key"].tolist()) == set(plain.aligned["key"].tolist())


def test_of_what_is_too_long_the_longest_text_is_cut_first(tokenizer: Tokenizer) -> None:
    one = made(Retrieval(RetrievalConfig(max_tokens=20)), {"query": "who", "document": "x" * 100}, tokenizer)
    assert isinstance(one, Example)
    assert sides(one, tokenizer) == ["who", "x" * 15]
    assert len(one.token_ids) == 21
    assert one.left_out_tokens == 85
    crowded = {"query": "who", "document": "me", "negative": ["a", "b", "c", "d"]}
    assert (
        made(Retrieval(RetrievalConfig(max_tokens=8)), crowded, tokenizer) == "no room for 6 texts in task.max_tokens"
    )


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [([3, 9], 20, [3, 9]), ([3, 9], 8, [3, 5]), ([9, 3], 8, [5, 3]), ([9, 9, 9], 10, [3, 3, 4]), ([0, 5], 3, [0, 3])],
)
def test_room_is_shared_fairly(lengths: list[int], room: int, kept: list[int]) -> None:
    assert fair_lengths(lengths, room) == kept


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"query": "", "document": "x"}, "empty query"),
        ({"query": None, "document": "x"}, "no query"),
        ({"query": "x"}, "no document"),
        ({"query": "x", "document": " "}, "empty document"),
    ],
)
def test_what_is_no_example_says_why(row: dict[str, Any], reason: str, tokenizer: Tokenizer) -> None:
    assert made(Retrieval(RetrievalConfig()), row, tokenizer) == reason


@pytest.mark.parametrize(
    ("rows", "relation"),
    [
        ([{"first": "a", "second": "b"}, {"first": "c", "second": "d"}], "pairs"),
        ([{"first": "a", "second": "b", "score": 1}, {"first": "c", "second": "d", "score": 4.5}], "graded"),
        ([{"first": "a", "label": 1}, {"first": "b", "label": 1}, {"first": "c", "label": 2}], "classes"),
    ],
)
def test_the_columns_tell_what_relates_texts(rows: list[dict[str, Any]], relation: str, tokenizer: Tokenizer) -> None:
    task = Embedding(EmbeddingConfig())
    found = {name: value for name, (value, _) in task.find(Rows(rows)).items()}  # type: ignore[arg-type]
    assert found["relation"] == relation
    known = Embedding(EmbeddingConfig(**found))
    one = made(known, rows[0], tokenizer)
    assert isinstance(one, Example)
    if relation == "graded":
        assert (found["lowest"], found["highest"]) == (1, 4.5)
        assert one.of_document["score"] == 0
        assert known.metric == "spearman"
    if relation == "classes":
        other, last = (made(known, row, tokenizer) for row in rows[1:])
        assert isinstance(other, Example)
        assert isinstance(last, Example)
        assert one.of_document["label"] == other.of_document["label"] != last.of_document["label"]


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        (Retrieval(RetrievalConfig()), [{"query": str(n), "document": "x"} for n in range(9)], "one text only"),
        (Embedding(EmbeddingConfig()), [{"first": "a"}], "nothing says which texts are alike"),
        (Embedding(EmbeddingConfig()), [{"first": "a", "second": "b", "score": 1}] * 3, "one number only"),
        (Embedding(EmbeddingConfig()), [{"first": "a", "second": "b", "score": "high"}], "is no number"),
        (Embedding(EmbeddingConfig()), [{"first": "a", "label": 1}, {"first": "b", "label": 2}], "no two texts"),
        (Embedding(EmbeddingConfig()), [{"first": "a", "second": "b"}] * 3, "one text only"),
    ],
)
def test_what_cannot_be_learned_from(task: Vectors[Any], rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        task.find(Rows(rows))  # type: ignore[arg-type]
    assert caught.value.got


def test_the_batch_follows_from_what_tokens_tell(tokenizer: Tokenizer) -> None:
    task = Retrieval(RetrievalConfig(batch_examples=32))
    documents = [Document("who\n\nme", "test", columns={"query": "who", "document": "m" * n}) for n in (2, 4)]
    found = {name: value for name, (value, _) in task.measure(documents, tokenizer).items()}
    assert found == {"mean_tokens": 8, "mean_bytes": 7}
    needs = Retrieval(task.config.model_copy(update=found)).needs()
    assert needs["training.global_batch_tokens"][0] == 32 * 8
    assert "training.global_batch_tokens" not in task.needs()


def test_a_query_alone_is_sent_to_search() -> None:
    task = Retrieval(RetrievalConfig())
    with pytest.raises(UsageError, match="nearest of many") as caught:
        task.document("who")
    assert "stepwell search" in str(caught.value.do)
    assert task.two_texts(task.document({"question": "who", "context": "me"})) == ("who", "me")
    pair = Embedding(EmbeddingConfig())
    with pytest.raises(UsageError, match="compared by its two texts"):
        pair.two_texts(pair.document({"sentence1": "a"}))
