"""Which parameter is in which group, and what the groups do to it."""

from __future__ import annotations

import pytest
import torch

from stepwell.models import DecoderConfig, LanguageModel, build_model
from stepwell.training import AdamWConfig, MuonConfig, build_optimizers
from stepwell.training.state import optimizer_tensors, restore_optimizers

CONFIGS = [
    AdamWConfig(learning_rate=0.1, weight_decay=0.5),
    MuonConfig(learning_rate=0.1, adamw_learning_rate=0.1, weight_decay=0.5),
]


def model(**changes: object) -> LanguageModel:
    shape = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}
    config = {"vocab_size": 40, "max_seq_len": 8, "residual_initialization": "same", **shape, **changes}
    return build_model(DecoderConfig(**config))


MODELS = {
    "plain": {},
    "tied": {"tie_embeddings": True},
    "biases": {"mlp_bias": True, "qkv_bias": True, "qk_norm": "none"},
}
every_model = pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
every_optimizer = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)


@every_model
@every_optimizer
def test_every_parameter_is_in_one_group(config, changes):
    built = model(**changes)
    held = [p for o in build_optimizers(built, config) for group in o.param_groups for p in group["params"]]
    assert len({id(p) for p in held}) == len(held)
    assert {id(p) for p in held} == {id(p) for p in built.parameters()}


@every_optimizer
def test_frozen_parameters_are_in_none(config):
    built = model()
    built.embedding.requires_grad_(False)
    held = [p for o in build_optimizers(built, config) for group in o.param_groups for p in group["params"]]
    assert id(built.embedding.weight) not in {id(p) for p in held}


@every_model
@every_optimizer
def test_only_hidden_matrices_decay(config, changes):
    """With a gradient of zero, decay is all that an update does."""
    built = model(**changes)
    before = {name: p.detach().clone() for name, p in built.named_parameters()}
    for parameter in built.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in build_optimizers(built, config):
        optimizer.step()
    smaller = {name for name, p in built.named_parameters() if p.detach().norm() < before[name].norm()}
    matrices = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    assert smaller == {f"body.blocks.{layer}.{name}.weight" for layer in range(2) for name in matrices}
    for name, parameter in built.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if name in smaller else before[name]
        torch.testing.assert_close(parameter.detach(), expected)


@every_optimizer
def test_the_full_rate_of_each_group_is_kept(config):
    groups = [group for o in build_optimizers(model(), config) for group in o.param_groups]
    assert all(group["full_rate"] == group["lr"] == 0.1 for group in groups)


@every_optimizer
def test_a_state_that_was_put_back_goes_on_the_same(config):
    def step(built: LanguageModel, optimizers: list[torch.optim.Optimizer], number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        for parameter in built.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()

    first = model()
    optimizers = build_optimizers(first, config)
    for number in range(3):
        step(first, optimizers, number)
    second = model()
    second.load_state_dict(first.state_dict())
    others = build_optimizers(second, config)
    restore_optimizers(second, others, optimizer_tensors(first, optimizers))
    assert optimizer_tensors(second, others).keys() == optimizer_tensors(first, optimizers).keys()
    step(first, optimizers, 3)
    step(second, others, 3)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name


def test_with_a_base_width_wider_matrices_move_by_smaller_steps():
    """The first step of AdamW moves every weight by its rate, whatever the gradient."""
    built = model()
    config = AdamWConfig(learning_rate=0.01, weight_decay=0.0, base_width=8)
    before = {name: p.detach().clone() for name, p in built.named_parameters()}
    for parameter in built.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in build_optimizers(built, config):
        optimizer.step()
    tables = {id(p) for p in built.lookup_parameters()}
    for name, parameter in built.named_parameters():
        moved = float((before[name] - parameter.detach()).mean())
        matrix = parameter.ndim == 2 and id(parameter) not in tables
        assert moved == pytest.approx(0.01 * 8 / parameter.shape[1] if matrix else 0.01, rel=1e-3), name
