"""One optimizer update, and nothing around it.

The gradient of a whole global batch is gathered micro-batch by micro-batch; each loss is a sum divided by the tokens
that count in the *global* batch, so accumulation equals the big batch. Every micro-batch seeds its own examples and
dropout, so an update is a pure function of weights, rows and step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from stepwell.data import Packer
from stepwell.models import LanguageModel
from stepwell.seeding import derive_seed
from stepwell.training.adapting import adapt
from stepwell.training.config import TrainingConfig
from stepwell.training.feed import Feed, Portion
from stepwell.training.memory import needing_memory
from stepwell.training.objective import Examples, Objective
from stepwell.training.optimizers import build_optimizers


@dataclass(frozen=True)
class Update:
    """What an update did.

    Attributes:
        loss: mean over the tokens that count, nats, before the update.
        grad_norm: norm of the gradient before clipping.
        num_targets: predictions that counted.
        num_tokens: tokens of the text that it learned from; an objective may ask for some of them only.
        is_finite: whether the weights were changed; they are left alone when loss or gradient is not finite.
    """

    loss: float
    grad_norm: float
    num_targets: int
    num_tokens: int
    is_finite: bool


@dataclass(frozen=True)
class Prepared:
    """What one update learns from.

    Attributes:
        examples: of each micro-batch.
        num_tokens: tokens of the text that they were made of.
    """

    examples: Sequence[Examples]
    num_tokens: int


class Updater:
    """Makes updates to a model.

    `feed` makes the examples, in line unless it is `working`; `micro_batch` may be lowered between two updates.

    Args:
        model: its parameters are changed in place.
        packer: where rows come from.
        config: batch, precision, clipping, optimizer.
        objective: what is minimised.
        seed: of examples and dropout.
    """

    def __init__(
        self, model: LanguageModel, packer: Packer, config: TrainingConfig, objective: Objective[Any], seed: int
    ) -> None:
        self.model, self.packer, self.config, self.objective, self.seed = model, packer, config, objective, seed
        self.device = next(model.parameters()).device
        adapt(model, config.lora, seed)
        self.optimizers = build_optimizers(model, config.optimizer)
        self.rows_per_step = config.rows_per_step(model.config.max_seq_len)
        self.micro_batch = config.micro_batch
        self.feed = Feed(self.prepare, lambda step: self.rows_per_step)

    def prepare(self, portion: Portion) -> Prepared:
        """Make the examples of one update: a pure function of the portion, which any thread may call."""
        size, rows = portion.micro_batch, portion.num_rows
        places = range(0, rows, size)
        batches = [self.packer.batch(portion.first_row + done, min(size, rows - done)) for done in places]
        examples = [
            self.objective.prepare(batch, derive_seed(self.seed, "examples", portion.step, done))
            for batch, done in zip(batches, places, strict=True)
        ]
        return Prepared(examples, sum(batch.num_targets for batch in batches))

    def update(self, step: int, first_row: int, factor: float) -> Update:
        """Make one update.

        Args:
            step: seeds the dropout.
            first_row: where the global batch begins in the packer's stream; it takes `rows_per_step` rows.
            factor: share of the full learning rates, in [0, 1].

        Raises:
            TrainingError: when rows cannot be prepared, or there is no memory for the optimizer's state.
        """
        config = self.config
        prepared = self.feed.take(Portion(step, first_row, self.rows_per_step, self.micro_batch))
        examples = prepared.examples
        num_targets = max(1, sum(each.num_targets for each in examples))
        self.model.train()
        total = 0.0
        for index, each in enumerate(examples):
            torch.manual_seed(derive_seed(self.seed, "dropout", step, index))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss = self.objective.loss(self.model, each, self.device)
                total += float(loss.detach()) / num_targets
                auxiliary = self.model.auxiliary_loss()
                if auxiliary is not None:
                    loss = loss + auxiliary * each.num_targets
            (loss / num_targets).backward()
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm))
        is_finite = math.isfinite(total) and math.isfinite(grad_norm)
        if is_finite:
            with needing_memory("the optimizer's state", "take a smaller model"):
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = group["full_rate"] * factor
                    optimizer.step()
        self.model.zero_grad(set_to_none=True)
        return Update(total, grad_norm, num_targets, prepared.num_tokens, is_finite)
