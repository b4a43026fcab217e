"""The mean of the weights: by its closed form, in the model's place while it is measured and kept, and after a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import Stopped
from stepwell.optimization import AveragingConfig, ExponentialAverageConfig, TailAverageConfig
from stepwell.optimization.averaging import WeightAverage
from stepwell.runs import read_lines

STEPS = 12
CHOICES: dict[str, AveragingConfig] = {
    "ema": ExponentialAverageConfig(decay=0.3),
    "slow ema": ExponentialAverageConfig(decay=0.999),
    "tail": TailAverageConfig(last_ratio=0.3),
    "all": TailAverageConfig(last_ratio=1.0),
}


def expected(config: AveragingConfig, weights: list[float], steps: int) -> float | None:
    """The mean by its formula, in Python's own numbers."""
    if isinstance(config, TailAverageConfig):
        tail = [w for step, w in enumerate(weights, start=1) if step > (1 - config.last_ratio) * steps]
        return sum(tail) / len(tail) if tail else None
    mean = weights[0]
    for number, weight in enumerate(weights[1:], start=1):
        decay = min(config.decay, (1 + number) / (10 + number))
        mean = decay * mean + (1 - decay) * weight
    return mean


@pytest.mark.parametrize("config", CHOICES.values(), ids=list(CHOICES))
def test_the_mean_is_its_formula(config):
    layer = nn.Linear(1, 1, bias=False)
    average, seen = WeightAverage(layer, config), []
    for step in range(1, STEPS + 1):
        value = 1.0 + step * (-1) ** step
        with torch.no_grad():
            layer.weight.fill_(value)
        seen.append(value)
        average.note(step, STEPS)
        wanted = expected(config, seen, STEPS)
        with average.in_place():
            assert float(layer.weight.detach()) == pytest.approx(
                value if wanted is None else wanted, rel=1e-5, abs=1e-6
            )
        assert float(layer.weight.detach()) == value
    assert average.count == {"tail": 4}.get(next(n for n, c in CHOICES.items() if c == config), STEPS)


def test_the_plain_mean_is_that_of_torch():
    layer = nn.Linear(5, 3)
    average, reference = WeightAverage(layer, TailAverageConfig(last_ratio=1.0)), AveragedModel(layer)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 6):
        with torch.no_grad():
            layer.weight.add_(torch.randn(3, 5, generator=generator))
        average.note(step, 5)
        reference.update_parameters(layer)
    with average.in_place():
        torch.testing.assert_close(layer.weight, reference.module.weight)


def test_the_weights_come_back_whatever_happens():
    layer = nn.Linear(2, 2)
    average = WeightAverage(layer, TailAverageConfig(last_ratio=1.0))
    average.note(1, 2)
    with torch.no_grad():
        layer.weight.add_(1.0)
    before = layer.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), average.in_place():
        assert not torch.equal(layer.weight, before)
        raise ZeroDivisionError
    assert torch.equal(layer.weight, before)


def test_without_a_choice_nothing_is_kept():
    layer = nn.Linear(2, 2)
    average = WeightAverage(layer, None)
    average.note(1, 1)
    assert average.tensors() == {}
    assert average.take_up({"weight:exp_avg": torch.ones(1)}).keys() == {"weight:exp_avg"}


def test_weights_that_are_not_trained_are_left_alone():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    average = WeightAverage(layer, ExponentialAverageConfig())
    average.note(1, 1)
    assert average.tensors().keys() == {"weight:average", "weights:averaged_steps"}


KINDS = {
    "ema": {"averaging.kind": "ema", "averaging.decay": 0.8},
    "tail": {"averaging.kind": "tail", "averaging.last_ratio": 0.5},
}


def weights_of(directory: Path, name: str) -> dict[str, Tensor]:
    model = load_checkpoint(directory / "checkpoints" / name).model
    return {key: tensor.detach() for key, tensor in model.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_what_is_measured_and_kept_as_the_best(kind, make_trainer, tmp_path):
    """By a watcher that keeps the weights of every step, and a second run that is asked for nothing."""
    seen: list[dict[str, Tensor]] = []
    measured: list[dict[str, Tensor]] = []

    def evaluate(model: nn.Module) -> dict[str, float]:
        measured.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {"loss": 10.0 - len(measured)}  # the last one is the best

    trainer = make_trainer(tmp_path / "run", {"steps": STEPS, **KINDS[kind]}, evaluate=evaluate)
    note = trainer.updater.average.note

    def remember(step: int, steps: int) -> None:
        seen.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
        note(step, steps)

    trainer.updater.average.note = remember
    trainer.run()
    make_trainer(tmp_path / "plain", {"steps": STEPS}, evaluate=lambda model: {"loss": 1.0}).run()
    last, plain = (weights_of(tmp_path / run, f"step-{STEPS:06d}") for run in ("run", "plain"))
    config = trainer.config.averaging
    for name, weight in weights_of(tmp_path / "run", "best").items():
        assert torch.equal(last[name], plain[name]), "training knows nothing of the mean"
        place = (0,) * weight.ndim
        wanted = expected(config, [float(weights[name][place]) for weights in seen], STEPS)
        assert float(weight[place]) == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        assert torch.equal(weight, measured[-1][name])
    assert any(not torch.equal(last[name], measured[-1][name]) for name in last)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1, 7, 9])
def test_a_run_that_was_stopped_ends_with_the_same_mean(kind, step, make_trainer, tmp_path):
    settings = {"steps": STEPS, **KINDS[kind]}
    make_trainer(tmp_path / "whole", settings).run()
    asked = iter([False] * (step - 1) + [True])
    go_on(lambda: make_trainer(tmp_path / "parts", settings, stop_requested=lambda: next(asked, False)))
    for name in ("best", f"step-{STEPS:06d}"):
        for file in sorted((tmp_path / "whole" / "checkpoints" / name).glob("*.safetensors")):
            assert file.read_bytes() == (tmp_path / "parts" / "checkpoints" / name / file.name).read_bytes(), file.name
    losses = [
        [line["loss"] for line in read_lines(tmp_path / run / "metrics.jsonl") if line["kind"] == "evaluation"]
        for run in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


def go_on(make: Callable[[], Any]) -> None:
    for _ in range(3):
        try:
            make().run()
        except Stopped:
            continue
        return
    raise AssertionError("the run never ended")


def test_a_round_that_begins_elsewhere_begins_its_own_mean(make_trainer, tmp_path):
    settings = {"steps": STEPS, **KINDS["ema"]}
    make_trainer(tmp_path / "first", settings).run()
    stable = tmp_path / "first" / "checkpoints" / "stable"
    trainer = make_trainer(tmp_path / "second", {**settings, "steps": 18}, start_from=stable)
    assert trainer.updater.average.count == 0
    for optimizer in trainer.updater.optimizers:
        assert all("average" not in slots for slots in optimizer.state.values())
