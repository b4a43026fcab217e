"""Noise on the gradient, which falls as a run goes on (Neelakantan et al., 2015).

Every parameter draws from a generator of its own, seeded by step and name: a run that is stopped goes on with the same
noise, and ranks that hold the whole model draw the same. This file leaves out clipping, which comes before.
"""

from __future__ import annotations

import torch
from torch import nn

from stepwell.optimization.regularization_config import GradientNoiseConfig
from stepwell.optimization.shards import shard_like
from stepwell.seeding import derive_seed


def noise_deviation(config: GradientNoiseConfig, step: int) -> float:
    """Standard deviation of each component's noise, after so many updates."""
    return float((config.variance / (1 + step) ** config.decay) ** 0.5)


def add_noise(model: nn.Module, config: GradientNoiseConfig | None, seed: int, step: int) -> None:
    """Add noise to every gradient there is.

    Args:
        model: its gradients are changed in place; those in shards get their part of the same noise.
        config: how much; None for none.
        seed: of the run.
        step: updates made before.
    """
    if config is None:
        return
    deviation = noise_deviation(config, step)
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient is None:
            continue
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", step, name))
        noise = torch.randn(gradient.shape, generator=generator).to(gradient.device)
        gradient.add_(shard_like(noise, gradient), alpha=deviation)
