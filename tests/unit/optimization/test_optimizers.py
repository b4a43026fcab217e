"""Which parameter is in which group, and what the groups do to it."""

from __future__ import annotations

import sys

import pytest
import torch

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import ConfigError, UsageError
from stepwell.models import DecoderConfig, LanguageModel, build_model
from stepwell.optimization import (
    OPTIMIZERS,
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    ScheduleFreeAdamWConfig,
    SGDConfig,
    build_optimizers,
)
from stepwell.optimization.optimizers import averaged
from stepwell.runs import read_lines
from stepwell.training.state import optimizer_tensors, restore_optimizers

CONFIGS = [
    SGDConfig(learning_rate=0.1, weight_decay=0.5, nesterov=False),
    AdamConfig(learning_rate=0.1, weight_decay=0.5),
    AdamWConfig(learning_rate=0.1, weight_decay=0.5),
    AdafactorConfig(learning_rate=0.1, weight_decay=0.5),
    LionConfig(learning_rate=0.1, weight_decay=0.5),
    MuonConfig(learning_rate=0.1, adamw_learning_rate=0.1, weight_decay=0.5),
    ScheduleFreeAdamWConfig(learning_rate=0.1, weight_decay=0.5),
]
OUTSIDE = [LionConfig(learning_rate=0.1), ScheduleFreeAdamWConfig(learning_rate=0.1)]


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


def test_every_kind_of_the_catalog_is_tested_here():
    assert [config.kind for config in CONFIGS] == list(OPTIMIZERS)


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
    optimizers = build_optimizers(built, config)
    for optimizer in optimizers:
        optimizer.step()
    smaller = {name for name, p in built.named_parameters() if p.detach().norm() < before[name].norm()}
    matrices = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    assert smaller == {f"body.blocks.{layer}.{name}.weight" for layer in range(2) for name in matrices}
    for name, parameter in built.named_parameters():
        if name not in smaller:
            assert torch.equal(parameter.detach(), before[name]), name
        elif config.kind == "adam":  # its decay is a gradient like any other, and the first step is as long as the rate
            torch.testing.assert_close(
                parameter.detach(), before[name] - 0.1 * before[name].sign(), rtol=1e-4, atol=1e-4
            )
        else:
            torch.testing.assert_close(parameter.detach(), before[name] * (1 - 0.1 * 0.5))


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


def go(built: LanguageModel, optimizers: list[torch.optim.Optimizer], steps: range) -> None:
    for number in steps:
        generator = torch.Generator().manual_seed(number)
        for parameter in built.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()


@every_optimizer
def test_measuring_on_the_way_changes_nothing(config):
    """Not a bit: going over to the average and back by the library's own means would round."""
    alone, measured = model(), model()
    first, second = build_optimizers(alone, config), build_optimizers(measured, config)
    go(alone, first, range(6))
    for number in range(6):
        go(measured, second, range(number, number + 1))
        with averaged(second):
            pass
    for name, parameter in alone.named_parameters():
        assert torch.equal(parameter, measured.get_parameter(name)), name


def test_the_average_is_that_of_the_paper():
    """x after k steps is the mean of z after each (Defazio et al., 2024, equation 5, at one rate throughout)."""
    built = model()
    optimizers = build_optimizers(built, ScheduleFreeAdamWConfig(learning_rate=0.01))
    seen: dict[str, list[torch.Tensor]] = {name: [] for name, _ in built.named_parameters()}
    for number in range(5):
        go(built, optimizers, range(number, number + 1))
        for name, parameter in built.named_parameters():
            seen[name].append(optimizers[0].state[parameter]["z"].clone())
    training = {name: parameter.detach().clone() for name, parameter in built.named_parameters()}
    with averaged(optimizers):
        for name, parameter in built.named_parameters():
            torch.testing.assert_close(parameter.detach(), torch.stack(seen[name]).mean(0), rtol=1e-4, atol=1e-6)
            assert not torch.equal(parameter, training[name])


