"""Hugging Face directories: where roles and templates are looked for, and every fault by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from stepwell.errors import TokenizerError
from stepwell.tokenizers import read_tokenizer
from stepwell.tokenizers.spelling import BYTE_OF_LETTER

BYTES = {letter: n for n, letter in enumerate(sorted(BYTE_OF_LETTER))}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##s", "é", "e"]


def tokenizer_json(*special: str, bos: str | None = None, added: bool = True) -> str:
    """A byte-level tokenizer of single bytes with special tokens from id 256 on."""
    vocab = BYTES | {token: 256 + n for n, token in enumerate(special)}
    backend = tokenizers.Tokenizer(models.BPE(vocab, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if added:
        backend.add_special_tokens(list(special))
    if bos is not None:
        backend.post_processor = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos} $B", [(bos, vocab[bos])])
    return backend.to_str()


def folder(path: Path, **files: Any) -> Path:
    """Write files; `tokenizer_config` is tokenizer_config.json, `vocab_txt` is vocab.txt."""
    for name, content in files.items():
        stem, _, ending = name.rpartition("_")
        file = f"{stem}.{ending}" if ending in ("txt", "jinja", "model", "spm") else f"{name}.json"
        if isinstance(content, bytes):
            (path / file).write_bytes(content)
        else:
            (path / file).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_roles_as_the_tokenizer_says_them(tmp_path):
    made = read_tokenizer(
        folder(
            tmp_path,
            tokenizer=tokenizer_json("<s>", "</s>", "<turn>", "<p>", bos="<s>"),
            special_tokens_map={"bos_token": "</s>", "pad_token": {"content": "<p>"}},
            tokenizer_config={"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "unk_token": None},
            config={"eos_token_id": 258, "bos_token_id": 3},
            generation_config={"eos_token_id": [257, 258, 5_000]},
        )
    )
    assert (made.bos_id, made.eos_id, made.pad_id, made.unk_id) == (256, 257, 259, None)
    assert made.stop_ids == {257, 258}  # an id that no token has cannot come
    assert (made.adds_bos, made.adds_eos) == (True, False)
    assert made.roles.chat_tokens == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<p>"}


@pytest.mark.parametrize(
    ("special", "settings", "config", "bos", "eos", "adds_bos"),
    [
        (("<|endoftext|>",), {}, {}, 256, 256, False),  # GPT-2
        (("<|endoftext|>", "<|im_end|>"), {"bos_token": None, "eos_token": "<|im_end|>"}, {}, 256, 257, False),  # Qwen
        (("<x>", "<y>"), {"bos_token": None, "eos_token": "<y>"}, {"bos_token_id": 256}, 256, 257, False),
        (("<x>", "<y>"), {}, {"eos_token_id": [257, 256]}, 257, 257, False),
        (("[CLS]", "[SEP]"), {}, {}, 256, 257, False),
        (("<s>", "</s>"), {"add_bos_token": True}, {}, 256, 257, True),
        (("<s>", "</s>"), {"add_bos_token": True, "bos_token": None}, {}, 257, 257, False),
        (("<bos>", "<eos>"), {"add_bos_token": False}, {}, 256, 257, False),
        (("<s>", "</s>"), {"bos_token": "", "eos_token": ""}, {"pad_token_id": -1}, 256, 257, False),  # the first Llama
    ],
)
def test_roles_that_nobody_names(tmp_path, special, settings, config, bos, eos, adds_bos):
    made = read_tokenizer(
        folder(tmp_path, tokenizer=tokenizer_json(*special), tokenizer_config=settings, config=config)
    )
    assert (made.bos_id, made.eos_id, made.adds_bos) == (bos, eos, adds_bos)


def test_a_word_is_no_role(tmp_path):
    """`<unk>` and `</s>` that a vocabulary merely learned are not special."""
    files = folder(tmp_path, tokenizer=tokenizer_json("<unk>", "</s>", added=False), config={"eos_token_id": 3})
    made = read_tokenizer(files)
    assert (made.eos_id, made.unk_id) == (3, None)


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({"tokenizer_config": {"chat_template": "one"}}, "one"),
        ({"tokenizer_config": {"chat_template": "one"}, "chat_template_jinja": "two"}, "two"),
        (
            {
                "tokenizer_config": {
                    "chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
                }
            },
            "d",
        ),
        ({"tokenizer_config": {"chat_template": [{"name": "rag", "template": "r"}]}}, None),
        ({}, None),
    ],
)
def test_where_the_chat_template_is(tmp_path, files, template):
    made = read_tokenizer(folder(tmp_path, tokenizer=tokenizer_json("<|endoftext|>"), **files))
    assert made.chat_template == template


def test_added_tokens_that_stand_beside(tmp_path):
    made = read_tokenizer(
        folder(
            tmp_path,
            vocab=BYTES | {"<|endoftext|>": 256},
            merges_txt="#version: 0.2\n",
            added_tokens={"<extra>": 258, "<turn>": 257},
            tokenizer_config={"additional_special_tokens": ["<turn>"]},
        )
    )
    assert made.vocab_size == 259
    assert 257 in made.special_ids
    assert 258 not in made.special_ids
    assert made.encode("<turn><extra>").tolist()[-1] == 258
    assert made.encode("<turn>", special=True).tolist() == [257]
    assert made.decode([258, 257]) == "<extra>"


def test_wordpiece_takes_its_settings(tmp_path):
    files = folder(tmp_path, vocab_txt="\n".join(WORDS) + "\r\n")
    assert read_tokenizer(files).encode("THE thes É").tolist() == [5, 5, 6, 8]
    folder(tmp_path, tokenizer_config={"do_lower_case": False})
    assert read_tokenizer(files).encode("THE thes é").tolist() == [1, 5, 6, 7]
    made = read_tokenizer(folder(tmp_path, tokenizer_config={"strip_accents": False}))
    assert made.encode("É").tolist() == [7]
    assert (made.bos_id, made.eos_id, made.pad_id, made.unk_id, made.mask_id) == (2, 3, 0, 1, 4)
    assert (made.adds_bos, made.adds_eos) == (True, True)


TINY = tokenizer_json("<|endoftext|>")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({}, "has no tokenizer that can be read\ngot: nothing"),
        ({"config": {}}, r"got: config\.json"),
        ({"tokenizer": TINY[:300]}, r"tokenizer\.json: damaged"),
        ({"tokenizer": "{}"}, r"tokenizer\.json: damaged"),
        ({"tokenizer": TINY.replace("BPE", "Magic")}, r"tokenizer\.json: damaged"),
        ({"tokenizer": TINY, "tokenizer_config": "{"}, r"tokenizer_config\.json: damaged"),
        ({"tokenizer": TINY, "tokenizer_config": "[]"}, r"tokenizer_config\.json: damaged"),
        ({"tokenizer": TINY, "tokenizer_config": {"added_tokens_decoder": {"x": "y"}}}, "files are damaged"),
        ({"tokenizer": TINY, "tokenizer_config": {"added_tokens_decoder": {"300": "<y>"}}}, "'<y>' would be 257"),
        ({"tokenizer": TINY, "tokenizer_config": {"eos_token": "<end>"}}, "eos_token is not in the vocabulary"),
        ({"tokenizer": tokenizer_json("<x>")}, "does not say which token ends a text"),
        ({"vocab": BYTES, "merges_txt": "", "config": {"model_type": "xlm"}}, "not supported\ngot: xlm"),
        ({"vocab": BYTES, "merges_txt": "a b c"}, r"merges\.txt: damaged\ngot: a b c"),
        ({"vocab": BYTES, "merges_txt": "a b"}, r"merges\.txt: damaged"),
        ({"vocab": BYTES, "merges_txt": b"\xff"}, r"merges\.txt: cannot be read"),
        ({"vocab": "[", "merges_txt": ""}, r"vocab\.json: damaged"),
        ({"vocab": BYTES, "merges_txt": ""}, "does not say which token ends a text"),
        ({"vocab_txt": "the\nwell"}, r"vocab\.txt: is no WordPiece vocabulary\ngot: no \[UNK\], \[CLS\], \[SEP\]"),
        ({"spiece_model": b"\x0a\xff\xff"}, r"spiece\.model: damaged"),
        ({"spiece_model": b""}, r"spiece\.model: damaged\ngot: no pieces"),
        ({"source_spm": b"", "target_spm": b"", "vocab": {"a": 1}}, r"vocab\.json: is no vocabulary of two languages"),
        ({"source_spm": b"x", "target_spm": b"", "vocab": {"</s>": 0, "<unk>": 1}}, r"source\.spm: damaged"),
    ],
)
def test_every_fault_is_named(tmp_path, files, named):
    with pytest.raises(TokenizerError, match=named) as fault:
        read_tokenizer(folder(tmp_path, **files))
    assert str(tmp_path) in fault.value.what


def test_no_directory(tmp_path):
    with pytest.raises(TokenizerError, match="has no tokenizer that can be read"):
        read_tokenizer(tmp_path / "nowhere")
