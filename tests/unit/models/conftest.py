"""What the tests of the models share: a small text learned in a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stepwell.data import Batch
from stepwell.models import LanguageModel
from stepwell.objectives import causal_loss
from stepwell.optimization import AdamWConfig, build_optimizers

ROW = 32


@pytest.fixture(scope="session")
def learned_share(small_text) -> Callable[[LanguageModel], float]:
    """A function: nats per byte of a model after 60 steps on 2 kB, as a share of the entropy of single bytes."""
    ids = np.frombuffer(small_text("en", 2_000).encode(), np.uint8).astype(np.int64)
    rows = ids[: len(ids) // (ROW + 1) * (ROW + 1)].reshape(-1, ROW + 1)
    mask, documents = np.ones((len(rows), ROW), bool), np.zeros((len(rows), ROW), np.int32)
    batch = Batch(rows[:, :-1], rows[:, 1:], mask, documents)
    shares = np.bincount(ids) / len(ids)
    entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()

    def learn(model: LanguageModel) -> float:
        (optimizer,) = build_optimizers(model.train(), AdamWConfig(learning_rate=0.01))
        for _ in range(60):
            loss = causal_loss(model, batch, torch.device("cpu")) / batch.num_targets
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return float(loss.detach()) / entropy

    return learn
