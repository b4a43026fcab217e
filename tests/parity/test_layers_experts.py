"""Experts against the blocks and the loss of transformers' Mixtral and Qwen3-MoE."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from stepwell.nn import MixtureOfExperts, load_balancing_loss

transformers = pytest.importorskip("transformers")


def mixtral(visits):
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = transformers.MixtralConfig(
        hidden_size=12, intermediate_size=10, num_local_experts=6, num_experts_per_tok=visits
    )
    return MixtralSparseMoeBlock(config), True


def qwen3(visits, normalize):
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

    config = transformers.Qwen3MoeConfig(
        hidden_size=12,
        moe_intermediate_size=10,
        num_experts=6,
        num_experts_per_tok=visits,
        norm_topk_prob=normalize,
    )
    return Qwen3MoeSparseMoeBlock(config), normalize


@pytest.mark.parametrize("visits", [1, 2, 6])
@pytest.mark.parametrize(
    "build",
    [mixtral, partial(qwen3, normalize=True), partial(qwen3, normalize=False)],
    ids=["mixtral", "qwen3", "qwen3 raw"],
)
def test_experts_are_theirs(build, visits):
    theirs, normalize = build(visits)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.5, generator=generator)
    ours = MixtureOfExperts(12, 10, 6, visits, "silu", normalize_weights=normalize)
    weights = {"router.weight": theirs.gate.weight, "up": theirs.experts.gate_up_proj, "down": theirs.experts.down_proj}
    ours.load_state_dict(weights)
    x = torch.randn(3, 11, 12, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
@pytest.mark.parametrize("visits", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_balance_loss_is_theirs(family, visits, masked):
    modeling = getattr(transformers.models, family)
    theirs = getattr(modeling, f"modeling_{family}").load_balancing_loss_func
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(20, 4, generator=generator) for _ in range(3)]
    mask = (torch.rand(2, 10, generator=generator) > 0.3).long() if masked else None
    torch.testing.assert_close(load_balancing_loss(logits, visits, mask), theirs(tuple(logits), 4, visits, mask))
