"""Tokenizers from GGUF fields: the rules that go with each kind, and every fault by name."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.errors import TokenizerError
from stepwell.tokenizers import gguf_tokenizer
from stepwell.tokenizers.spelling import BYTE_OF_LETTER

BYTES = sorted(BYTE_OF_LETTER)
GPT2 = {
    "model": "gpt2",
    "pre": "gpt-2",
    "tokens": [*BYTES, "ab", "<|end|>", "<turn>", "  "],
    "token_type": [1] * 257 + [3, 3, 4],
    "merges": ["a b"],
    "eos_token_id": 257,
}
LLAMA = {
    "model": "llama",
    "tokens": ["<unk>", "<s>", "</s>", "▁", "a", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))],
    "scores": [0.0, 0.0, 0.0, -3.0, -2.0, -1.0, *[0.0] * 256],
    "token_type": [2, 3, 3, 1, 1, 1, *[6] * 256],
}
BERT = {"model": "bert", "tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁the", "s", "▁["]}


def build(kind: dict[str, Any], **changes: Any):
    fields = {name: value for name, value in (kind | changes).items() if value is not None}
    template = fields.pop("chat_template", None)
    return gguf_tokenizer(
        {f"tokenizer.ggml.{name}": value for name, value in fields.items()} | {"tokenizer.chat_template": template}
    )


def test_bytes():
    made = build(GPT2, eot_token_id=258, chat_template="{{ eos_token }}")
    assert made.encode("ab  <turn><|end|>").tolist()[:2] == [256, 259]
    assert made.decode(made.encode("ab  <turn>井\0")) == "ab  <turn>井\0"
    assert made.encode("<turn>", special=True).tolist() == [258]
    assert (made.bos_id, made.eos_id, made.stop_ids) == (257, 257, {257, 258})
    assert (made.adds_bos, made.adds_eos, made.is_lossless) == (False, False, True)
    assert made.chat([{"role": "user", "content": ""}]).tolist() == [257]


@pytest.mark.parametrize(
    ("changes", "adds"),
    [
        ({}, (False, False)),
        ({"pre": "llama-bpe"}, (True, False)),
        ({"pre": "llama-bpe", "add_bos_token": False}, (False, False)),
        ({"pre": "roberta-bpe"}, (True, True)),
        ({"add_bos_token": True, "add_eos_token": True}, (True, True)),
        ({"add_sep_token": True}, (False, True)),
    ],
)
def test_ends_as_the_file_says_them_or_the_family_has_them(changes, adds):
    made = build(GPT2, **changes)
    assert (made.adds_bos, made.adds_eos) == adds
    ids = made.encode("ab").tolist()
    assert made._backend.encode("ab").ids == [made.bos_id] * adds[0] + ids + [made.eos_id] * adds[1]


def test_a_missing_pre_tokenizer_is_the_default():
    text = "ab.ab 12345 ab's"
    assert build(GPT2, pre=None).encode(text).tolist() == build(GPT2, pre="default").encode(text).tolist()


def test_a_word_that_is_a_token_is_taken_at_once():
    """Llama 3 looks a piece up before it merges; GPT-2 merges only."""
    tokens = [*BYTES, "abc", "<|end|>"]
    changes = {"tokens": tokens, "token_type": None, "merges": []}
    assert build(GPT2, **changes).encode("abc").tolist() == [BYTES.index(letter) for letter in "abc"]
    assert build(GPT2, pre="llama-bpe", **changes).encode("abc").tolist() == [256]


def test_sentencepiece():
    made = build(LLAMA)
    assert made.encode("a a").tolist() == [5, 5]
    assert made.encode("é").tolist() == [3, 6 + 0xC3, 6 + 0xA9]
    assert made.decode([5, 6 + 0xC3, 6 + 0xA9, 5]) == "aé a"
    assert (made.bos_id, made.eos_id, made.unk_id, made.adds_bos) == (1, 2, 0, True)
    assert build(LLAMA, add_space_prefix=False).encode("a a").tolist() == [4, 5]
    starts = made.word_starts()
    assert starts[:6].tolist() == [True, True, True, True, False, True]
    assert {n - 6 for n in range(6, 262) if starts[n]} == {*range(9, 14), *range(28, 33)}  # the blanks of ASCII


def test_bert():
    made = build(BERT, cls_token_id=2, seperator_token_id=3)
    assert made.encode("The thes [").tolist() == [5, 5, 6, 7]
    assert (made.bos_id, made.eos_id, made.mask_id, made.adds_bos, made.adds_eos) == (2, 3, 4, True, True)
    assert made.decode(made.encode("thes the")) == "thes the"
    cased = build(BERT, tokens=[*BERT["tokens"], "▁The"])
    assert cased.encode("The the").tolist() == [8, 5]


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        (GPT2, {"model": None}, "kind of vocabulary is not supported\ngot: None\nwanted: gpt2, llama, bert, t5"),
        (GPT2, {"model": "rwkv"}, "got: rwkv"),
        (GPT2, {"tokens": None}, r"tokenizer\.ggml\.tokens is missing"),
        (GPT2, {"merges": None}, r"tokenizer\.ggml\.merges is missing"),
        (GPT2, {"merges": ["a zz"]}, "vocabulary does not hold together"),
        (GPT2, {"merges": ["ab"]}, "vocabulary does not hold together"),
        (GPT2, {"pre": "klingon"}, "pre-tokenizer is not known\ngot: klingon\nwanted: default, gpt-2"),
        (GPT2, {"token_type": [1, 2]}, "token_type does not fit the tokens\ngot: 2 values"),
        (GPT2, {"eos_token_id": 260}, "eos_token_id is not in the vocabulary\ngot: 260\nwanted: 0 to 259"),
        (GPT2, {"eos_token_id": None}, "does not say which token ends a text"),
        (GPT2, {"eot_token_id": 300}, "no token"),
        (LLAMA, {"scores": None}, r"tokenizer\.ggml\.scores is missing"),
        (LLAMA, {"scores": [0.0]}, "scores does not fit the tokens"),
        (LLAMA, {"model": "t5", "scores": None}, r"tokenizer\.ggml\.scores is missing"),
        (LLAMA, {"model": "t5", "precompiled_charsmap": [1, 2, 3]}, "vocabulary does not hold together"),
        (BERT, {"tokens": ["▁the"]}, "is no WordPiece vocabulary"),
    ],
)
def test_every_fault_is_named(kind, changes, named):
    with pytest.raises(TokenizerError, match=named) as fault:
        build(kind, **changes)
    assert fault.value.what.startswith(("GGUF tokenizer: ", "tokenizer: "))
