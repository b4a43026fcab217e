"""Token shards: the documents again, as ids, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stepwell.data import (
    DataConfig,
    Document,
    PreparedText,
    TokenShards,
    prepare_text,
    tokenize_documents,
    tokenize_text,
)
from stepwell.data.documents import SPLITS
from stepwell.data.tokens import shards as shards_room
from stepwell.errors import DataError
from stepwell.progress import Fact
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, small_text) -> PreparedText:
    folder = tmp_path_factory.mktemp("text")
    (folder / "novel.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    return prepare_text(DataConfig(sources=(str(folder / "novel.txt"),)), folder)


@pytest.fixture(scope="module")
def tokenizer(prepared: PreparedText) -> Tokenizer:
    return train_tokenizer(prepared.texts("train"), ByteBPEConfig(vocab_size=512))


def test_documents_come_back(tmp_path: Path, prepared: PreparedText, tokenizer: Tokenizer, monkeypatch) -> None:
    monkeypatch.setattr(shards_room, "ENCODED_TOGETHER_BYTES", 5_000)
    shards = tokenize_text(prepared, tokenizer, tmp_path)
    assert shards.path == tmp_path / f"tokens-{shards.key}"
    for name in SPLITS:
        split, texts = shards.split(name), prepared.texts(name)
        assert split.num_documents == len(texts)
        assert split.num_tokens == len(split.token_ids)
        assert split.token_ids.dtype == np.uint16
        assert split.num_bytes.tolist() == prepared.num_bytes(name).tolist()
        for n, text in enumerate(texts):
            ids = split.document(n)
            assert ids[0] == tokenizer.bos_id
            assert (ids[-1] == tokenizer.eos_id) == texts.ends[n]
            assert tokenizer.decode(ids) == text
    with pytest.raises(IndexError):
        shards.split("train").document(shards.split("train").num_documents)


def test_tokens_stay_on_disk(tmp_path: Path, prepared: PreparedText, tokenizer: Tokenizer) -> None:
    assert isinstance(tokenize_text(prepared, tokenizer, tmp_path).split("train").token_ids, np.memmap)


def test_unchanged_inputs_are_not_encoded_twice(tmp_path: Path, prepared, tokenizer: Tokenizer, monkeypatch) -> None:
    first = tokenize_text(prepared, tokenizer, tmp_path)
    other = train_tokenizer(prepared.texts("train"), ByteBPEConfig(vocab_size=300))
    assert tokenize_text(prepared, other, tmp_path).key != first.key
    monkeypatch.setattr(shards_room, "_write_split", lambda *args: pytest.fail("encoded again"))
    assert tokenize_text(prepared, tokenizer, tmp_path).key == first.key
    assert TokenShards.open(first.path).key == first.key


def test_a_damaged_shard_is_made_again(tmp_path: Path, prepared: PreparedText, tokenizer: Tokenizer) -> None:
    shards = tokenize_text(prepared, tokenizer, tmp_path)
    whole = shards.split("train").token_ids.tolist()
    file = shards.path / "train.bin"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.unlink()
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"train\.bin: damaged"):
        TokenShards.open(shards.path)
    events: list[object] = []
    again = tokenize_text(prepared, tokenizer, tmp_path, events.append)
    assert again.split("train").token_ids.tolist() == whole
    assert any(isinstance(event, Fact) and event.warning and "train.bin" in event.text for event in events)


def test_a_package_of_text_is_no_package_of_tokens(prepared: PreparedText) -> None:
    with pytest.raises(DataError, match="no package of tokens"):
        TokenShards.open(prepared.path)


def test_an_empty_split_is_no_obstacle(tmp_path: Path, tokenizer: Tokenizer, small_text) -> None:
    (tmp_path / "novel.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    prepared = prepare_text(DataConfig(sources=(str(tmp_path / "novel.txt"),), test_ratio=0), tmp_path)
    split = tokenize_text(prepared, tokenizer, tmp_path).split("test")
    assert (split.num_documents, split.num_tokens, len(split.token_ids)) == (0, 0, 0)


def test_documents_in_memory_are_the_documents_on_disk(tmp_path: Path, prepared, tokenizer: Tokenizer) -> None:
    texts = prepared.texts("validation")
    on_disk = tokenize_text(prepared, tokenizer, tmp_path).split("validation")
    in_memory = tokenize_documents((Document(t, "", e) for t, e in zip(texts, texts.ends, strict=True)), tokenizer)
    assert in_memory.token_ids.dtype == on_disk.token_ids.dtype
    for name in ("token_ids", "offsets", "num_bytes"):
        assert getattr(in_memory, name).tolist() == getattr(on_disk, name).tolist()
    assert tokenize_documents([], tokenizer).num_tokens == 0
