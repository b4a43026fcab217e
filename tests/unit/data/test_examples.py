"""Documents as examples of a task: their tokens and values, on disk, in memory and in packed rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell.data import (
    DataConfig,
    Document,
    Example,
    ExampleFacts,
    FieldConfig,
    Packer,
    PreparedText,
    TokenShards,
    TokenSplit,
    examples_of,
    prepare_text,
    tokenize_documents,
    tokenize_text,
)
from stepwell.errors import DataError
from stepwell.progress import Event, Fact
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

ROOM = 12


class Made:
    """A small task: each token knows its place, each text its number; a text may give none, one or two examples."""

    key = "made 1"

    def make(self, documents: Sequence[Document], tokenizer: Tokenizer) -> list[Any]:
        return [self._of(document, tokenizer) for document in documents]

    def _of(self, document: Document, tokenizer: Tokenizer) -> Any:
        number = int(document.columns["number"])
        if number % 10 == 3:
            return "of no use"
        ids = tokenizer.encode(document.text)
        parts = [ids[:ROOM], ids[ROOM : 2 * ROOM]] if number % 10 == 5 else [ids[:ROOM]]
        made = [self._one(part, number, max(0, len(ids) - ROOM * len(parts))) for part in parts if len(part) > 1]
        return made if len(parts) > 1 else made[0]

    def _one(self, ids: np.ndarray, number: int, left_out: int) -> Example:
        return Example(
            ids,
            {"weight": (np.arange(len(ids)) % 3).astype(np.float32), "place": np.arange(len(ids), dtype=np.int16)},
            {"number": np.int64(number), "pair": np.array([number, -number], np.float32)},
            left_out,
            "an even one" if number % 2 == 0 else "",
        )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


@pytest.fixture(scope="module", autouse=True)
def little_text_will_do() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stepwell.data.prepare.SMALLEST_TRAIN_BYTES", 1)
        patch.setattr("stepwell.data.prepare.FEWEST_EXAMPLES", 1)
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedText:
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    rows = [{"text": f"{n}:" + "井ab"[n % 3] * int(rng.integers(1, 20)), "number": n} for n in range(200)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    fields = {
        "text": FieldConfig(columns=("text",), is_text=True, kept=False),
        "number": FieldConfig(columns=("number",)),
    }
    return prepare_text(DataConfig(sources=(str(folder / "rows.jsonl"),), fields=fields), folder / "out")


def plain(prepared: PreparedText, split: Any, tokenizer: Tokenizer) -> list[tuple[int, Example]]:
    """Every example with the number of its document, one document at a time."""
    found = []
    for number, document in enumerate(prepared.documents(split)):
        (made,) = Made().make([document], tokenizer)
        several = [made] if isinstance(made, Example) else [] if isinstance(made, str) else made
        found += [(number, one) for one in several]
    return found


def same(split: TokenSplit, wanted: list[tuple[int, Example]]) -> None:
    assert split.whole
    assert split.num_documents == len(wanted) > 5
    assert split.of_document["text"].tolist() == [number for number, _ in wanted]
    for place, (_, one) in enumerate(wanted):
        here = slice(split.offsets[place], split.offsets[place + 1])
        assert split.document(place).tolist() == one.token_ids.tolist()
        for name, values in one.aligned.items():
            assert split.aligned[name][here].tolist() == values.tolist()
            assert split.aligned[name].dtype == values.dtype
        for name, value in one.of_document.items():
            assert np.array_equal(split.of_document[name][place], value)


def test_examples_on_disk_and_opened_again(tmp_path: Path, prepared: PreparedText, tokenizer: Tokenizer) -> None:
    shards = tokenize_text(prepared, tokenizer, tmp_path, maker=Made())
    for opened in (shards, TokenShards.open(shards.path)):
        for split in ("train", "validation", "test"):
            wanted = plain(prepared, split, tokenizer)
            same(opened.split(split), wanted)
            sizes = prepared.num_bytes(split)
            assert opened.split(split).num_bytes.tolist() == [sizes[number] for number, _ in wanted]
    told = shards.examples["train"]
    documents = list(prepared.documents("train"))
    assert told["left_out"] == {"of no use": sum(one.columns["number"] % 10 == 3 for one in documents)}
    assert told["examples"] == shards.split("train").num_documents
    assert told["shortened"] == sum(one.left_out_tokens > 0 for _, one in plain(prepared, "train", tokenizer))
    assert told["left_out_tokens"] == sum(one.left_out_tokens for _, one in plain(prepared, "train", tokenizer))
    assert told["remarks"]["an even one"] > 10
    longest = [tokens for tokens, _ in told["longest"]]
    assert longest == sorted(longest, reverse=True)
    every = sorted((one.left_out_tokens for _, one in plain(prepared, "train", tokenizer)), reverse=True)
    assert longest == every[:5]


def test_another_task_is_another_package(tmp_path: Path, prepared: PreparedText, tokenizer: Tokenizer) -> None:
    class Other(Made):
        key = "made 2"

    keys = {tokenize_text(prepared, tokenizer, tmp_path, maker=maker).key for maker in (None, Made(), Other())}
    assert len(keys) == 3
    again = tokenize_text(prepared, tokenizer, tmp_path, maker=Made())
    assert again.key in keys


def test_examples_in_memory(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    said: list[Event] = []
    documents = list(prepared.documents("train"))
    split = tokenize_documents(documents, tokenizer, Made(), said.append)
    wanted = plain(prepared, "train", tokenizer)
    same(split, wanted)
    assert split.num_bytes.tolist() == [documents[number].num_bytes for number, _ in wanted]
    facts = [one.text for one in said if isinstance(one, Fact) and one.warning]
    assert any("of no use" in one for one in facts)
    assert any("too long" in one for one in facts)


def test_how_many_are_made_at_once_changes_nothing(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    documents = list(prepared.documents("train"))
    told: list[list[Any]] = []
    for at_once in (1, 7, 1024):
        facts = ExampleFacts()
        made = list(examples_of(documents, Made(), tokenizer, facts, at_once))
        ids = np.concatenate([one.token_ids for one in made]).tolist()
        texts = np.concatenate([one.of_document["text"] for one in made]).tolist()
        told.append([ids, texts, facts.as_dict()])
    assert told[0] == told[1] == told[2]


def test_no_example_at_all(tokenizer: Tokenizer) -> None:
    split = tokenize_documents([Document("x", "s", columns={"number": 3})], tokenizer, Made())
    assert (split.num_documents, split.num_tokens) == (0, 0)
    assert tokenize_documents([], tokenizer, Made()).num_documents == 0


def test_packed_rows_carry_what_goes_with_tokens_and_texts(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    """Of each example once an epoch, whole, with its own values; padding has none and belongs to no text."""
    split = tokenize_documents(list(prepared.documents("train")), tokenizer, Made())
    packer = Packer(split, 32, seed=1)
    rows = packer.row_count(0)
    batch = packer.batch(0, rows)
    assert not batch.loss_mask.all()
    pieces = batch.pieces
    count = len(batch.of_document["number"])
    assert count == split.num_documents
    assert sorted(batch.of_document["text"].tolist()) == sorted(split.of_document["text"].tolist())
    assert (pieces[~batch.loss_mask] == count).all()
    ours = {}
    for piece in range(count):
        here = pieces == piece
        assert len(np.unique(np.nonzero(here)[0])) == 1  # in one row
        aligned = [batch.aligned[name][here].tolist() for name in ("place", "weight")]
        pair = batch.of_document["pair"][piece].tolist()
        ours[piece] = (batch.token_ids[here].tolist(), batch.targets[here].tolist(), *aligned, pair)
    wanted = []
    for number in range(split.num_documents):
        here = slice(split.offsets[number], split.offsets[number + 1] - 1)
        ids = split.document(number).tolist()
        wanted.append((ids[:-1], ids[1:], split.aligned["place"][here].tolist(), split.aligned["weight"][here].tolist(),
                       split.of_document["pair"][number].tolist()))  # fmt: skip
    assert sorted(ours.values()) == sorted(wanted)
    for values in batch.aligned.values():
        assert not values[~batch.loss_mask].any()


def test_a_batch_across_two_epochs(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    split = tokenize_documents(list(prepared.documents("train")), tokenizer, Made())
    packer = Packer(split, 32, seed=1)
    rows = packer.row_count(0)
    across = packer.batch(rows - 2, 4)
    first, second = packer.batch(rows - 2, 2), packer.batch(rows, 2)
    for name in ("number", "pair", "text"):
        joined = np.concatenate([first.of_document[name], second.of_document[name]])
        assert np.array_equal(across.of_document[name], joined)
    assert np.array_equal(across.aligned["place"], np.concatenate([first.aligned["place"], second.aligned["place"]]))
    later = np.where(second.loss_mask, second.pieces + len(first.of_document["text"]), len(across.of_document["text"]))
    assert np.array_equal(across.pieces[2:], later)


def test_an_example_longer_than_a_row_is_an_error(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    split = tokenize_documents(list(prepared.documents("train")), tokenizer, Made())
    with pytest.raises(DataError, match="an example is longer than a row") as caught:
        Packer(split, ROOM - 2, seed=1).batch(0, 1)
    assert (caught.value.got, caught.value.wanted) == (str(ROOM - 1), f"up to {ROOM - 2}")


def test_some_of_the_examples(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    split = tokenize_documents(list(prepared.documents("train")), tokenizer, Made())
    some = split.chosen(np.array([4, 0, 9]))
    for place, number in enumerate((4, 0, 9)):
        assert some.document(place).tolist() == split.document(number).tolist()
        assert some.of_document["number"][place] == split.of_document["number"][number]
    assert len(some.aligned["weight"]) == some.num_tokens
    assert some.whole


def test_weights_of_the_step_resample_go_with_every_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Plain text whose rows have classes: each token counts as much as its text; held-out text counts as it is."""
    rows = [{"text": f"row number {n} 井", "label": "rare" if n % 10 == 0 else "often"} for n in range(200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    config = DataConfig(
        sources=(str(tmp_path / "rows.jsonl"),),
        columns=("label",),
        steps=[{"kind": "resample", "method": "weights"}],
    )
    text = prepare_text(config, tmp_path / "out")
    shards = tokenize_text(text, tokenizer, tmp_path)
    for opened in (shards, TokenShards.open(shards.path)):
        split = opened.split("train")
        weights = [columns["weight"] for columns in text.columns("train")]
        assert len(set(weights)) == 2
        assert split.aligned["weight"].dtype == np.float32
        assert split.aligned["weight"].tolist() == pytest.approx(np.repeat(weights, np.diff(split.offsets)))
        assert opened.split("validation").aligned == {}
        assert not split.whole
    batch = Packer(shards.split("train"), 24, seed=0).batch(0, 60)
    assert set(np.unique(batch.aligned["weight"][batch.loss_mask]).tolist()) == set(
        np.float32(sorted(set(weights))).tolist()
    )
    evenly = dict.fromkeys(("rare", "often"), 0.0)
    for columns in text.columns("train"):
        evenly[columns["label"]] += columns["weight"]
    assert evenly["rare"] == pytest.approx(evenly["often"])
