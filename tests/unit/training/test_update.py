"""One update: accumulation is the big batch, packing is separate documents, and a bad gradient changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from stepwell.data import Batch, Packer, TokenSplit
from stepwell.models import DecoderConfig, LanguageModel, build_model
from stepwell.objectives import CausalConfig, build_objective, causal_loss
from stepwell.optimization import AdamWConfig, WSDConfig
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer
from stepwell.training import TrainingConfig, Update, Updater

T = 16
TOKENIZER = train_tokenizer([], ByteBPEConfig(vocab_size=257))
CAUSAL = build_objective(CausalConfig(), TOKENIZER)
CPU = torch.device("cpu")


def split(lengths: list[int], seed: int = 0) -> TokenSplit:
    ids = np.random.default_rng(seed).integers(1, 40, size=sum(lengths)).astype(np.uint16)
    return TokenSplit(ids, np.cumsum([0, *lengths]), np.array(lengths))


def model(dropout: float = 0.0) -> LanguageModel:
    built = build_model(
        DecoderConfig(
            vocab_size=40,
            max_seq_len=T,
            num_layers=2,
            d_model=16,
            num_heads=2,
            num_kv_heads=1,
            head_dim=8,
            d_ff=24,
            dropout=dropout,
            residual_initialization="same",
        )
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        built.head.weight.normal_(std=0.3, generator=generator)
    return built


def config(micro_batch: int, rows: int = 6, clip_norm: float = 1e9) -> TrainingConfig:
    return TrainingConfig(
        steps=10,
        global_batch_tokens=rows * T,
        micro_batch=micro_batch,
        optimizer=AdamWConfig(learning_rate=0.01),
        schedule=WSDConfig(warmup_steps=0),
        clip_norm=clip_norm,
        precision="float32",
        evaluate_every_steps=1,
    )


UNEVEN = [40, 10, 12, 14, 11, 10, 15, 3]
"""Documents of which hardly two fit into one row, so rows differ in how many targets they have."""


def updated(micro_batch: int, lengths: list[int] = UNEVEN, clip_norm: float = 1e9) -> tuple[Update, LanguageModel]:
    built = model()
    updater = Updater(
        built, Packer(split(lengths), T, seed=0), config(micro_batch, clip_norm=clip_norm), CAUSAL, seed=0
    )
    return updater.update(0, 0, factor=0.5), built


@pytest.fixture(scope="module")
def big() -> tuple[Update, LanguageModel]:
    """One update in one piece."""
    return updated(6)


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 5, 100])
def test_accumulation_is_the_big_batch(big, micro_batch):
    (one, expected), (other, got) = big, updated(micro_batch)
    assert other.loss == pytest.approx(one.loss, rel=1e-6)
    assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-5)
    assert other.num_targets == one.num_targets
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(got.get_parameter(name), parameter, atol=1e-5, rtol=1e-4)


def test_the_masks_are_uneven():
    """Otherwise the mean of the means would pass the test above."""
    counts = Packer(split(UNEVEN), T, seed=0).batch(0, 6).loss_mask.sum(axis=1)
    assert counts.min() < counts.max()


def test_the_loss_is_the_mean_over_all_targets_of_the_batch(big):
    batch = Packer(split(UNEVEN), T, seed=0).batch(0, 6)
    with torch.no_grad():
        logits = model()(torch.from_numpy(batch.token_ids), torch.from_numpy(batch.document_ids))
        flat = cross_entropy(logits.flatten(0, 1), torch.from_numpy(batch.targets).flatten(), reduction="none")
        mask = torch.from_numpy(batch.loss_mask).flatten()
    assert big[0].loss == pytest.approx(float(flat[mask].mean()), rel=1e-5)
    assert big[0].num_targets == int(mask.sum())


def test_packing_is_separate_documents_in_loss_and_gradient():
    tokens = split([6, 1, 2, 9, 3, 5])
    packed = Packer(tokens, T, seed=0).rows(0)
    assert len(packed) < 5, "rows hold several documents"
    together, apart = model(), model()
    loss = causal_loss(together, packed.batch(np.arange(len(packed))), CPU)
    loss.backward()
    total = torch.zeros(())
    for index in range(tokens.num_documents):
        ids = tokens.document(index).astype(np.int64)[None]
        if ids.shape[1] > 1:
            whole = np.ones_like(ids[:, 1:])
            total = total + causal_loss(apart, Batch(ids[:, :-1], ids[:, 1:], whole > 0, whole), CPU)
    total.backward()
    torch.testing.assert_close(loss, total)
    for name, parameter in together.named_parameters():
        torch.testing.assert_close(parameter.grad, apart.get_parameter(name).grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    built = model()
    updater = Updater(built, Packer(split(UNEVEN), T, seed=0), config(2), CAUSAL, seed=0)
    built.body.norm.weight.register_hook(lambda gradient: gradient * bad)
    before = {name: p.detach().clone() for name, p in built.named_parameters()}
    update = updater.update(0, 0, factor=1.0)
    assert not update.is_finite
    for name, parameter in built.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    assert not any(optimizer.state for optimizer in updater.optimizers)


def test_the_norm_that_is_told_is_the_one_before_clipping(big):
    clipped, _ = updated(6, clip_norm=1e-4)
    assert clipped.grad_norm == pytest.approx(big[0].grad_norm, rel=1e-5)
    assert clipped.grad_norm > 1e-2


def test_the_clipped_gradient_has_the_norm_asked_for(monkeypatch):
    built = model()
    updater = Updater(built, Packer(split(UNEVEN), T, seed=0), config(2, clip_norm=0.01), CAUSAL, seed=0)
    norms = []
    step = updater.optimizers[0].step
    monkeypatch.setattr(
        updater.optimizers[0],
        "step",
        lambda: (norms.append(torch.nn.utils.get_total_norm([p.grad for p in built.parameters()])), step()),
    )
    updater.update(0, 0, factor=1.0)
    assert float(norms[0]) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("factor", [0.1, 1.0])
def test_the_factor_scales_the_full_rate_each_time(factor):
    updater = Updater(model(), Packer(split(UNEVEN), T, seed=0), config(6), CAUSAL, seed=0)
    for step in range(3):
        updater.update(step, 6 * step, factor)
        assert {group["lr"] for o in updater.optimizers for group in o.param_groups} == {0.01 * factor}


def test_dropout_depends_on_seed_step_and_micro_batch_and_nothing_else():
    def loss(seed: int, step: int) -> float:
        torch.rand(3)  # what the process drew before does not matter
        packer = Packer(split([17] * 6), T, seed=0)
        return Updater(model(dropout=0.5), packer, config(3), CAUSAL, seed).update(step, 0, 1.0).loss

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(1, 0)}) == 3


def test_no_two_micro_batches_share_their_dropout(monkeypatch):
    seeds: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    updater = Updater(model(), Packer(split(UNEVEN), T, seed=0), config(2), CAUSAL, seed=0)
    for step in range(3):
        updater.update(step, 0, 1.0)
    assert len(set(seeds)) == len(seeds) == 9


def test_half_precision_keeps_weights_and_optimizer_in_float32():
    built = model()
    half = config(2).model_copy(update={"precision": "bfloat16"})
    updater = Updater(built, Packer(split(UNEVEN), T, seed=0), half, CAUSAL, seed=0)
    update = updater.update(0, 0, 1.0)
    assert update.is_finite
    assert update.loss == pytest.approx(updated(2)[0].loss, rel=0.05)
    states = [slot for o in updater.optimizers for state in o.state.values() for slot in state.values()]
    assert {t.dtype for t in [*built.parameters(), *states]} == {torch.float32}


def test_rows_per_step_is_at_least_one(tmp_path: Path):
    assert config(1).rows_per_step(T) == 6
    assert config(1).rows_per_step(10_000) == 1