def test_the_average_is_left_after_an_error_too():
    built = model()
    optimizers = build_optimizers(built, ScheduleFreeAdamWConfig(learning_rate=0.01))
    go(built, optimizers, range(3))
    training = {name: parameter.detach().clone() for name, parameter in built.named_parameters()}
    with pytest.raises(RuntimeError), averaged(optimizers):
        raise RuntimeError
    assert all(torch.equal(parameter, training[name]) for name, parameter in built.named_parameters())
    go(built, optimizers, range(3, 4))


def test_what_is_counted_for_a_group_is_saved_exactly():
    built = model()
    optimizers = build_optimizers(built, ScheduleFreeAdamWConfig(learning_rate=0.1 / 3))
    go(built, optimizers, range(7))
    tensors = optimizer_tensors(built, optimizers)
    others = build_optimizers(built, ScheduleFreeAdamWConfig(learning_rate=0.5, weight_decay=0.0))
    restore_optimizers(built, others, tensors)
    for before, after in zip(optimizers[0].param_groups, others[0].param_groups, strict=True):
        assert [after[name] for name in ("k", "weight_sum", "lr_max")] == [7, sum([(0.1 / 3) ** 2] * 7), 0.1 / 3]
        assert before["weight_sum"] == after["weight_sum"]
        assert after["lr"] == 0.5, "rates are the config's, not the checkpoint's"


@pytest.mark.parametrize("config", OUTSIDE, ids=lambda config: config.kind)
def test_a_missing_library_is_named_with_what_installs_it(config, monkeypatch):
    for package in ("lion_pytorch", "schedulefree"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError) as caught:
        build_optimizers(model(), config)
    assert config.kind in caught.value.what
    assert "stepwell[optimizers]" in caught.value.do


def test_sgd_without_momentum_has_no_state():
    built = model()
    (optimizer,) = build_optimizers(built, SGDConfig(learning_rate=0.1, momentum=0.0))
    before = {name: parameter.detach().clone() for name, parameter in built.named_parameters()}
    go(built, [optimizer], range(1))
    assert not optimizer_tensors(built, [optimizer])
    for name, parameter in built.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - 0.1 * parameter.grad)


@pytest.mark.slow
@every_optimizer
def test_a_tiny_model_learns(config, make_trainer, tmp_path):
    """Thirty steps from what a uniform guess costs to well below it."""
    usual = {"sgd": 0.3, "lion": 0.003}
    rates = {"optimizer.kind": config.kind, "optimizer.learning_rate": usual.get(config.kind, 0.02)}
    if config.kind == "muon":
        rates["optimizer.adamw_learning_rate"] = 0.01
    make_trainer(tmp_path, training={"steps": 30, "checkpoint_every_seconds": 1e9, **rates}).run()
    lines = [line for line in read_lines(tmp_path / "metrics.jsonl") if line["kind"] == "step"]
    first, last = lines[0]["loss"], sum(line["loss"] for line in lines[-3:]) / 3
    assert last < 0.8 * first, (first, last)


def test_one_mean_of_the_weights_is_enough(make_trainer, tmp_path):
    both = {"optimizer.kind": "schedule_free_adamw", "optimizer.learning_rate": 0.01, "averaging.kind": "ema"}
    with pytest.raises(ConfigError, match="keeps its own"):
        make_trainer(tmp_path, training=both)


def test_best_is_the_average_and_what_goes_on_is_not(make_trainer, tmp_path):
    """And the loss that was told for it is that of the weights in it."""
    rates = {"optimizer.kind": "schedule_free_adamw", "optimizer.learning_rate": 0.02}
    trainer = make_trainer(tmp_path, training={**rates, "schedule.kind": "constant", "schedule.warmup_steps": 2})
    trained = trainer.run()
    assert trained.progress.best_step == trained.progress.step
    best, last = (load_checkpoint(tmp_path / "checkpoints" / name).model.eval() for name in ("best", "step-000012"))
    assert not torch.equal(best.embedding.weight, last.embedding.weight)
    assert trainer.evaluate(best)["loss"] == trained.progress.best_loss != trainer.evaluate(last)["loss"]
