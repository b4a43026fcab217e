"""Frozen parts of a model, and other adapters than LoRA, in a training run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import CheckpointError, ConfigError, RunError, Stopped
from stepwell.models import (
    Decoder,
    DecoderConfig,
    LoRAConfig,
    PrefixTuningConfig,
    add_adapter,
    build_model,
    encoder_sized,
)
from stepwell.nn import QuantizedLinear, adapter_tensors
from stepwell.runs import read_lines
from stepwell.training.adapting import fits, freeze

SHAPE = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}
ADAPTERS = {
    "dora": "{kind: lora, rank: 2, dora: true}",
    "qlora": "{kind: lora, rank: 2, base_weights: int4}",
    "bottleneck": "{kind: bottleneck, width: 4}",
    "prefix": "{kind: prefix, num_tokens: 3}",
    "prompt": "{kind: prompt, num_tokens: 3}",
    "bottleneck over int8": "{kind: bottleneck, width: 4, base_weights: int8}",
}
SLOW = pytest.mark.slow


def trained_before(seed: int = 0) -> Decoder:
    model = Decoder(DecoderConfig(vocab_size=257, max_seq_len=16, **SHAPE), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def make(make_trainer, tmp_path) -> Callable[..., Any]:
    def build(folder: str = "run", *, training: dict[str, Any], seed: int = 0, **others: Any) -> Any:
        return make_trainer(tmp_path / folder, training=training, built=trained_before(seed), **others)

    return build


def logits(model: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.arange(16)[None])


def files(directory: Path, name: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (directory / "checkpoints" / name).glob("*.safetensors")}


@pytest.mark.parametrize(
    ("name", "pattern", "fit"),
    [
        ("embedding.weight", "embedding", True),
        ("body.embedding_norm.weight", "embedding", False),
        ("body.blocks.3.mlp.up.weight", "blocks.0-3", True),
        ("body.blocks.4.mlp.up.weight", "blocks.0-3", False),
        ("body.blocks.13.mlp.up.weight", "blocks.0-3", False),
        ("body.blocks.13.mlp.up.weight", "blocks.13", True),
        ("body.blocks.4.mlp.up.weight", "mlp.up", True),
        ("body.blocks.4.mlp.up.weight", "mlp.weight", False),
        ("body.blocks.4.mlp_norm.weight", "*norm", True),
        ("head.weight", "body.blocks.0.mlp.up.weight", False),
    ],
)
def test_which_names_a_pattern_fits(name, pattern, fit):
    assert fits(name, pattern) is fit


def test_what_is_frozen_stays_and_the_rest_learns(make):
    trainer = make(training={"freeze": "[embedding, blocks.0, '*norm']"})
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    trainer.run()
    changed = {name for name, tensor in trainer.model.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == {
        f"body.blocks.1.{part}.weight" for part in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    } | {name for name in before if name == "head.weight"}


def test_a_pattern_that_fits_nothing_is_named_with_what_there_is(make):
    with pytest.raises(ConfigError, match=r"training\.freeze: fits nothing") as caught:
        make(training={"freeze": "[layers.0-3]"})
    assert "layers.0-3" in str(caught.value)
    assert "blocks.0.mlp.up" in str(caught.value)


def test_nothing_left_to_learn_is_an_error():
    with pytest.raises(ConfigError, match="nothing is left to learn"):
        freeze(trained_before(), ["*"])


def test_an_adapter_freezes_all_by_itself(make):
    with pytest.raises(ConfigError, match="freeze: null beside an adapter"):
        make(training={"freeze": "[embedding]", "adapter": "{kind: lora}"})


@SLOW
def test_a_run_with_frozen_parts_ends_with_the_same_bits_after_a_stop(make, tmp_path):
    training = {"freeze": "[embedding, blocks.0]", "layer_decay": 0.5}
    make("whole", training=training).run()
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 5

    with pytest.raises(Stopped):
        make("parts", training=training, stop_requested=stop).run()
    make("parts", training=training).run()
    for name in ("best", "stable", "step-000012"):
        assert files(tmp_path / "whole", name) == files(tmp_path / "parts", name), name
    with pytest.raises(RunError, match="cannot be trained further"):
        make("parts", training={**training, "freeze": "[embedding]"})


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_learns_and_its_checkpoint_computes_what_was_trained(make, tmp_path, kind):
    faster = {"optimizer.learning_rate": 0.2} if kind in ("prefix", "prompt") else {}  # little of it is heard at first
    trainer = make(training={"adapter": ADAPTERS[kind], **faster})
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    trainer.run()
    changed = {name for name, tensor in trainer.model.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == adapter_tensors(trainer.model).keys()
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    losses = [line["loss"] for line in lines if line["kind"] == "evaluation"]  # each time of the same text
    assert losses[-1] < losses[0]
    loaded = load_checkpoint(tmp_path / "run" / "checkpoints" / "step-000012").model
    torch.testing.assert_close(logits(loaded), logits(trainer.model), rtol=1e-4, atol=1e-5)
    assert (loaded.adapter is None) == (kind in ("dora", "qlora"))


@SLOW
@pytest.mark.parametrize("kind", ADAPTERS)
def test_stopped_and_started_again_it_ends_with_the_same_bits(make, tmp_path, kind):
    training = {"adapter": ADAPTERS[kind]}
    make("whole", training=training).run()
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 5

    with pytest.raises(Stopped):
        make("parts", training=training, stop_requested=stop).run()
    make("parts", training=training).run()
    for name in ("best", "stable", "step-000012"):
        assert files(tmp_path / "whole", name) == files(tmp_path / "parts", name), name
        assert "adapter.safetensors" in files(tmp_path / "whole", name)
    with pytest.raises(RunError, match="cannot be trained further"):
        make("parts", training=training, seed=1)


def test_a_damaged_adapter_is_found(make, tmp_path):
    make(training={"adapter": ADAPTERS["bottleneck"]}).run()
    folder = tmp_path / "run" / "checkpoints" / "best"
    (folder / "adapter.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors: is damaged"):
        load_checkpoint(folder)


@pytest.mark.parametrize("weights", ["bfloat16", "int8", "int4"])
def test_all_linear_layers_of_the_blocks_are_held_in_few_bits_and_no_head(weights):
    model = trained_before()
    add_adapter(model, LoRAConfig(rank=2, targets=("qkv",), base_weights=weights))
    held = {name.removesuffix(".base") for name, part in model.named_modules() if isinstance(part, QuantizedLinear)}
    assert held == {
        f"body.blocks.{n}.{part}" for n in (0, 1) for part in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    }
    assert model.tensors().keys() == trained_before().tensors().keys()


def test_a_head_that_the_loss_reads_part_by_part_is_no_target():
    model = Decoder(DecoderConfig(vocab_size=40, max_seq_len=16, tie_embeddings=False, **SHAPE))
    with pytest.raises(ValueError, match=r"no linear layer is called head; there are down, out, qkv, up"):
        add_adapter(model, LoRAConfig(targets=("head",)))


def test_an_encoder_takes_one_too():
    model = build_model(encoder_sized(2, vocab_size=300, max_seq_len=32))
    add_adapter(model, LoRAConfig(rank=2, targets=("qkv", "down"), dora=True, base_weights="int8"))
    assert model(torch.arange(8)[None]).isfinite().all()
    with pytest.raises(ValueError, match="already"):
        add_adapter(model, LoRAConfig(rank=2))


def test_packed_rows_and_a_cache_see_a_prefix_as_a_text_alone_does():
    model = trained_before()
    add_adapter(model, PrefixTuningConfig(num_tokens=3))
    with torch.no_grad():
        for tensor in adapter_tensors(model).values():
            tensor += torch.randn(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel()))
        model.eval()
        first, second = torch.arange(7)[None], torch.arange(50, 59)[None]
        packed = model(torch.cat((first, second), 1), torch.tensor([[0] * 7 + [1] * 9]))
        torch.testing.assert_close(packed[:, 7:], model(second), rtol=1e-4, atol=1e-5)
        state, _ = model.begin(second[:, :4], 16)
        torch.testing.assert_close(model.extend(state, second[:, 4:]), model(second)[:, -1], rtol=1e-4, atol=1e-5)
        padded = model.start(1, left_padding=torch.tensor([3]))
        told = model.extend(padded, torch.cat((torch.zeros(1, 3, dtype=torch.long), second), 1))
        torch.testing.assert_close(told, model(second)[:, -1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(second), trained_before()(second), atol=1e-2)
