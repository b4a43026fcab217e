"""Experts against a loop over tokens that says what they do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from stepwell.nn import ACTIVATIONS, MixtureOfExperts, load_balancing_loss

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def built(**changes) -> MixtureOfExperts:
    settings = {"num_experts": 5, "experts_per_token": 2, "activation": "silu", **changes}
    torch.manual_seed(0)
    return MixtureOfExperts(6, 7, **settings)


def token_by_token(experts: MixtureOfExperts, x: Tensor) -> Tensor:
    """Each token alone: its experts one by one, weighed and added."""
    activate, rows = ACTIVATIONS[experts.activation], []
    for token in x.flatten(0, 1):
        probabilities = (experts.router.weight @ token).softmax(-1)
        best = sorted(range(len(probabilities)), key=lambda expert: -probabilities[expert].item())
        best = best[: experts.experts_per_token]
        total = sum(probabilities[expert] for expert in best) if experts.normalize_weights else 1.0
        answer = torch.zeros_like(token)
        for expert in best:
            inner = experts.up[expert] @ token
            inner = activate(inner[:7]) * inner[7:] if experts.gated else activate(inner)
            answer = answer + probabilities[expert] / total * (experts.down[expert] @ inner)
        rows.append(answer)
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize("visits", [1, 2, 5])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("normalize_weights", [True, False])
@pytest.mark.parametrize("activation", ["silu", "relu2"])
def test_experts_are_the_loop_over_tokens(visits, gated, normalize_weights, activation):
    experts = built(experts_per_token=visits, gated=gated, normalize_weights=normalize_weights, activation=activation)
    x, upstream = drawn(2, 9, 6), drawn(2, 9, 6, seed=1)
    outputs, gradients = [], []
    for compute in (experts, lambda x: token_by_token(experts, x)):
        experts.zero_grad()
        given = x.clone().requires_grad_()
        output = compute(given)
        output.backward(upstream)
        outputs.append(output.detach())
        gradients.append([given.grad, *(parameter.grad for parameter in experts.parameters())])
    torch.testing.assert_close(*outputs, **CLOSE)
    torch.testing.assert_close(*gradients, **CLOSE)


@torch.no_grad()
def test_an_expert_that_nobody_visits_is_left_out():
    experts = built(experts_per_token=1)
    experts.router.weight.zero_()
    experts.router.weight[3] = 1.0
    x = drawn(1, 4, 6).abs()
    experts.up[[0, 1, 2, 4]] = torch.nan  # a product with these would show
    torch.testing.assert_close(experts(x), token_by_token(experts, x), **CLOSE)
    assert experts(x[:, :1]).isfinite().all()


def test_a_gradient_reaches_every_expert_that_was_visited():
    experts = built(experts_per_token=1)
    experts(drawn(8, 40, 6)).square().sum().backward()
    visited = experts.routing.argmax(-1).unique()
    assert len(visited) == 5
    assert (experts.up.grad.abs().amax((1, 2)) > 0).all()
    assert experts.router.weight.grad.abs().max() < 1e-5  # a share that is always one teaches the router nothing


@pytest.mark.parametrize("visits", [0, 6])
def test_more_visits_than_experts_say_so(visits):
    with pytest.raises(ValueError, match=f"visits {visits} of 5 experts; choose from 1 to 5"):
        built(experts_per_token=visits)


def test_equal_use_costs_the_number_of_visits_and_one_expert_for_all_the_most():
    even = torch.eye(4).repeat(5, 1) * 50
    assert float(load_balancing_loss([even], 1)) == pytest.approx(1.0)
    assert float(load_balancing_loss([even[:4]] * 3, 1)) == pytest.approx(1.0)
    assert float(load_balancing_loss([even[:1].repeat(20, 1)], 1)) == pytest.approx(4.0)
    assert float(load_balancing_loss([drawn(30, 4)], 4)) == pytest.approx(4.0)  # everybody visits everyone


def test_padding_does_not_count():
    logits, mask = [drawn(20, 4), drawn(20, 4, seed=1)], torch.arange(20) % 3 > 0
    kept = [layer[mask] for layer in logits]
    torch.testing.assert_close(load_balancing_loss(logits, 2, mask.view(2, 10)), load_balancing_loss(kept, 2))


def test_descending_the_balance_loss_spreads_the_visits():
    experts = built(experts_per_token=1).train()
    x, optimizer = drawn(4, 50, 6) + 2, torch.optim.Adam(experts.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        experts(x)
        loss = experts.balance_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.3
    assert losses[-1] < 1.1


def test_routing_is_kept_in_training_only_and_not_by_copies():
    experts = built().eval()
    experts(drawn(2, 3, 6))
    with pytest.raises(RuntimeError, match="seen no batch in training"):
        experts.balance_loss()
    experts.train()(drawn(2, 3, 6))
    torch.testing.assert_close(experts.balance_loss(), load_balancing_loss([experts.routing], 2))
    assert experts.balance_loss(torch.ones(2, 3)).shape == ()
    assert copy.deepcopy(experts).routing is None
    assert experts.routing is not None
