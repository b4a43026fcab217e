"""Every architecture learns: all of it gets a gradient, it overfits a batch, and comes back from disk as it was."""

from __future__ import annotations

import numpy as np
import torch

from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.data import Batch
from stepwell.models import LanguageModel, build_model
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer
from stepwell.training import AdamWConfig, build_optimizers, causal_loss

CPU = torch.device("cpu")


def batch(length: int = 16) -> Batch:
    """Three rows: one document, three documents, and one with padding."""
    ids = np.random.default_rng(0).integers(1, 257, size=(3, length + 1))
    mask = np.ones((3, length), dtype=bool)
    mask[2, length // 2 :] = False
    documents = np.zeros((3, length), dtype=np.int32)
    documents[1, 5:], documents[1, 9:] = 1, 2
    documents[2] = ~mask[2]
    return Batch(np.where(mask, ids[:, :-1], 0), np.where(mask, ids[:, 1:], 0), mask, documents)


def test_the_gradient_reaches_every_parameter(learner):
    model = learner.train()
    model.zero_grad(set_to_none=True)
    causal_loss(model, batch(), CPU).backward()
    model.eval()
    tables = {id(parameter) for parameter in model.lookup_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        reached = parameter.grad.flatten(1).any(dim=1) if parameter.ndim > 1 else parameter.grad != 0
        share = 0.1 if id(parameter) in tables else 0.8  # a table is reached where its tokens are in the batch
        assert reached.float().mean() > share, name
    model.zero_grad(set_to_none=True)


def test_padding_gives_no_gradient_and_changes_no_loss(learner):
    clean, dirty = batch(), batch()
    dirty.token_ids[~dirty.loss_mask] = 99
    dirty.targets[~dirty.loss_mask] = 7
    losses = []
    for data in (clean, dirty):
        learner.zero_grad(set_to_none=True)
        loss = causal_loss(learner, data, CPU)
        loss.backward()
        losses.append((float(loss.detach()), {n: p.grad.clone() for n, p in learner.named_parameters()}))
    learner.zero_grad(set_to_none=True)
    assert losses[0][0] == losses[1][0]
    for name, gradient in losses[0][1].items():
        torch.testing.assert_close(gradient, losses[1][1][name])


def fresh(model: LanguageModel) -> LanguageModel:
    """A new model of the same config, without dropout, as training begins with."""
    return build_model(model.config.model_copy(update={"dropout": 0.0}), seed=0)


def test_it_overfits_one_batch(learner):
    model, data = fresh(learner).train(), batch()
    (optimizer,) = build_optimizers(model, AdamWConfig(learning_rate=0.01, weight_decay=0.0))
    first = float(causal_loss(model, data, CPU).detach()) / data.num_targets
    for _ in range(60):
        loss = causal_loss(model, data, CPU) / data.num_targets
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert first > 5
    assert float(loss.detach()) < 0.2


@torch.no_grad()
def test_it_comes_back_from_disk_as_it_was(tiny_model, tmp_path):
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    save_checkpoint(tmp_path / "checkpoint", tiny_model, tokenizer, provenance={})
    loaded = load_checkpoint(tmp_path / "checkpoint").model
    assert loaded.config == tiny_model.config
    assert type(loaded) is type(tiny_model)
    for name, parameter in tiny_model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
    tokens = torch.from_numpy(batch().token_ids)
    assert torch.equal(loaded(tokens), tiny_model(tokens))
