"""Training as the field does it: our updates of a GPT-2 against transformers' GPT2LMHeadModel and torch's plain AdamW.

The same weights, the same rows, the same clipping. Ours gathers the gradient in micro-batches and steps with the fused
AdamW; theirs makes one pass over the batch, takes its own loss and steps one tensor after another. What decays is as
AdamWConfig says: matrices; norms, biases and tables are left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepwell.checkpoints import import_weights
from stepwell.checkpoints.foreign import read_directory
from stepwell.data import Batch
from stepwell.models import LanguageModel, build_model
from stepwell.objectives import CausalConfig, build_objective
from stepwell.optimization import AdamWConfig, WSDConfig
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer
from stepwell.training import TrainingConfig, Updater

transformers = pytest.importorskip("transformers")

VOCAB, T, ROWS, STEPS, RATE, CLIP_NORM = 257, 24, 6, 20, 3e-3, 0.5
TOKENIZER = train_tokenizer([], ByteBPEConfig(vocab_size=257))
ADAMW = AdamWConfig(learning_rate=RATE, weight_decay=0.3)


def rows(step: int) -> Tensor:
    """The ids of a global batch: (ROWS, T + 1), of few tokens, so that there is something to learn."""
    random = np.random.default_rng(step)
    return torch.from_numpy(random.integers(0, 10, size=(ROWS, T + 1)) ** 2)


class Rows:
    """A packer of the same rows: each is one document."""

    def batch(self, first_row: int, count: int) -> Batch:
        step, at = divmod(first_row, ROWS)
        ids = rows(step)[at : at + count].numpy()
        shape = (count, T)
        return Batch(ids[:, :-1], ids[:, 1:], np.ones(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int32))


def their_model() -> Any:
    """GPT-2's own beginning, but for biases, which matter here."""
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=T + 1,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    return model


def their_optimizer(model: Any) -> torch.optim.Optimizer:
    tables = {id(model.transformer.wte.weight), id(model.transformer.wpe.weight)}
    decayed = [p for p in model.parameters() if p.ndim > 1 and id(p) not in tables]
    others = [p for p in model.parameters() if p.ndim == 1 or id(p) in tables]
    groups = [{"params": decayed, "weight_decay": ADAMW.weight_decay}, {"params": others, "weight_decay": 0.0}]
    betas = (ADAMW.beta1, ADAMW.beta2)
    return torch.optim.AdamW(groups, lr=RATE, betas=betas, eps=ADAMW.eps, foreach=False, fused=False)


@pytest.fixture
def read_theirs(tmp_path: Path) -> Callable[[Any], tuple[Any, dict[str, Tensor]]]:
    """A function from a model of transformers to our config of it, and its tensors by our names."""

    def read(model: Any) -> tuple[Any, dict[str, Tensor]]:
        model.save_pretrained(tmp_path / "theirs")
        foreign = dataclasses.replace(read_directory(tmp_path / "theirs"), read_tokenizer=lambda: TOKENIZER)
        imported = import_weights(foreign)
        return imported.skeleton.config, imported.tensors

    return read


def our_updater(model: LanguageModel) -> Updater:
    config = TrainingConfig(
        steps=STEPS,
        row_tokens=T,
        global_batch_tokens=ROWS * T,
        micro_batch=4,
        optimizer=ADAMW,
        schedule=WSDConfig(warmup_steps=0),
        clip_norm=CLIP_NORM,
        precision="float32",
        evaluate_every_steps=STEPS,
    )
    return Updater(model, Rows(), config, build_objective(CausalConfig(), TOKENIZER), seed=0)  # type: ignore[arg-type]


def their_step(model: Any, optimizer: torch.optim.Optimizer, step: int, factor: float) -> tuple[float, float]:
    """Loss and gradient norm before it."""
    loss = model(rows(step), labels=rows(step)).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    for group in optimizer.param_groups:
        group["lr"] = RATE * factor
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach()), float(norm)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_same_weights_after_a_step(read_theirs, in_float64, steps):
    """In float64: the gradient of a key's bias is zero but for rounding, of which AdamW makes a whole step."""
    theirs = their_model()
    config, tensors = read_theirs(theirs)
    ours = build_model(config)
    ours.load_state_dict(tensors)
    updater, optimizer = our_updater(in_float64(ours)), their_optimizer(in_float64(theirs))
    for step in range(steps):
        update = updater.update(step, step * ROWS, factor=0.7)
        loss, norm = their_step(theirs, optimizer, step, factor=0.7)
        assert update.loss == pytest.approx(loss, rel=1e-10)
        assert update.grad_norm == pytest.approx(norm, rel=1e-10)
        assert update.grad_norm > CLIP_NORM, "nothing was clipped"
    _, after = read_theirs(theirs)
    moved = 0.0
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.detach(), after[name], rtol=0, atol=1e-11)
        moved = max(moved, float((parameter.detach() - tensors[name]).abs().max()))
    assert moved > 1e-3, "nothing was learned"


def test_the_same_losses_for_twenty_steps(read_theirs):
    """In float32, as everybody trains."""
    theirs = their_model()
    config, tensors = read_theirs(theirs)
    ours = build_model(config)
    ours.load_state_dict(tensors)
    updater, optimizer = our_updater(ours), their_optimizer(theirs)
    losses = [
        (updater.update(step, step * ROWS, 1.0).loss, their_step(theirs, optimizer, step, 1.0)[0])
        for step in range(STEPS)
    ]
    assert losses[-1][0] < 0.8 * losses[0][0], "nothing was learned"
    for step, (mine, other) in enumerate(losses):
        assert mine == pytest.approx(other, abs=1e-5), step


def test_decay_on_the_tables_would_be_seen(read_theirs, in_float64):
    """Otherwise the groups above could be wrong: to decay tables too, as some do, gives other weights."""
    theirs = their_model()
    config, tensors = read_theirs(theirs)
    ours = build_model(config)
    ours.load_state_dict(tensors)
    updater, optimizer = our_updater(in_float64(ours)), their_optimizer(in_float64(theirs))
    for group in optimizer.param_groups:
        group["weight_decay"] = ADAMW.weight_decay
    updater.update(0, 0, 1.0)
    their_step(theirs, optimizer, 0, 1.0)
    _, after = read_theirs(theirs)
    gaps = {name: float((p.detach() - after[name]).abs().max()) for name, p in ours.named_parameters()}
    assert gaps["embedding.weight"] > 1e-5
    assert all(gap < 1e-11 for name, gap in gaps.items() if "qkv.weight" in name)
