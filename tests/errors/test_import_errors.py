"""Weights that cannot come in or go out: the command says what, got, wanted and what to do, and leaves no litter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import save_tiny, tiny

from stepwell.checkpoints import save_checkpoint
from stepwell.models import DecoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

pytest.importorskip("transformers")

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return save_tiny(tiny("llama"), tmp_path_factory.mktemp("tiny") / "llama", tokenizer)


@pytest.fixture
def source(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be damaged; the commands run beside it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(original, tmp_path / "llama")
    return tmp_path / "llama"


def refused(ran: Any, code: int, *words: str) -> None:
    """Failed as it should: nothing on standard output, no traceback, nothing written."""
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert "something went wrong inside" not in ran.err
    for word in words:
        assert word in ran.err, ran.err
    assert not Path("out").exists()
    assert not [path.name for path in Path().iterdir() if path.name.startswith(".")]


def say(source: Path, **fields: Any) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["words", "json"])
def test_missing_and_extra_tensors_are_all_listed(stepwell: Command, source: Path, json_too: list[str]) -> None:
    tensors = load_file(source / "model.safetensors")
    gone = [name for name in tensors if "layernorm" in name]
    for name in gone:
        tensors[f"{name}.renamed"] = tensors.pop(name)
    save_file(tensors, source / "model.safetensors")
    renamed = [f"{name}.renamed" for name in gone]
    refused(
        stepwell("import", "llama", "out", *json_too), 1, "4 tensors missing", "4 tensors not known", *gone, *renamed
    )


def test_a_config_that_does_not_fit_its_weights(stepwell: Command, source: Path) -> None:
    say(source, hidden_size=64)
    refused(stepwell("import", "llama", "out"), 1, "llama: the weights do not fit its config", "of another shape",
            "model.embed_tokens.weight (300, 32), wanted (300, 64)")  # fmt: skip


def test_head_counts_that_do_not_divide(stepwell: Command, source: Path) -> None:
    say(source, num_key_value_heads=3)
    refused(stepwell("import", "llama", "out"), 1, "llama: config.json", "num_kv_heads divides (4 / 3)")


def test_a_vocabulary_that_does_not_match(stepwell: Command, source: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        tensors[name] = tensors[name][:100].clone()
    save_file(tensors, source / "model.safetensors")
    say(source, vocab_size=100)
    refused(stepwell("import", "llama", "out"), 1, "280 tokens", "100 rows", "wanted:", "do:")


def test_a_tokenizer_that_is_not_there(stepwell: Command, source: Path) -> None:
    (source / "tokenizer.json").unlink()
    refused(stepwell("import", "llama", "out"), 1, "llama: has no tokenizer", "tokenizer.json")


def test_a_pickle(stepwell: Command, source: Path) -> None:
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    refused(stepwell("import", "llama", "out"), 1, "is a pickle", "--allow-pickle")
    ran = stepwell("import", "llama", "out", "--allow-pickle")
    assert ran.code == 0, ran.err
    assert "greedy tokens are the same" in ran.out


def test_an_unknown_family_and_an_unknown_field(stepwell: Command, source: Path) -> None:
    say(source, hidden_act="swoosh")
    refused(stepwell("import", "llama", "out"), 1, "hidden_act", "swoosh", "silu")
    say(source, model_type="mamba")
    refused(stepwell("import", "llama", "out"), 1, "model_type mamba", "llama")


def test_a_type_of_quantisation(stepwell: Command, source: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter("model.gguf", "llama")
    kind = gguf.GGMLQuantizationType.TQ1_0
    writer.add_tensor("token_embd.weight", torch.zeros(4, 54, dtype=torch.uint8).numpy(), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(stepwell("import", "model.gguf", "out"), 1, "token_embd.weight (TQ1_0)", "Q8_0")


def test_nothing_there_and_something_there(stepwell: Command, source: Path) -> None:
    refused(stepwell("import", "nothing", "out"), 1, "nothing: no such file or directory", "owner/name")
    refused(stepwell("import", "llama", "llama"), 2, "llama: is not empty", "another folder")
    refused(stepwell("export", "nothing", "out"), 1, "nothing: no such file or directory")
    refused(stepwell("import", "llama"), 2, "OUT")


def test_what_no_class_computes(stepwell: Command, source: Path, tokenizer: Tokenizer) -> None:
    config = DecoderConfig(vocab_size=280, max_seq_len=16, num_layers=1, d_model=16, num_heads=2, num_kv_heads=2,
                           head_dim=8, d_ff=16, sinks=True)  # fmt: skip
    save_checkpoint(Path("mine"), build_model(config), tokenizer, provenance={})
    refused(stepwell("export", "mine", "out"), 1, "no class of transformers", "sinks is true", "recipe")
    refused(stepwell("export", "mine", "out", "--to", "onnx"), 2, "unknown format", "onnx", "hf")
    refused(stepwell("export", "mine", "out", "--dtype", "int8"), 2, "unknown precision", "bfloat16")


def test_a_damaged_checkpoint_does_not_go_out(stepwell: Command, source: Path) -> None:
    assert stepwell("import", "llama", "mine", "--no-parity").code == 0
    content = Path("mine/model.safetensors").read_bytes()
    Path("mine/model.safetensors").write_bytes(content[:-1])
    refused(stepwell("export", "mine", "out"), 1, "model.safetensors: is damaged or truncated")


def test_sequences_past_the_window(stepwell: Command, source: Path) -> None:
    """A long prompt is read from its end, and a long text in parts; neither is an error."""
    assert stepwell("import", "llama", "mine", "--no-parity").code == 0
    long = "a well " * 100
    assert stepwell("predict", "mine", "--prompt", long, "--max-tokens", 3).code == 0
    assert stepwell("score", "mine", "--text", long).code == 0
