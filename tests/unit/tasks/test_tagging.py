"""Tagging: what is found in the text, and how words and tags become tokens and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from stepwell.data import Document, Example
from stepwell.errors import DataError, UsageError
from stepwell.tasks import Tagging, TaggingConfig
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

WORDS = ["the", "boat", "in", "Paris", "and", "New", "York", "sails"]
TAGS = ["O", "O", "O", "B-place", "O", "B-place", "I-place", "O"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the boat in Paris and New York sails 小船在河边"] * 50, ByteBPEConfig(vocab_size=300))


def task_of(**settings: Any) -> Tagging:
    return Tagging(TaggingConfig(**{"scheme": "BIO", "tags": ("O", "B-place", "I-place"), "cut": "signs", **settings}))


def row(words: Any, tags: Any) -> Document:
    return Document("text", "file", columns={"words": words, "tag": tags})


class Rows:
    """What `Tagging.find` asks of prepared text."""

    def __init__(self, train: Sequence[Mapping[str, Any]], held: Sequence[Mapping[str, Any]] = ()) -> None:
        self.rows = {"train": train, "validation": held, "test": ()}

    def each_columns(self, split: str) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows[split])


def found_in(
    rows: Sequence[Mapping[str, Any]], held: Sequence[Mapping[str, Any]] = (), **settings: Any
) -> Mapping[str, Any]:
    found = Tagging(TaggingConfig(**settings)).find(Rows(rows, held))  # type: ignore[arg-type]
    return {name: value for name, (value, _) in found.items()}


def test_the_first_token_of_each_word_has_its_label(tokenizer: Tokenizer) -> None:
    task = task_of()
    (made,) = task.make([row(WORDS, TAGS)], tokenizer)
    assert isinstance(made, Example)
    text = "the boat in Paris and New York sails"
    assert made.token_ids[1:-2].tolist() == tokenizer.encode(text).tolist()
    assert made.token_ids[[0, -2, -1]].tolist() == [tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_id]
    labels = made.aligned["label"]
    assert len(labels) == len(made.token_ids)
    at, starts = 1, []
    for number, word in enumerate(WORDS):
        starts.append(at)
        at += len(tokenizer.encode(word if number == 0 else f" {word}"))
    assert labels[starts].tolist() == [1, 1, 1, 2, 1, 2, 3, 1]
    assert np.delete(labels, starts).sum() == 0


def test_what_does_not_fit_is_left_out_and_counted(tokenizer: Tokenizer) -> None:
    document = row(WORDS, TAGS)
    whole = task_of().read([document], tokenizer)[0]
    short = task_of(max_tokens=8).read([document], tokenizer)[0]
    assert len(short.token_ids) == 8
    assert short.left_out_tokens == len(whole.token_ids) - 8
    kept = short.firsts >= 0
    assert 0 < kept.sum() < len(WORDS)
    assert np.array_equal(short.firsts[kept], whole.firsts[kept])
    scores = short.of_words(np.arange(24.0).reshape(8, 3))
    assert not scores[~kept].any()
    assert np.array_equal(scores[kept][:, 0], 3.0 * short.firsts[kept])


def test_words_that_are_nothing_have_no_token(tokenizer: Tokenizer) -> None:
    (made,) = task_of().make([row(["", "Paris"], ["O", "B-place"])], tokenizer)
    assert isinstance(made, Example)
    assert sorted(made.aligned["label"].tolist())[-2:] == [0, 2]


@pytest.mark.parametrize(
    ("words", "tags", "reason"),
    [(["a", "b"], ["O"], "as many tags as words"), (["a"], None, "no tags"), ([], [], "no word with a tag")],
)
def test_what_is_no_example_says_why(tokenizer: Tokenizer, words: Any, tags: Any, reason: str) -> None:
    (made,) = task_of().make([row(words, tags)], tokenizer)
    assert isinstance(made, str)
    assert reason in made


def test_unknown_tags_teach_nothing_but_are_remembered(tokenizer: Tokenizer) -> None:
    document = row(["a", "boat"], ["O", "B-ship"])
    (made,) = task_of().make([document], tokenizer)
    assert isinstance(made, Example)
    assert (made.aligned["label"] > 0).sum() == 1
    assert task_of().tags_of(document) == ["O", "B-ship"]


def test_text_with_blanks_is_a_list_of_words_where_tags_are_given(tokenizer: Tokenizer) -> None:
    listed, written = task_of().make([row(["it's", "Paris."], ["O", "O"]), row("it's Paris.", "O O")], tokenizer)
    assert isinstance(listed, Example)
    assert isinstance(written, Example)
    assert listed.token_ids.tolist() == written.token_ids.tolist()
    assert [word.text for word in task_of().placed(task_of().document("it's Paris."))[1]] == ["it", "'s", "Paris", "."]


def test_a_text_is_read_as_its_words_are_learned(tokenizer: Tokenizer) -> None:
    task = task_of()
    listed, asked = task.read([row(["it", "'s", "Paris", "."], None), task.document("  it's   Paris.")], tokenizer)
    assert listed.token_ids.tolist() == asked.token_ids.tolist()
    assert listed.firsts.tolist() == asked.firsts.tolist()


def test_a_long_text_is_read_in_parts_that_lose_nothing(tokenizer: Tokenizer) -> None:
    task = task_of(max_tokens=16)
    words = ["the", "boat", "sails", "."] * 30 + ["Constantinopolis" * 9] + ["Paris", "!"] * 7
    for several in (words, words[:3], words[:2] * 40, [""] * 50, []):
        windows = task.windows(task.document({"words": several}), tokenizer)
        assert sum(len(read.firsts) for read in windows) == len(several)
        assert all(len(read.token_ids) <= 16 for read in windows)
        assert all(read.firsts[0] == 1 for read in windows if (read.firsts >= 0).any())
        lost = [len(read.firsts) for read in windows if read.left_out_tokens]
        assert lost == ([1] if several is words else [])  # a single word that no window takes
    ends = np.cumsum([len(read.firsts) for read in task.windows(task.document({"words": words}), tokenizer)])
    assert all(words[end - 1] in (".", "!") for end in ends[ends < 120])


def test_numbers_are_tags_by_the_names_that_are_given() -> None:
    task = task_of()
    assert task.tags_of(row(["a", "b"], [0, 1])) == ["O", "B-place"]
    assert task_of(tags=(), scheme="plain").tags_of(row(["a", "b"], [0, 1])) == ["0", "1"]


def test_scheme_tags_and_cut_are_found() -> None:
    english = [{"words": [*WORDS, "."], "tag": [*TAGS, "O"]}] * 4
    assert found_in(english) == {"scheme": "BIO", "tags": ("O", "B-place", "I-place"), "cut": "signs"}
    chinese = [{"words": list("小船在河边"), "tag": ["O", "O", "O", "B-地名", "E-地名"]}] * 4
    assert found_in(chinese) == {
        "scheme": "BIOES",
        "tags": ("O", "B-地名", "I-地名", "E-地名", "S-地名"),
        "cut": "characters",
    }
    plain = [{"words": "the boat sails", "tag": "DET NOUN VERB"}] * 4
    assert found_in(plain) == {"scheme": "plain", "tags": ("DET", "NOUN", "VERB"), "cut": "blanks"}


def test_tags_that_break_their_scheme_are_counted_and_read_as_seqeval_reads_them() -> None:
    rows = [{"words": ["in", "Paris"], "tag": ["O", "I-place"]}, {"words": ["Rome"], "tag": ["B-place"]}] * 3
    _, why = Tagging(TaggingConfig()).find(Rows(rows))["scheme"]  # type: ignore[arg-type]
    assert "3 of 9 do not keep to it" in why
    assert task_of().tags_of(row(["in", "Paris"], ["O", "I-place"])) == ["O", "B-place"]


def test_numbers_with_names_are_found_to_be_spans() -> None:
    rows = [{"words": WORDS, "tag": [0, 0, 0, 1, 0, 1, 2, 0]}] * 3
    assert found_in(rows, tags=("O", "B-place", "I-place"))["scheme"] == "BIO"
    assert found_in(rows) == {"scheme": "plain", "tags": ("0", "1", "2"), "cut": "blanks"}


GOOD = {"words": ["in", "Paris"], "tag": ["O", "B-place"]}


@pytest.mark.parametrize(
    ("rows", "held", "message"),
    [
        ([GOOD, GOOD, {"words": ["in", "Rome"], "tag": ["O"]}], [], "1 of 3 rows, the first with 2 words.*1 tags"),
        ([{"words": ["in", "Paris"], "tag": ["O", "O"]}] * 3, [], "nothing to tell apart(.|\n)*got: O"),
        ([GOOD] * 3, [{"words": ["Po"], "tag": ["B-river"]}], "training text has not(.|\n)*B-river"),
        ([GOOD] * 3, [{"words": ["Po"], "tag": ["odd"]}], "training text has not(.|\n)*odd"),
        ([{"words": ["in"], "tag": 7}] * 3, [], "no row has words and tags"),
    ],
)
def test_what_cannot_be_learned_from_is_an_error(rows: Any, held: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        found_in(rows, held)


def test_who_asks_gives_words_or_a_text() -> None:
    task = task_of()
    assert task.placed(task.document({"tokens": ["in", "Paris"]}))[0] == "in Paris"
    with pytest.raises(UsageError, match="has no words"):
        task.document({"label": "x"})
