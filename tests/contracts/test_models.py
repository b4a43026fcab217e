"""Every architecture learns: all of it gets a gradient, it overfits a batch, and comes back from disk as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.data import Batch
from stepwell.models import MODELS, LanguageModel, build_model
from stepwell.objectives import CausalConfig, MaskedConfig, build_objective
from stepwell.optimization import AdamWConfig, build_optimizers
from stepwell.tokenizers import Tokenizer

CPU = torch.device("cpu")


def batch(length: int = 16) -> Batch:
    """Three rows: one document, three documents, and one with padding."""
    ids = np.random.default_rng(0).integers(2, 258, size=(3, length + 1))
    mask = np.ones((3, length), dtype=bool)
    mask[2, length // 2 :] = False
    documents = np.zeros((3, length), dtype=np.int32)
    documents[1, 5:], documents[1, 9:] = 1, 2
    documents[2] = ~mask[2]
    return Batch(np.where(mask, ids[:, :-1], 0), np.where(mask, ids[:, 1:], 0), mask, documents)


OBJECTIVES = {"causal": CausalConfig(), "masked": MaskedConfig(mask_ratio=0.5)}
"""For each kind of objective that some family learns from first."""


def loss_of(model: LanguageModel, tokenizer: Tokenizer, data: Batch) -> torch.Tensor:
    """The mean loss, in nats, of what suits the model's family."""
    objective = build_objective(OBJECTIVES[MODELS[model.config.kind].objectives[0]], tokenizer)
    examples = objective.prepare(data, seed=0)
    return objective.loss(model, examples, CPU) / examples.num_targets


def test_the_gradient_reaches_every_parameter(learner, byte_tokenizer):
    model = learner.train()
    model.zero_grad(set_to_none=True)
    loss_of(model, byte_tokenizer, batch()).backward()
    model.eval()
    tables = {id(parameter) for parameter in model.lookup_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        reached = parameter.grad.flatten(1).any(dim=1) if parameter.ndim > 1 else parameter.grad != 0
        share = 0.1 if id(parameter) in tables else 0.8  # a table is reached where its tokens are in the batch
        assert reached.float().mean() > share, name
    model.zero_grad(set_to_none=True)


def test_padding_gives_no_gradient_and_changes_no_loss(learner, byte_tokenizer):
    clean, dirty = batch(), batch()
    dirty.token_ids[~dirty.loss_mask] = 99
    dirty.targets[~dirty.loss_mask] = 7
    losses = []
    for data in (clean, dirty):
        learner.zero_grad(set_to_none=True)
        loss = loss_of(learner, byte_tokenizer, data)
        loss.backward()
        losses.append((float(loss.detach()), {n: p.grad.clone() for n, p in learner.named_parameters()}))
    learner.zero_grad(set_to_none=True)
    assert losses[0][0] == losses[1][0]
    for name, gradient in losses[0][1].items():
        torch.testing.assert_close(gradient, losses[1][1][name])


def fresh(model: LanguageModel) -> LanguageModel:
    """A new model of the same config, without dropout, as training begins with."""
    return build_model(model.config.model_copy(update={"dropout": 0.0}), seed=0)


@pytest.mark.slow_but("grouped", "experts", "encoder/plain", "as T5", "lstm/tied", "additive", "feed_forward/plain")
def test_it_overfits_one_batch(learner, byte_tokenizer):
    model, data = fresh(learner).train(), batch()
    (optimizer,) = build_optimizers(model, AdamWConfig(learning_rate=0.01, weight_decay=0.0))
    first = float(loss_of(model, byte_tokenizer, data).detach())
    for _ in range(60):
        loss = loss_of(model, byte_tokenizer, data)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert first > 5
    assert float(loss.detach()) < 0.2


@torch.no_grad()
def test_it_comes_back_from_disk_as_it_was(tiny_model, byte_tokenizer, tmp_path):
    save_checkpoint(tmp_path / "checkpoint", tiny_model, byte_tokenizer, provenance={})
    loaded = load_checkpoint(tmp_path / "checkpoint").model
    assert loaded.config == tiny_model.config
    assert type(loaded) is type(tiny_model)
    for name, parameter in tiny_model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
    tokens = torch.from_numpy(batch().token_ids)
    assert torch.equal(loaded(tokens), tiny_model(tokens))
