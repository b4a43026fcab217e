"""Textbook words: the most frequent ones, and `<unk>`."""

from __future__ import annotations

import collections
import re

import pytest

from stepwell.errors import TokenizerError
from stepwell.tokenizers import (
    ByteBPEConfig,
    PretrainedTokenizerConfig,
    StreamDecoder,
    Tokenizer,
    WordLevelConfig,
    train_tokenizer,
)


@pytest.fixture
def tokenizer(small_text) -> Tokenizer:
    return train_tokenizer([small_text("en", 20_000)], WordLevelConfig(vocab_size=40))


def test_the_vocabulary_is_the_most_frequent_words(tokenizer, small_text):
    counts = collections.Counter(re.findall(r"\w+|[^\w\s]", small_text("en", 20_000)))
    by_count = sorted(counts, key=lambda word: (-counts[word], word))
    assert [tokenizer.token(n) for n in range(40)] == ["<|endoftext|>", "<unk>", *by_count[:38]]


def test_a_small_text_has_fewer_words():
    assert train_tokenizer(["one two. Two"], WordLevelConfig()).vocab_size == 6


def test_unknown_words_can_be_seen(tokenizer):
    ids = tokenizer.encode("The xylophone the gate.").tolist()
    assert ids[1] == tokenizer.unk_id == 1
    assert tokenizer.decode(ids) == "The <unk> the gate."
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.is_lossless) == (0, 0, False)
    assert tokenizer.encode("<|endoftext|> <unk>").tolist().count(0) == 0


def test_case_apostrophes_and_chinese():
    text = "Don't stop: the miller's Gate, 12 times! 老渔夫在河边。"
    tokenizer = train_tokenizer([text], WordLevelConfig())
    words = [tokenizer.token(int(n)) for n in tokenizer.encode(text)]
    assert words == [
        "Don't", "stop", ":", "the", "miller's", "Gate", ",", "12", "times", "!", *"老渔夫在河边。",
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer.encode(text)) == "Don't stop : the miller's Gate, 12 times!老渔夫在河边。"
    assert tokenizer.word_starts().all()


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.roles, loaded.fingerprint) == (tokenizer.roles, tokenizer.fingerprint)


def test_a_stream_says_what_decode_says(tokenizer):
    for ids in (range(40), [1, 0, 5], [3]):
        stream = StreamDecoder(tokenizer)
        assert "".join(stream.push(n) for n in ids) + stream.finish() == tokenizer.decode(ids)


def test_what_is_taken_over_is_not_trained():
    config = PretrainedTokenizerConfig(path="somewhere", vocab_size=10)
    with pytest.raises(TokenizerError, match="pretrained is not trained"):
        train_tokenizer(["a"], config)


@pytest.mark.parametrize(
    ("special", "vocab_size"),
    [(("<|mask|>", "<|mask|>"), 500), (("<|endoftext|>",), 500), (("",), 500), (("<|mask|>",), 257)],
)
def test_special_tokens_have_to_fit(special, vocab_size):
    with pytest.raises(ValueError, match=r"special_tokens of two characters or more|at least 258"):
        ByteBPEConfig(vocab_size=vocab_size, special_tokens=special)
