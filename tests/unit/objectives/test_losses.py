"""How a prediction is judged: by hand, by the closed forms of the papers, and as every objective uses it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stepwell.models import build_model, decoder_sized
from stepwell.objectives import CrossEntropyConfig, LossConfig, MeanSquaredErrorConfig, summed_loss, token_losses

LOSSES: dict[str, LossConfig] = {
    "plain": CrossEntropyConfig(),
    "smoothed": CrossEntropyConfig(label_smoothing=0.1),
    "with z-loss": CrossEntropyConfig(z_loss=0.01),
    "with both": CrossEntropyConfig(label_smoothing=0.2, z_loss=0.5),
    "squared": MeanSquaredErrorConfig(right_weight=1.0, right_logit=1.0),
    "squared, rescaled": MeanSquaredErrorConfig(),
}


def by_hand(logits: list[float], target: int, config: LossConfig) -> float:
    """One prediction with Python's own numbers."""
    if isinstance(config, MeanSquaredErrorConfig):
        errors = [
            config.right_weight * (f - config.right_logit) ** 2 if token == target else f**2
            for token, f in enumerate(logits)
        ]
        return sum(errors) / len(errors)
    log_z = math.log(sum(math.exp(f) for f in logits))
    left = config.label_smoothing / len(logits)
    wanted = [left + (1 - config.label_smoothing) * (token == target) for token in range(len(logits))]
    return sum(p * (log_z - f) for p, f in zip(wanted, logits, strict=True)) + config.z_loss * log_z**2


def some(n: int = 7, v: int = 11) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(n, v, generator=generator), torch.randint(0, v, (n,), generator=generator)


@pytest.mark.parametrize("config", LOSSES.values(), ids=list(LOSSES))
def test_each_loss_is_its_formula(config):
    logits, targets = some()
    losses = token_losses(logits, targets, config)
    assert losses.dtype == torch.float32
    wanted = [by_hand(row, target, config) for row, target in zip(logits.tolist(), targets.tolist(), strict=True)]
    assert losses.tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("config", LOSSES.values(), ids=list(LOSSES))
def test_half_precision_is_computed_with_in_full(config):
    logits, targets = some()
    half = logits.bfloat16()
    assert torch.equal(token_losses(half, targets, config), token_losses(half.float(), targets, config))


@pytest.mark.parametrize("config", LOSSES.values(), ids=list(LOSSES))
@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_sum_and_its_gradient_are_those_of_the_tokens(config, count):
    model = build_model(decoder_sized(1, vocab_size=11, max_seq_len=8), seed=0)
    with torch.no_grad():
        for parameter in model.lookup_parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    hidden = torch.randn(count, model.config.d_model, generator=torch.Generator().manual_seed(2), requires_grad=True)
    again, targets = hidden.detach().clone().requires_grad_(), some(count)[1]
    total = summed_loss(model, hidden, targets, config)
    plain = token_losses(model.unembed(again), targets, config).sum()
    assert total.dtype == torch.float32
    assert total.shape == ()
    torch.testing.assert_close(total, plain)
    total.backward()
    plain.backward()
    torch.testing.assert_close(hidden.grad, again.grad)


def test_z_loss_pulls_on_the_denominator_alone():
    """Its gradient is 2 z log Z softmax: shifting all logits so that log Z = 0 makes it nothing."""
    logits, targets = some()
    centred = logits - logits.logsumexp(dim=-1, keepdim=True)
    plain = token_losses(centred, targets, CrossEntropyConfig())
    torch.testing.assert_close(token_losses(centred, targets, CrossEntropyConfig(z_loss=1.0)), plain)
    assert (token_losses(logits, targets, CrossEntropyConfig(z_loss=1.0)) > plain).all()


def test_squared_error_is_nothing_at_the_peak_it_wants():
    targets = torch.tensor([2, 0])
    logits = 30.0 * torch.nn.functional.one_hot(targets, 5).float()
    assert token_losses(logits, targets, MeanSquaredErrorConfig()).tolist() == [0.0, 0.0]
