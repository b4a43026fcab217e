"""Read from transformers, compared with it, written back to it: every family, nothing changed on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_transformers import TINY, save_tiny, tiny

from stepwell.checkpoints import FAMILIES, import_model
from stepwell.checkpoints.parity import LARGEST_RATIO
from stepwell.export import export_hf
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))


def same_bits(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name].view(torch.uint8), tensor.view(torch.uint8)), name


def test_every_family_has_a_tiny_model() -> None:
    import transformers

    types = {getattr(transformers, config).model_type for _, config, _ in TINY.values()}
    assert types == FAMILIES.keys()


QUICK = ("llama", "gpt2", "mixtral", "apertus", "bert without head")
"""A family for each way that matrices can lie; the others are as thorough, and slow together."""

EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TINY]


@pytest.mark.parametrize("name", EVERY)
def test_nothing_changes_on_the_way_in_and_out(name: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Both ends measure themselves against transformers; the tensors that come out are those that went in."""
    source = save_tiny(tiny(name), tmp_path / "source", tokenizer)
    brought = import_model(str(source), tmp_path / "ours")
    assert brought["parity"]["ratio"] < LARGEST_RATIO
    assert brought["parity"]["greedy_equal"] == brought["parity"]["num_greedy"]
    assert any("more rows than there are tokens" in note for note in brought["notes"])
    written = export_hf(tmp_path / "ours", tmp_path / "out")
    assert written["parity"]["ratio"] < LARGEST_RATIO
    assert written["parity"]["greedy_equal"] == written["parity"]["num_greedy"]
    same_bits(load_file(tmp_path / "out" / "model.safetensors"), load_file(source / "model.safetensors"))
    assert read(tmp_path / "out" / "config.json") == read(source / "config.json")
    if (source / "generation_config.json").exists():  # an encoder generates nothing
        assert read(tmp_path / "out" / "generation_config.json") == read(source / "generation_config.json")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_weights_keep_the_precision_of_their_source(dtype: torch.dtype, tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = save_tiny(tiny("llama").to(dtype), tmp_path / "source", tokenizer)
    brought = import_model(str(source), tmp_path / "ours")
    assert brought["dtype"] == str(dtype).removeprefix("torch.")
    stored = load_file(tmp_path / "ours" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    written = export_hf(tmp_path / "ours", tmp_path / "out")
    assert written["dtype"] == brought["dtype"]
    same_bits(load_file(tmp_path / "out" / "model.safetensors"), load_file(source / "model.safetensors"))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_written_config_says_what_was_read(name: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Without the config it came with, a model is spelled anew, and means the same."""
    source = save_tiny(tiny(name), tmp_path / "source", tokenizer)
    original = read(source / "config.json")
    family = FAMILIES[original["model_type"]]
    config = family.read_config(original)
    assert family.read_config(family.write_config(config)) == config


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
