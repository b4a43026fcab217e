"""Noise on the gradient: as large as the paper says, its own for each step, parameter and seed, and after clipping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stepwell.optimization import GradientNoiseConfig
from stepwell.optimization.noise import add_noise, noise_deviation


def layer() -> nn.Sequential:
    made = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    return made


def noise(seed: int = 0, step: int = 0, variance: float = 0.3) -> dict[str, torch.Tensor]:
    made = layer()
    add_noise(made, GradientNoiseConfig(variance=variance), seed, step)
    return {name: p.grad - 1 for name, p in made.named_parameters()}


def test_its_variance_falls_as_the_paper_says():
    config = GradientNoiseConfig(variance=0.3)
    assert noise_deviation(config, 0) ** 2 == pytest.approx(0.3)
    assert noise_deviation(config, 99) ** 2 == pytest.approx(0.3 / 100**0.55)
    assert noise_deviation(GradientNoiseConfig(variance=1.0, decay=0.0), 50) == 1.0


@pytest.mark.parametrize("step", [0, 99])
def test_each_component_gets_noise_of_that_variance(step):
    drawn = noise(step=step)["0.weight"]
    assert float(drawn.var()) == pytest.approx(0.3 / (1 + step) ** 0.55, rel=0.05)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.02)


def test_no_two_parameters_steps_or_seeds_share_their_noise():
    first = noise()
    for name, same in noise().items():
        assert torch.equal(first[name], same)
    others = [first["1.weight"], noise(step=1)["0.weight"], noise(seed=1)["0.weight"]]
    for other in others:
        joined = torch.corrcoef(torch.stack((first["0.weight"].flatten(), other.flatten())))
        assert abs(float(joined[0, 1])) < 0.05


def test_what_has_no_gradient_gets_none_and_without_a_choice_nothing_happens():
    made = layer()
    made[0].weight.grad = None
    add_noise(made, GradientNoiseConfig(variance=1.0), 0, 0)
    assert made[0].weight.grad is None
    untouched = layer()
    add_noise(untouched, None, 0, 0)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in untouched.parameters())


def test_it_is_added_to_the_clipped_gradient_and_the_norm_told_is_the_gradients(make_trainer, tmp_path):
    settings = {"steps": 3, "clip_norm": 1e-6, "data_workers": 0}
    plain = make_trainer(tmp_path / "plain", settings).updater
    noisy = make_trainer(tmp_path / "noisy", {**settings, "gradient_noise.variance": 4.0}).updater
    seen: dict[str, torch.Tensor] = {}
    noisy.optimizers[0].register_step_pre_hook(
        lambda *_: seen.update({name: p.grad.clone() for name, p in noisy.model.named_parameters()})
    )
    wanted, got = plain.update(0, 0, 1.0), noisy.update(0, 0, 1.0)
    assert got.grad_norm == wanted.grad_norm
    everything = torch.cat([gradient.flatten() for gradient in seen.values()])
    assert float(everything.var()) == pytest.approx(4.0, rel=0.05)
