"""How fast this machine trains: measured by training.

A few real updates of a small and a middle-sized model give the operations a second at two widths; every other
depth is read off the line between them, and the chosen one is measured itself. Nothing here is estimated from a data
sheet. This file leaves out which size is best (`recipes`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psutil
from numpy.typing import NDArray

from stepwell.config import Config
from stepwell.data import Packer
from stepwell.hardware import Machine
from stepwell.inference import embed_tokens, score_documents, tell_labels, tell_token_labels
from stepwell.models import MODELS, AnyModelConfig, LanguageModel, ModelConfig, build_model
from stepwell.objectives import build_objective
from stepwell.recipes import MAX_SEQ_LEN, derive_training, train_defaults
from stepwell.studies.corpus import Corpus, Tokens
from stepwell.training import TrainingConfig, Updater, World

PROBED_DEPTHS = (2, 4)
PROBE_SECONDS = 1.2
PROBED_TOKENS = 2048
"""Scored together, at least."""


@dataclass(frozen=True)
class Speed:
    """What a model of one shape does on this machine.

    Attributes:
        train_tokens_per_second: updates included.
        score_tokens_per_second: measuring on held-out text.
        memory_bytes: of this process while it trained.
    """

    train_tokens_per_second: float
    score_tokens_per_second: float
    memory_bytes: int


class ProbedShape(Config):
    """What is probed.

    Attributes:
        model: its shape.
        training: batch, precision and optimizer.
    """

    model: AnyModelConfig
    training: TrainingConfig


def train_for_a_while(
    shape: ProbedShape, tokens: Tokens, machine: Machine, world: World
) -> tuple[LanguageModel, float]:
    """Train for about a second, on all ranks at once.

    Returns:
        The model, whole on rank 0, and how many tokens a second all ranks together trained on.
    """
    training = shape.training
    packer = Packer(tokens.train, training.row_length(shape.model.max_seq_len), 0)
    objective = build_objective(training.objective, tokens.tokenizer)
    updater = Updater(build_model(shape.model, 0).to(machine.device), packer, training, objective, 0, world)
    num_tokens, laps = 0, 0
    updater.update(0, 0, 1.0)  # the first update allocates
    began = world.time()
    while (seconds := world.time() - began) < PROBE_SECONDS or laps < 2:
        num_tokens += updater.update(laps, laps * updater.rows_per_step, 1.0).num_tokens
        laps += 1
    return updater.spread.whole(), num_tokens / seconds


def measure_speed(model: ModelConfig, training: TrainingConfig, corpus: Corpus, machine: Machine) -> Speed:
    """Train and score for about two seconds, and throw the model away.

    Args:
        model: the shape.
        training: batch, precision and optimizer.
        corpus: real text, because padding and document borders cost time too.
        machine: where tensors go.
    """
    shape = ProbedShape.model_validate({"model": model, "training": training})
    world = World.from_environment()
    if world.size > 1:
        plain = shape.model_dump(mode="json")
        world.broadcast({"job": "probe", "shape": plain, "tokens": corpus.to_plain(), "machine": machine.as_dict()})
    built, train_rate = train_for_a_while(shape, corpus, machine, world)
    score_rate = _score_for_a_while(built, training, corpus)
    return Speed(train_rate, score_rate, int(psutil.Process().memory_info().rss))


def _score_for_a_while(model: LanguageModel, training: TrainingConfig, corpus: Corpus) -> float:
    """Tokens a second of measuring, several documents at a time as they are measured."""
    scored, began, number, precision = 0, time.monotonic(), 0, training.precision
    while number < corpus.train.num_documents and time.monotonic() - began < PROBE_SECONDS / 4:
        documents: list[NDArray[Any]] = []
        while number < corpus.train.num_documents and sum(map(len, documents)) < PROBED_TOKENS:
            documents.append(corpus.train.document(number))
            number += 1
        read = [document[:-1] for document in documents]
        if training.objective.kind == "contrastive":
            embed_tokens(model, [one.tolist() for one in read], pooling=training.objective.pooling)
        elif model.task_head is None:
            list(score_documents(model, documents, precision=precision))
        elif model.task_head.config.pooling == "each":
            tell_token_labels(model, read, precision=precision)
        else:
            tell_labels(model, read, precision=precision)
        scored += sum(map(len, read))
    return scored / (time.monotonic() - began)


class Speedometer:
    """Training speed by depth, measured where it matters.

    Args:
        kind: of the model.
        corpus: real text to train on.
        machine: precision, threads and memory.
        optimizer: its kind.
        row_tokens: length of a row, where it is known already: no example is longer. None for the usual window.
    """

    def __init__(
        self, kind: str, corpus: Corpus, machine: Machine, optimizer: str, row_tokens: int | None = None
    ) -> None:
        self._kind, self._corpus, self._machine, self._optimizer = kind, corpus, machine, optimizer
        self._row_tokens = row_tokens
        self._measured: dict[int, Speed] = {}

    def measured(self, depth: int) -> Speed:
        """The speed of the model of a depth, by training it."""
        if depth not in self._measured:
            model = self._shape(depth)
            training = train_defaults(
                derive_training(
                    model,
                    tokens=4e6,
                    steps=None,
                    precision=self._machine.precision,
                    memory_bytes=self._machine.memory_bytes,
                    optimizer=self._optimizer,
                    row_tokens=self._row_tokens,
                )
            )
            self._measured[depth] = measure_speed(model, training, self._corpus, self._machine)
        return self._measured[depth]

    def tokens_per_second(self, depth: int) -> float:
        """Training speed at a depth, read off the measured rates of operations."""
        low, high = PROBED_DEPTHS
        rates = [self.measured(d).train_tokens_per_second * self._shape(d).train_flops_per_token for d in (low, high)]
        share = min(1.0, max(0.0, (depth - low) / (high - low)))
        return (rates[0] + share * (rates[1] - rates[0])) / self._shape(depth).train_flops_per_token

    def _shape(self, depth: int) -> ModelConfig:
        window = max(MAX_SEQ_LEN, self._row_tokens or 0)
        return MODELS[self._kind].sized(depth, vocab_size=self._corpus.tokenizer.vocab_size, max_seq_len=window)
