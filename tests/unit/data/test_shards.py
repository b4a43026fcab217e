"""Token shards: the documents again, as ids, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
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
from stepwell.tokenizers import (
    ByteBPEConfig,
    CharacterConfig,
    Tokenizer,
    UnigramConfig,
    WordLevelConfig,
    WordPieceConfig,
    train_tokenizer,
)


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


def plain_split(prepared: PreparedText, name: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """One document after another, one token after another."""
    ids: list[int] = []
    offsets = [0]
    texts = prepared.texts(name)
    for text, ending in zip(texts, texts.ends.tolist(), strict=True):
        ids += [tokenizer.bos_id, *tokenizer.encode(text).tolist(), *([tokenizer.eos_id] if ending else [])]
        offsets.append(len(ids))
    return ids, offsets


@pytest.mark.parametrize("together", [1, 3_000, 1 << 22])
@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "wordpiece", "character", "word"])
def test_written_in_parallel_they_are_the_plain_ones(tmp_path, prepared, monkeypatch, together, kind) -> None:
    monkeypatch.setattr(shards_room, "ENCODED_TOGETHER_BYTES", together)
    classes = {
        "unigram": UnigramConfig,
        "wordpiece": WordPieceConfig,
        "character": CharacterConfig,
        "word": WordLevelConfig,
    }
    tokenizer = train_tokenizer(prepared.texts("train")[:20], classes.get(kind, ByteBPEConfig)(vocab_size=700))
    shards = tokenize_text(prepared, tokenizer, tmp_path)
    for name in SPLITS:
        split = shards.split(name)
        assert (split.token_ids.tolist(), split.offsets.tolist()) == plain_split(prepared, name, tokenizer)


@pytest.mark.slow
def test_one_core_writes_the_same_bytes(tmp_path: Path, prepared: PreparedText, tokenizer: Tokenizer) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    program = (
        "import sys, hashlib, pathlib; from stepwell.data import *; from stepwell.tokenizers import *\n"
        "from stepwell.data.tokens import shards; shards.ENCODED_TOGETHER_BYTES = int(sys.argv[3])\n"
        "text = PreparedText('key', pathlib.Path(sys.argv[1]), None)\n"
        "here = pathlib.Path(sys.argv[2]); tokenizer = Tokenizer.load(here / 'tokenizer.json')\n"
        "(here / sys.argv[3]).mkdir()\n"
        "shards._write_split(here / sys.argv[3], 'train', text.texts('train'), tokenizer, shards._dtype(tokenizer))\n"
        "files = sorted((here / sys.argv[3]).iterdir())\n"
        "print(len(files), *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program, str(prepared.path), str(tmp_path), together],
            capture_output=True,
            check=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": parallel},
        ).stdout
        for together, parallel in (("2000", "true"), ("90000", "false"), ("4000000", "true"))
    }
    assert len(printed) == 1
    assert printed.pop().startswith(b"3 ")


def test_a_fault_while_encoding_comes_out(
    tmp_path: Path, prepared: PreparedText, tokenizer: Tokenizer, monkeypatch
) -> None:
    monkeypatch.setattr(shards_room, "ENCODED_TOGETHER_BYTES", 5_000)
    monkeypatch.setattr(Tokenizer, "encode_documents", lambda *words: (_ for _ in ()).throw(MemoryError("too much")))
    with pytest.raises(MemoryError, match="too much"):
        tokenize_text(prepared, tokenizer, tmp_path)
    assert not list(tmp_path.glob("tokens-*"))


def test_texts_read_together_are_those_read_alone(prepared: PreparedText) -> None:
    texts = prepared.texts("train")
    several = list(texts)
    for cut in (
        slice(None),
        slice(2, 5),
        slice(5, 2),
        slice(-3, None),
        slice(0, 0),
        slice(1, 9, 3),
        slice(None, None, -1),
    ):
        assert texts[cut] == several[cut]
