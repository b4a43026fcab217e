"""The tokenizer: exact round trips, special tokens that text cannot make, the same result every time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from stepwell.errors import TokenizerError
from stepwell.tokenizers import ByteBPEConfig, StreamDecoder, Tokenizer, derive_vocab_size, train_tokenizer

TEXTS = (
    "",
    "The well is deep.\n\n    and it's 12345 steps",
    "第一回　甄士隐梦幻识通灵，贾雨村风尘怀闺秀。",
    "👩‍👩‍👧 naïve café e\u0301\r\n\t\0",
    "<|endoftext|> <|endoftext|",
)


@pytest.fixture(scope="module")
def tokenizer(small_text) -> Tokenizer:
    return train_tokenizer([small_text("mixed", 30_000)], ByteBPEConfig(vocab_size=600))


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes(int(n)) for n in ids) == text.encode()


@pytest.mark.parametrize(
    "data", [b"", b"\xff", bytes(range(256)), "井".encode()[:2], b"ok \xc3( \xe4\xba ok", b"\xed\xa0\x80"]
)
def test_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


def test_bytes_of_good_text_encode_like_the_text(tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        assert tokenizer.encode(text.encode()).tolist() == tokenizer.encode(text).tolist()


def test_a_lone_surrogate_is_no_obstacle(tokenizer: Tokenizer) -> None:
    for ids in (tokenizer.encode("a\ud800b"), tokenizer.encode_many(["good", "a\ud800b"])[1]):
        assert tokenizer.decode_bytes(ids) == "a\ud800b".encode("utf-8", "surrogatepass")


def test_many_is_one_by_one(tokenizer: Tokenizer) -> None:
    for text, ids in zip(TEXTS, tokenizer.encode_many(TEXTS), strict=True):
        assert ids.tolist() == tokenizer.encode(text).tolist()


def test_special_tokens_never_arise_from_text(tokenizer: Tokenizer, tmp_path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    for one in (tokenizer, Tokenizer.load(tmp_path / "tokenizer.json")):
        assert one.bos_id == one.eos_id == 0
        for text in ("<|endoftext|>", "a<|endoftext|>b"):
            assert 0 not in one.encode(text)
            assert 0 not in one.encode_many([text])[0]
            assert 0 not in one.encode(text.encode() + b"\xff")
    assert tokenizer.token_bytes(0) == b""
    assert tokenizer.decode([0, *tokenizer.encode("井"), 0]) == "井"


def test_a_special_token_in_the_training_text_is_ordinary_text() -> None:
    tokenizer = train_tokenizer(["<|endoftext|> " * 500], ByteBPEConfig(vocab_size=300))
    assert tokenizer.decode(tokenizer.encode("<|endoftext|>")) == "<|endoftext|>"
    assert 0 not in tokenizer.encode("<|endoftext|>")


def test_vocabulary_counts_everything_and_compresses(tokenizer: Tokenizer, small_text) -> None:
    assert tokenizer.vocab_size == 600
    text = small_text("mixed", 5_000, seed=1)
    assert len(tokenizer.encode(text)) < len(text.encode()) / 3


def test_a_small_text_may_give_fewer_tokens() -> None:
    tokenizer = train_tokenizer(["ab"], ByteBPEConfig(vocab_size=5_000))
    assert 257 <= tokenizer.vocab_size < 300
    assert tokenizer.decode(tokenizer.encode("anything 也可以")) == "anything 也可以"


def test_save_and_load(tokenizer: Tokenizer, tmp_path) -> None:
    path = tmp_path / "deeper" / "tokenizer.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.vocab_size == tokenizer.vocab_size
    for text in TEXTS:
        assert loaded.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert [file.name for file in path.parent.iterdir()] == ["tokenizer.json"]


@pytest.mark.slow
def test_training_is_the_same_in_every_process(small_text, tmp_path) -> None:
    (tmp_path / "text").write_text(small_text("mixed", 30_000), encoding="utf-8")
    program = (
        "import sys, pathlib; from stepwell.tokenizers import *\n"
        "text = pathlib.Path(sys.argv[1]).read_text(encoding='utf-8')\n"
        "print(train_tokenizer(text.split('\\n\\n'), ByteBPEConfig(vocab_size=700)).fingerprint)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "text")], capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != b""


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: json.dumps(json.loads(text) | {"added_tokens": []}).replace("<|endoftext|>", "<|other|>"),
        lambda text: json.dumps({**json.loads(text), "model": {**json.loads(text)["model"], "merges": [["zz", "yy"]]}}),
    ],
    ids=["cut", "empty", "list", "no special token", "merges of nothing"],
)
def test_a_damaged_file_is_named(tokenizer: Tokenizer, tmp_path, damage) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.load(path)


def test_no_file_and_no_text(tmp_path) -> None:
    with pytest.raises(TokenizerError, match="no such file"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TokenizerError, match="cannot be read"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_ids_stay_what_they_were(tokenizer: Tokenizer, small_text) -> None:
    """Runs and checkpoints hold ids; another cutting or other merges would make them say something else."""
    ids = tokenizer.encode(small_text("mixed", 5_000, seed=1) + "".join(TEXTS))
    assert hashlib.sha256(ids.tobytes()).hexdigest()[:16] == "bd26ca0d26c1a188"


@pytest.mark.parametrize("token_id", [-1, 600, 10**9])
def test_an_unknown_id_is_an_error(tokenizer: Tokenizer, token_id: int) -> None:
    with pytest.raises(TokenizerError, match="no such token id"):
        tokenizer.decode([token_id])


def test_a_stream_shows_only_whole_characters(tokenizer: Tokenizer) -> None:
    text = "a井水👩‍👩‍👧b"
    for ids in (tokenizer.encode(text), [tokenizer.encode(bytes([byte]))[0] for byte in text.encode()]):
        stream = StreamDecoder(tokenizer)
        parts = [stream.push(int(n)) for n in ids]
        assert "\ufffd" not in "".join(parts)
        assert "".join(parts) + stream.finish() == text


def test_a_torn_character_shows_at_the_end(tokenizer: Tokenizer) -> None:
    stream = StreamDecoder(tokenizer)
    assert "".join(stream.push(int(n)) for n in tokenizer.encode("a井".encode()[:-1])) == "a"
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize(
    ("train_bytes", "factor", "vocab_size"),
    [(0, 1, 512), (20_000, 1, 512), (10**6, 1, 1024), (10**7, 1, 4096), (10**9, 1, 32768), (10**12, 1, 65536),
     (10**6, 4, 4096), (500_000, 2.94, 2048), (2_300_000, 3, 4096), (10**12, 4, 65536)],
)  # fmt: skip
def test_vocabulary_size_follows_the_text(train_bytes: int, factor: float, vocab_size: int) -> None:
    assert derive_vocab_size(train_bytes, factor) == vocab_size


def test_real_chinese_and_english_come_back(real_data) -> None:
    text = real_data("lm/tinyshakespeare.txt").read_text(encoding="utf-8")[:50_000]
    tokenizer = train_tokenizer([text], ByteBPEConfig(vocab_size=512))
    assert tokenizer.decode(tokenizer.encode(text)) == text
