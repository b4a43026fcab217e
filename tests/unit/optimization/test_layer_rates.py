"""A rate for each layer beside groups made by hand, for every optimizer."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch

from stepwell.config import build
from stepwell.errors import ConfigError
from stepwell.models import (
    Decoder,
    DecoderConfig,
    LoRAConfig,
    add_adapter,
    build_model,
    encoder_decoder_sized,
    recurrent_sized,
)
from stepwell.optimization import OPTIMIZERS, build_optimizers, layer_factors
from stepwell.training import TrainingConfig

SHAPE = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}


def model() -> Decoder:
    return Decoder(DecoderConfig(vocab_size=40, max_seq_len=16, tie_embeddings=False, **SHAPE), seed=0)


def optimizer_config(kind: str):
    field = TrainingConfig.model_fields["optimizer"]
    rates = {"kind": kind, "learning_rate": 0.01}
    if kind == "muon":
        rates["adamw_learning_rate"] = 0.002
    (cls,) = [one for one in get_args(field.annotation) if one.model_fields["kind"].default == kind]
    return build(cls, rates, where="test")


def by_hand(name: str, decay: float) -> float:
    """Two blocks: the embedding three layers below what stands after them."""
    if name.startswith("embedding."):
        return decay**3
    if name.startswith("body.embedding_norm"):
        return decay**3
    if name.startswith("body.blocks.0."):
        return decay**2
    return decay if name.startswith("body.blocks.1.") else 1.0


def test_the_shares_are_those_made_by_hand():
    factors = layer_factors(model(), 0.5)
    assert factors == {name: by_hand(name, 0.5) for name, _ in model().named_parameters()}
    assert set(factors.values()) == {0.125, 0.25, 0.5, 1.0}


def test_an_encoder_and_a_decoder_are_counted_each_for_itself():
    both = build_model(encoder_decoder_sized(4, vocab_size=300, max_seq_len=32))
    factors = layer_factors(both, 0.5)
    for stack in ("encoder", "decoder"):
        assert factors[f"{stack}.blocks.0.mlp.up.weight"] == 0.25
        assert factors[f"{stack}.blocks.1.mlp.up.weight"] == 0.5
        assert factors[f"{stack}.norm.weight"] == 1.0
    assert factors["embedding.weight"] == min(factors.values())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_parameter_is_held_once_with_its_own_rate_and_the_decay_it_had(kind):
    built = model()
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    plain = {
        names[id(parameter)]: group
        for optimizer in build_optimizers(built, optimizer_config(kind))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    held = []
    for optimizer in build_optimizers(built, optimizer_config(kind), 0.5):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                held.append(name)
                assert group["full_rate"] == plain[name]["full_rate"] * by_hand(name, 0.5)
                assert group["lr"] == group["full_rate"]
                assert group["weight_decay"] == plain[name]["weight_decay"]
    assert sorted(held) == sorted(names.values())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_is_that_of_an_optimizer_of_the_layer_alone(kind):
    built = model()
    for parameter in built.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    for name in ("body.blocks.0.mlp.up.weight", "body.blocks.1.attention.out.weight", "head.weight"):
        whole, alone = copy.deepcopy(built), copy.deepcopy(built)
        for twin in (whole, alone):
            for mine, theirs in zip(twin.parameters(), built.parameters(), strict=True):
                mine.grad = theirs.grad.clone()
        for optimizer in build_optimizers(whole, optimizer_config(kind), 0.5):
            optimizer.step()
        config = optimizer_config(kind)
        factor = by_hand(name, 0.5)
        rates = {
            field: getattr(config, field) * factor for field in type(config).model_fields if "learning_rate" in field
        }
        for optimizer in build_optimizers(alone, config.model_copy(update=rates)):
            optimizer.step()
        moved, wanted = dict(whole.named_parameters())[name], dict(alone.named_parameters())[name]
        assert not torch.equal(moved, dict(built.named_parameters())[name])
        torch.testing.assert_close(moved, wanted, rtol=1e-6, atol=1e-8)


def test_muon_has_no_adamw_where_only_matrices_learn():
    built = model()
    add_adapter(built, LoRAConfig(rank=2))
    (only,) = build_optimizers(built, optimizer_config("muon"))
    assert sum(len(group["params"]) for group in only.param_groups) == 2 * 4 * 2


def test_a_model_without_blocks_has_no_layers_to_tell_apart():
    with pytest.raises(ConfigError, match=r"training\.layer_decay: the model has no numbered blocks"):
        layer_factors(build_model(recurrent_sized(2, vocab_size=300, max_seq_len=32)), 0.9)
