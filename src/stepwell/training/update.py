"""One optimizer update, and nothing around it.

The gradient of a whole global batch is gathered micro-batch by micro-batch; each loss is a sum divided by the tokens
that count in the *global* batch, so accumulation equals the big batch. Every micro-batch seeds its own examples and
dropout, so an update is a pure function of weights, rows and step. Several ranks share the micro-batches of a global
batch in turn; what counts is summed over all of them, so they make the update that one process would make.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from stepwell.data import Batch, Packer
from stepwell.models import LanguageModel
from stepwell.objectives import Examples, Objective
from stepwell.optimization import WeightAverage, add_noise, averaged, build_optimizers, gather
from stepwell.seeding import derive_seed
from stepwell.training.adapting import adapt, freeze
from stepwell.training.config import TrainingConfig
from stepwell.training.feed import Feed, Portion
from stepwell.training.memory import needing_memory
from stepwell.training.pacing import context_at, cut_documents, rows_at
from stepwell.training.spread import spread_over
from stepwell.training.world import World


@dataclass(frozen=True)
class Update:
    """What an update did.

    Attributes:
        loss: what is minimised, before the update: mean over the tokens that count, without what a model adds.
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
class Part:
    """The examples of one micro-batch.

    Attributes:
        index: which micro-batch of the global batch it is; seeds the dropout.
        examples: what it learns from.
        counts: whether it does: ranks go through as many micro-batches as each other, and one that has none left takes
            part for nothing.
    """

    index: int
    examples: Examples
    counts: bool = True


@dataclass(frozen=True)
class Prepared:
    """What one rank learns from in one update.

    Attributes:
        parts: its micro-batches, at least one.
        num_tokens: tokens of the text that they were made of.
    """

    parts: Sequence[Part]
    num_tokens: int

    @property
    def num_targets(self) -> int:
        """Predictions that count."""
        return sum(part.examples.num_targets for part in self.parts if part.counts)


class Updater:
    """Makes updates to a model.

    `feed` makes the examples, in line unless it is `working`; `micro_batch` may be lowered between two updates;
    `average` wants to be told (`note`) of each update that stays.

    Args:
        model: its parameters are changed in place.
        packer: where rows come from.
        config: batch and its ramp, curriculum, precision, clipping, noise, optimizer, averaging.
        objective: what is minimised.
        seed: of examples, dropout and noise.
        world: the ranks that share the work; default alone.
    """

    def __init__(
        self,
        model: LanguageModel,
        packer: Packer,
        config: TrainingConfig,
        objective: Objective[Any],
        seed: int,
        world: World | None = None,
    ) -> None:
        self.model, self.packer, self.config, self.objective, self.seed = model, packer, config, objective, seed
        self.device = next(model.parameters()).device
        self.world = World.alone() if world is None else world
        adapt(model, config.adapter, seed)
        freeze(model, config.freeze or ())
        if config.checkpoint_activations:
            model.checkpoint_activations()
        self.spread = spread_over(self.world, model, objective, config)  # before the optimizers: they hold the shards
        self.optimizers = build_optimizers(model, config.optimizer, config.layer_decay)
        self.average = WeightAverage(model, config.averaging)
        self.max_seq_len = model.config.max_seq_len
        self.rows_per_step = config.rows_per_step(self.max_seq_len)
        self.micro_batch = config.micro_batch
        self.feed = Feed(self.prepare, self.rows_at)

    def rows_at(self, step: int) -> int:
        """Rows of the global batch of one update; `rows_per_step` once a ramp is over."""
        return rows_at(self.config.batch_ramp, self.rows_per_step, step)

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Within, the model has the weights to measure and to keep, where those are not the ones that are trained."""
        with averaged(self.optimizers), self.average.in_place():
            yield

    def prepare(self, portion: Portion) -> Prepared:
        """Make the examples of one update: a pure function of the portion, which any thread may call."""
        world, rows = self.world, portion.num_rows
        whole = self.objective.takes_whole_batch
        size = -(-rows // world.size) if whole else min(portion.micro_batch, -(-rows // world.size))
        places = list(enumerate(range(0, rows, size)))
        own = places[world.rank :: world.size]
        context = context_at(self.config.curriculum, self.config.row_length(self.max_seq_len), portion.step)
        batches = [
            cut_documents(self.packer.batch(portion.first_row + done, min(size, rows - done)), context)
            for _, done in own
        ]
        parts = [
            Part(index, self._examples(batch, derive_seed(self.seed, "examples", portion.step, done), portion))
            for batch, (index, done) in zip(batches, own, strict=True)
        ]
        if len(own) < -(-len(places) // world.size):
            idle = self.objective.prepare(self.packer.batch(portion.first_row, 1), self.seed)
            parts.append(Part(len(places), idle, counts=False))
        return Prepared(parts, sum(batch.num_targets for batch in batches))

    def _examples(self, batch: Batch, seed: int, portion: Portion) -> Examples:
        objective: Objective[Examples] = self.objective
        if objective.takes_whole_batch:
            return objective.prepare_whole(batch, seed, portion.micro_batch)
        return objective.prepare(batch, seed)

    def update(self, step: int, first_row: int, factor: float) -> Update:
        """Make one update.

        Args:
            step: updates made before; it seeds dropout and noise, and says where ramps are.
            first_row: where the global batch begins in the packer's stream; it takes `rows_at(step)` rows.
            factor: share of the full learning rates, in [0, 1].

        Raises:
            TrainingError: when rows cannot be prepared, or there is no memory for the optimizer's state.
        """
        config = self.config
        prepared = self.feed.take(Portion(step, first_row, self.rows_at(step), self.micro_batch))
        targets, num_tokens = map(int, self.world.sum(prepared.num_targets, prepared.num_tokens))
        num_targets = max(1, targets)
        self.model.train()
        total = 0.0
        for number, part in enumerate(prepared.parts, start=1):
            torch.manual_seed(derive_seed(self.seed, "dropout", step, part.index))
            with self.spread.accumulating(is_last=number == len(prepared.parts)):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                    loss, told = self.spread.loss(part.examples)
                if part.counts:
                    total += float(told) / num_targets
                else:
                    loss = 0.0 * loss
                (loss / (num_targets / self.world.size)).backward()  # the ranks' gradients are averaged, not summed
        (total,) = self.world.sum(total)
        grad_norm = float(gather(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)))
        is_finite = math.isfinite(total) and math.isfinite(grad_norm)
        if is_finite:
            add_noise(self.model, config.gradient_noise, self.seed, step)
            with needing_memory("the optimizer's state", "take a smaller model"):
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = group["full_rate"] * factor
                    optimizer.step()
        self.model.zero_grad(set_to_none=True)
        return Update(total, grad_norm, num_targets, num_tokens, is_finite)
