"""Several adapters over one base: changed over, merged, added up, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stepwell import api
from stepwell.checkpoints import AdapterSet, extend_checkpoint, load_checkpoint, read_adapter, save_checkpoint
from stepwell.errors import CheckpointError, UsageError
from stepwell.export import export_hf, export_peft
from stepwell.models import (
    BottleneckConfig,
    Decoder,
    DecoderConfig,
    LoRAConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    add_adapter,
)
from stepwell.nn import adapter_tensors
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

SHAPE = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}
KINDS = {
    "lora": LoRAConfig(rank=2, targets=("qkv", "up")),
    "dora": LoRAConfig(rank=3, targets=("out", "up"), dora=True),
    "qlora": LoRAConfig(rank=2, base_weights="int8"),
    "bottleneck": BottleneckConfig(width=4),
    "prefix": PrefixTuningConfig(num_tokens=4),
    "prompt": PromptTuningConfig(num_tokens=2),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base, and a checkpoint for each adapter over it."""
    tokenizer = train_tokenizer(["a stepwell is a well"] * 5, ByteBPEConfig(vocab_size=270))
    for number, (name, config) in enumerate([("base", None), *KINDS.items()]):
        model = Decoder(DecoderConfig(vocab_size=270, max_seq_len=16, **SHAPE), seed=0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
        if config is not None:
            add_adapter(model, config)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for tensor in adapter_tensors(model).values():
                tensor += 0.2 * torch.randn(tensor.shape, generator=generator)
        save_checkpoint(tmp_path / name, model.eval(), tokenizer, provenance={})
    return tmp_path


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(16)[None])


def test_a_base_computes_one_at_a_time(folder):
    plain = logits(load_checkpoint(folder / "base").model)
    together = AdapterSet(load_checkpoint(folder / "base").model)
    for name in ("lora", "dora", "bottleneck", "prefix", "prompt"):
        together.add(name, folder / name)
    for name in ("lora", "bottleneck", "dora", "prefix", "prompt", None, "lora"):
        wanted = plain if name is None else logits(load_checkpoint(folder / name).model)
        torch.testing.assert_close(logits(together.use(name)), wanted, rtol=1e-4, atol=1e-5)
        assert name is None or not torch.allclose(wanted, plain, atol=1e-3)
    assert torch.equal(logits(together.use(None)), plain)
    with pytest.raises(UsageError, match="no such adapter"):
        together.use("poem")


def test_a_weighted_sum_is_the_sum_of_the_changes(folder):
    weights = {name: load_checkpoint(folder / name).model.tensors() for name in ("base", "lora", "dora")}
    api.merge(folder / "base", folder / "sum", adapters=[f"{folder / 'lora'}=0.5", f"{folder / 'dora'}=-2"])
    found = load_checkpoint(folder / "sum").model
    for name, tensor in found.tensors().items():
        base = weights["base"][name]
        wanted = base + 0.5 * (weights["lora"][name] - base) - 2 * (weights["dora"][name] - base)
        torch.testing.assert_close(tensor, wanted, rtol=1e-4, atol=1e-5)
    assert found.adapter is None
    assert read_adapter(folder / "sum") is None


@pytest.mark.parametrize("name", ["lora", "dora", "bottleneck", "prefix", "prompt"])
def test_one_alone_is_the_model_that_was_trained(folder, name):
    told = api.merge(folder / "base", folder / "one", adapters=[str(folder / name)])
    assert [(one["kind"], one["weight"]) for one in told["adapters"]] == [(KINDS[name].kind, 1.0)]
    ours, trained = load_checkpoint(folder / "one"), load_checkpoint(folder / name)
    assert torch.equal(logits(ours.model), logits(trained.model))
    assert read_adapter(folder / "one") is not None
    assert ours.provenance["adapters"][0]["sha256"]


def test_what_was_learned_over_few_bits_goes_onto_the_whole_weights(folder):
    told = api.merge(folder / "base", folder / "one", adapters=[str(folder / "qlora")])
    assert told["adapters"][0]["base_weights"] == "int8"
    assert 0.001 < told["adapters"][0]["rounded_ratio"] < 0.02
    whole, rounded, base = (logits(load_checkpoint(folder / name).model) for name in ("one", "qlora", "base"))
    assert not torch.equal(whole, rounded)
    assert (whole - rounded).abs().max() < 0.2 * (base - rounded).abs().max()


def test_what_cannot_be_done_is_named(folder):
    with pytest.raises(UsageError, match="cannot be merged"):
        api.merge(folder / "base", folder / "x", adapters=[str(folder / "lora"), str(folder / "bottleneck")])
    with pytest.raises(CheckpointError, match="holds no adapter"):
        api.merge(folder / "base", folder / "x", adapters=[str(folder / "base")])
    with pytest.raises(CheckpointError, match="no such file"):
        api.merge(folder / "base", folder / "x", adapters=[str(folder / "nowhere")])
    with pytest.raises(CheckpointError, match="cannot be merged"):
        api.merge(folder / "bottleneck", folder / "x", adapters=[str(folder / "lora")])
    with pytest.raises(UsageError, match="weight is no number"):
        api.merge(folder / "base", folder / "x", adapters=[f"{folder / 'lora'}=half"])
    with pytest.raises(UsageError, match="no adapter is named"):
        api.merge(folder / "base", folder / "x", adapters=[])
    with pytest.raises(UsageError, match="is not empty"):
        api.merge(folder / "base", folder / "base", adapters=[str(folder / "lora")])
    assert not (folder / "x").exists()


def test_where_only_weights_are_taken_over_an_adapter_beside_them_is_refused(folder):
    with pytest.raises(CheckpointError, match="only a part of it"):
        extend_checkpoint(folder / "bottleneck", ["a text"], 2, folder / "x")
    with pytest.raises(CheckpointError, match="cannot be merged into the weights"):
        export_hf(folder / "prefix", folder / "x", parity=False)
    with pytest.raises(CheckpointError, match="no counterpart in peft"):
        export_peft(folder / "bottleneck", folder / "x")
    assert not (folder / "x").exists()


def test_an_adapter_of_another_model_is_named(folder):
    other = load_checkpoint(folder / "base")
    wide = Decoder(DecoderConfig(vocab_size=270, max_seq_len=16, **{**SHAPE, "num_layers": 1}), seed=0)
    save_checkpoint(folder / "other", wide, other.tokenizer, provenance={})
    with pytest.raises(CheckpointError, match="adapter of another model"):
        api.merge(folder / "other", folder / "x", adapters=[str(folder / "lora")])
