"""Word vectors from files that the tests write: text and binary, whole and damaged."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest
import torch

from stepwell.errors import ConfigError, DataError
from stepwell.models.word_vectors import fill_embeddings, read_word_vectors
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

VECTORS = {
    "well": [0.5, -1.0, 2.0],
    "step": [1.5, 0.25, -0.75],
    "水井": [3.0, 1.0, 0.5],
    "New_York": [9.0, 9.0, 9.0],
    "unheard": [1.0, 1.0, 1.0],
}


def as_text(vectors: dict[str, list[float]]) -> bytes:
    lines = [f"{word} {' '.join(map(str, vector))} " for word, vector in vectors.items()]  # fastText ends in a blank
    return "\n".join([f"{len(vectors)} 3", *lines, ""]).encode()


def as_binary(vectors: dict[str, list[float]], end: bytes = b"\n") -> bytes:
    words = [word.encode() + b" " + np.array(vector, "<f4").tobytes() + end for word, vector in vectors.items()]
    return f"{len(vectors)} 3\n".encode() + b"".join(words)


FILES = {
    "text": as_text(VECTORS),
    "binary": as_binary(VECTORS),
    "binary without line ends": as_binary(VECTORS, b""),  # as gensim writes it
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """With tokens for `well`, ` well`, ` step` and `水井` beside the bytes."""
    return train_tokenizer(
        ["well well step step step\n水井\n水井\n水井 well well\nwell\nwell"] * 5, ByteBPEConfig(vocab_size=300)
    )


def spelled(tokenizer: Tokenizer, text: str) -> int:
    (token_id,) = tokenizer.encode(text)
    return int(token_id)


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("packed", [False, True])
def test_wanted_words_are_read_whatever_the_form(tmp_path, content, packed):
    path = tmp_path / ("words.vec.gz" if packed else "words.vec")
    path.write_bytes(gzip.compress(content) if packed else content)
    read = dict(read_word_vectors(path, {"well", "水井", "New_York", "absent"}, width=3))
    assert {word: vector.tolist() for word, vector in read.items()} == {
        word: VECTORS[word] for word in ("well", "水井", "New_York")
    }
    assert all(vector.dtype == np.float32 for vector in read.values())


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_tokens_take_the_vectors_of_their_words(tmp_path, tokenizer, content):
    path = tmp_path / "words"
    path.write_bytes(content)
    weight = 0.1 * torch.randn(tokenizer.vocab_size, 3, generator=torch.Generator().manual_seed(0))
    drawn = weight.clone()
    found = [spelled(tokenizer, text) for text in ("well", " well", " step", "水井")]
    num_found = fill_embeddings(weight, tokenizer, path)
    changed = (weight != drawn).any(dim=1).nonzero().flatten().tolist()
    assert set(found) <= set(changed)
    assert num_found == len(changed)
    words = [tokenizer.token_bytes(token).decode().strip() for token in changed]
    assert set(words) <= VECTORS.keys()
    values = torch.tensor([VECTORS[word] for word in words])
    scale = drawn.square().mean().sqrt() / values.square().mean().sqrt()
    torch.testing.assert_close(weight[changed], scale * values)


def test_a_word_that_stands_twice_keeps_its_first_vector(tmp_path, tokenizer):
    path = tmp_path / "words"
    path.write_bytes(b"2 2\nwell 1 2\nwell 5 5\n")
    weight = torch.ones(tokenizer.vocab_size, 2)
    fill_embeddings(weight, tokenizer, path)
    torch.testing.assert_close(weight[spelled(tokenizer, "well")], torch.tensor([1.0, 2.0]) / 2.5**0.5)


def test_a_text_file_may_have_words_with_blanks(tmp_path):
    path = tmp_path / "words"
    path.write_bytes(b"2 2\nNew York 1 2\nYork 3 4\n")
    assert [word for word, _ in read_word_vectors(path, {"New York", "New", "York"})] == ["New York", "York"]


def test_another_width_is_refused_by_name(tmp_path, tokenizer):
    path = tmp_path / "words"
    path.write_bytes(FILES["text"])
    weight = torch.ones(tokenizer.vocab_size, 4)
    with pytest.raises(ConfigError, match="another width") as caught:
        fill_embeddings(weight, tokenizer, path)
    assert caught.value.got == "3 numbers a word"
    assert "model.d_embedding" in caught.value.do
    assert (weight == 1).all()


def test_no_word_in_common_is_refused(tmp_path, tokenizer):
    path = tmp_path / "words"
    path.write_bytes(b"1 2\nsomething 1 2\n")
    with pytest.raises(DataError, match="has no word of the vocabulary"):
        fill_embeddings(torch.ones(tokenizer.vocab_size, 2), tokenizer, path)


DAMAGED = {
    "no such file": (None, "cannot be read"),
    "empty": (b"", "is not a file of word vectors"),
    "no header": (b"well 1 2\nstep 3 4\n", "is not a file of word vectors"),
    "nothing in it": (b"0 2\n", "is not a file of word vectors"),
    "fastText's own model": ((793712314).to_bytes(4, "little") + bytes(100), "is a model of fastText"),
    "a number is missing": (b"2 2\nwell 1 2\nstep 3\n", "line 3 is damaged"),
    "not a number": (b"2 2\nwell 1 2\nstep 3 x\n", "line 3 is damaged"),
    "text cut off": (b"3 2\nwell 1 2\n", "is damaged or cut off"),
    "binary cut off in numbers": (FILES["binary"][:-5], "is damaged or cut off"),
    "binary cut off in a word": (FILES["binary"][: FILES["binary"].index(b"unheard") + 3], "is damaged or cut off"),
    "not finite": (b"1 2\nwell 1 nan\n", "is damaged"),
    "zeros": (b"1 2\nwell 0 0\n", "is damaged"),
    "archive cut off": (gzip.compress(FILES["text"])[:-12], "cannot be read"),
    "not an archive": (b"\x1f\x8b no archive", "cannot be read"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_say_what_is_wrong(tmp_path, tokenizer, content, message):
    packed = content is not None and content.startswith(b"\x1f\x8b")
    path = tmp_path / ("words.gz" if packed else "words")
    if content is not None:
        path.write_bytes(content)
    width = 3 if content is None or packed or b" 3\n" in content[:5] else 2
    with pytest.raises(DataError, match=re.escape(message)):
        fill_embeddings(torch.ones(tokenizer.vocab_size, width), tokenizer, path)


def test_only_what_is_wanted_is_kept(tmp_path):
    """A file of many words costs the memory of a few: the reader hands on one wanted word at a time."""
    path = tmp_path / "words"
    path.write_bytes(b"3 1\na 1\nb 2\nc 3\n")
    reading = read_word_vectors(path, {"a", "c"})
    assert next(reading)[0] == "a"
    assert [word for word, _ in reading] == ["c"]
