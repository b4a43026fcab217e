"""LoRA in a training run: what learns, what is written, and going on to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stepwell.checkpoints import load_checkpoint, read_optimizer
from stepwell.errors import RunError, Stopped, TrainingError
from stepwell.models import Decoder, DecoderConfig
from stepwell.nn import adapter_tensors
from stepwell.runs import read_lines

LORA = {"adapter": "{kind: lora, rank: 2, alpha: 8, dropout: 0.1}"}
SHAPE = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}


def trained_before(seed: int = 0) -> Decoder:
    """A model whose every matrix does something, as one that is fine-tuned has."""
    model = Decoder(DecoderConfig(vocab_size=257, max_seq_len=16, **SHAPE), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def make(make_trainer, tmp_path) -> Callable[..., Any]:
    def build(folder: str = "run", *, training: dict[str, Any] = LORA, seed: int = 0, **others: Any) -> Any:
        return make_trainer(tmp_path / folder, training=training, built=trained_before(seed), **others)

    return build


def logits(model: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.arange(16)[None])


def files(directory: Path, name: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (directory / "checkpoints" / name).glob("*.safetensors")}


def test_only_the_change_learns_and_it_learns(make, tmp_path):
    trainer = make()
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    trainer.run()
    changed = {name for name, tensor in trainer.model.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == adapter_tensors(trainer.model).keys()
    measured = [line["loss"] for line in read_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "step"]
    assert measured[-1] < measured[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best", "step-000012"])
def test_a_checkpoint_is_a_plain_model_with_the_change_in_it(make, tmp_path, name):
    trainer = make()
    trainer.run()
    loaded = load_checkpoint(tmp_path / "run" / "checkpoints" / name).model
    assert dict(loaded.named_parameters()).keys() == dict(trained_before().named_parameters()).keys()
    torch.testing.assert_close(logits(loaded), logits(trainer.model), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(loaded), logits(trained_before()), rtol=1e-2, atol=1e-2)


def test_a_and_b_stand_apart_and_exact(make, tmp_path):
    trainer = make()
    trainer.run()
    kept = read_optimizer(tmp_path / "run" / "checkpoints" / "step-000012")
    for name, tensor in adapter_tensors(trainer.model).items():
        assert torch.equal(kept[f"{name}:parameter"], tensor)
    assert not (tmp_path / "run" / "checkpoints" / "best" / "optimizer.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 5, 9])
def test_stopped_and_started_again_it_ends_with_the_same_bits(make, tmp_path, step):
    make("whole").run()
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == step

    with pytest.raises(Stopped):
        make("parts", stop_requested=stop).run()
    make("parts").run()
    for name in ("best", "stable", "step-000012"):
        assert files(tmp_path / "whole", name) == files(tmp_path / "parts", name), name


@pytest.mark.slow
def test_a_round_goes_on_from_the_stable_part_of_another(make, tmp_path):
    make("first").run()
    stable = tmp_path / "first" / "checkpoints" / "stable"
    longer = make("longer", training={**LORA, "steps": 18}, start_from=stable)
    kept = read_optimizer(stable)
    for name, tensor in adapter_tensors(longer.model).items():
        assert torch.equal(kept[f"{name}:parameter"], tensor)
    longer.run()
    for other in ({"seed": 1}, {"training": {}}, {"training": {"adapter": "{kind: lora, rank: 3}"}}):
        with pytest.raises(RunError, match="cannot be trained further"):
            make("other", start_from=stable, **other)


@pytest.mark.slow
def test_a_run_is_not_gone_on_with_over_other_weights(make):
    make().run()
    with pytest.raises(RunError, match="cannot be trained further"):
        make(seed=1)


def test_layers_that_are_not_there_are_named(make):
    with pytest.raises(TrainingError, match=r"training\.adapter") as caught:
        make(training={"adapter": "{kind: lora, targets: [query]}"})
    assert "qkv" in str(caught.value)


def test_weights_are_loaded_before_lora(make):
    model = make().model
    with pytest.raises(ValueError, match="before"):
        model.load_tensors(trained_before().tensors())
