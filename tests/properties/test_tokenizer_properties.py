"""Any text and any bytes come back from the tokenizer, whole or piece by piece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.tokenizers import ByteBPEConfig, StreamDecoder, Tokenizer, train_tokenizer

PARTS = [" ", "\n", "\r", "'s", "7", "<|endoftext|>", "井", "水。", "well", "\t", "’"]
TEXTS = st.text() | st.lists(st.sampled_from(PARTS), max_size=40).map("".join)
UTF8 = TEXTS.map(str.encode)
BYTES = st.binary() | UTF8 | st.tuples(UTF8, st.binary(), UTF8).map(b"".join)


@pytest.fixture(scope="module")
def tokenizer(small_text) -> Tokenizer:
    return train_tokenizer([small_text("mixed", 30_000), "<|endoftext|> " * 50], ByteBPEConfig(vocab_size=700))


@given(text=TEXTS)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.bos_id not in ids
    assert all(0 <= n < tokenizer.vocab_size for n in ids)


@given(data=BYTES)
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    ids = tokenizer.encode(data)
    assert tokenizer.decode_bytes(ids) == data
    assert tokenizer.decode(ids) == data.decode("utf-8", errors="replace")
    assert tokenizer.bos_id not in ids


@given(texts=st.lists(TEXTS, max_size=5))
def test_many_is_one_by_one(tokenizer: Tokenizer, texts: list[str]) -> None:
    together = tokenizer.encode_many(texts)
    assert [ids.tolist() for ids in together] == [tokenizer.encode(text).tolist() for text in texts]


@given(data=BYTES)
def test_a_stream_says_what_decode_says(tokenizer: Tokenizer, data: bytes) -> None:
    ids = tokenizer.encode(data)
    stream = StreamDecoder(tokenizer)
    assert "".join([stream.push(int(n)) for n in ids]) + stream.finish() == tokenizer.decode(ids)
