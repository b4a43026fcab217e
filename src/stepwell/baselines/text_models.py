"""Simple models that give texts labels: the commonest label, a linear model, a network over the bag of n-grams.

They learn in seconds what a larger network on a small labelled set has to beat, and a mean of their probabilities and
its own is often better than each. All speak in probabilities, and are kept as tensors, never pickled. This file leaves
out what they see of a text (`features.py`), and convolutions.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, embedding_bag, mse_loss

from stepwell.baselines.features import Features, is_dense
from stepwell.data import needed
from stepwell.runs import write_atomically

Problem = Literal["single", "multiple", "number"]
Labels = NDArray[Any]
Outputs = NDArray[np.float64]

INVERSE_PENALTY = 1.0
"""Of the linear model's weights (benchmarks/LOG.md)."""

SHARPNESS = 3.0
"""Distances from a border times this are logits: about as sure as a linear model is right."""


class TextModel(ABC):
    """A simple model of labels.

    Args:
        problem: what labels are.
        num_outputs: K.

    Attributes:
        center: of numbers, what a network tells is how far from this they are.
        spread: of numbers, the unit of that.
    """

    name: ClassVar[str]

    def __init__(self, problem: Problem, num_outputs: int) -> None:
        self.problem, self.num_outputs = problem, num_outputs
        self.center, self.spread = 0.0, 1.0

    @abstractmethod
    def fit(self, texts: Sequence[str], labels: Labels, seed: int = 0) -> None:
        """Learn.

        Args:
            texts: N, at least one of each label.
            labels: (N,) in [0, K); (N, K) whether each is right, of several; (N,) numbers.
            seed: decides every draw.
        """

    @abstractmethod
    def tell(self, texts: Sequence[str]) -> Outputs:
        """(N, K) probabilities; of a number (N, 1) that number."""

    def tensors(self) -> dict[str, Tensor]:
        """What is kept, by name."""
        return {}

    @abstractmethod
    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what was kept."""

    features: Features | None = None

    def right(self, labels: Labels) -> Tensor:
        """Labels as a network learns them; numbers are brought to mean 0 and spread 1."""
        if self.problem == "number":
            numbers = np.asarray(labels, np.float64)
            self.center, self.spread = float(numbers.mean()), float(numbers.std()) or 1.0
            labels = (numbers - self.center) / self.spread
        return torch.from_numpy(np.asarray(labels, np.int64 if self.problem == "single" else np.float32))

    def told(self, logits: Tensor) -> Outputs:
        """What a network's outputs (N, K) say: probabilities, or numbers."""
        said = as_told(logits.double(), self.problem)
        return said * self.spread + self.center if self.problem == "number" else said

    def save(self, path: Path) -> None:
        """Write a file (safetensors, its vocabulary in the header)."""
        tensors = {f"model.{name}": tensor.contiguous() for name, tensor in self.tensors().items()}
        kept = ("name", "problem", "num_outputs", "center", "spread")
        said: dict[str, Any] = {name: getattr(self, name) for name in kept}
        if self.features is not None:
            said["ngrams"] = list(self.features.vocabularies)
            for kind, words in self.features.vocabularies.items():
                packed = "\0".join(words).encode()
                tensors[f"vocabulary.{kind}"] = torch.from_numpy(np.frombuffer(packed, np.uint8).copy())
                tensors[f"idf.{kind}"] = torch.from_numpy(np.asarray(self.features.idf[kind], np.float32))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(tensors, metadata={"stepwell": json.dumps(said)}))


class Majority(TextModel):
    """How often each label is right, whatever the text; of numbers their mean."""

    name = "majority"

    def fit(self, texts: Sequence[str], labels: Labels, seed: int = 0) -> None:
        if self.problem == "single":
            self.shares = np.bincount(np.asarray(labels, np.int64), minlength=self.num_outputs) / len(labels)
        else:
            self.shares = np.asarray(labels, np.float64).reshape(len(labels), -1).mean(0)

    def tell(self, texts: Sequence[str]) -> Outputs:
        return np.repeat(self.shares[None], len(texts), axis=0)

    def tensors(self) -> dict[str, Tensor]:
        return {"shares": torch.from_numpy(np.asarray(self.shares, np.float64))}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        self.shares = tensors["shares"].numpy()


class Linear(TextModel):
    """A linear support vector machine over TF-IDF, one border for each label; of numbers ridge regression."""

    name = "linear"
    kinds: tuple[str, ...] = ("words",)

    def fit(self, texts: Sequence[str], labels: Labels, seed: int = 0) -> None:
        svm: Any = needed("sklearn.svm", "data", "a linear baseline")
        linear: Any = needed("sklearn.linear_model", "data", "a linear baseline")
        self.features = Features.of(texts, ("characters",) if is_dense(texts) else self.kinds)
        rows = self.features.rows(texts)
        if self.problem == "number":
            ridge = linear.Ridge(alpha=1.0, solver="lsqr").fit(rows, np.asarray(labels, np.float64))
            self._keep(ridge.coef_[None], np.atleast_1d(ridge.intercept_))
            return
        right = np.eye(self.num_outputs)[np.asarray(labels, np.int64)] if self.problem == "single" else labels
        weights, biases = [], []
        for column in np.asarray(right).T:
            if len(np.unique(column)) < 2:  # a label that every text has, or none
                weights.append(np.zeros((1, rows.shape[1])))
                biases.append(np.full(1, 3.0 if column[0] else -3.0))
                continue
            scale = self._scale(rows, column > 0)
            model = svm.LinearSVC(C=INVERSE_PENALTY, random_state=0).fit(rows.multiply(scale).tocsr(), column)
            weights.append(model.coef_ * scale)
            biases.append(model.intercept_)
        self._keep(SHARPNESS * np.concatenate(weights), SHARPNESS * np.concatenate(biases))

    def _scale(self, rows: Any, right: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(F,) by what each n-gram is multiplied for a label that is right for some of the N texts."""
        return np.ones(rows.shape[1], np.float32)

    def _keep(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """In the precision in which they are written, so that a model says the same once it is read again."""
        self.weight, self.bias = weight.astype(np.float32), bias.astype(np.float64)

    def tell(self, texts: Sequence[str]) -> Outputs:
        assert self.features is not None
        logits = np.asarray(self.features.rows(texts) @ self.weight.T) + self.bias
        return as_told(torch.from_numpy(logits.astype(np.float64)), self.problem)

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": torch.from_numpy(self.weight), "bias": torch.from_numpy(self.bias)}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        self.weight, self.bias = tensors["weight"].numpy(), tensors["bias"].numpy()


class LinearOfPieces(Linear):
    """The same over words and pieces of words."""

    name = "linear_of_pieces"
    kinds = ("words", "pieces")


class NaiveBayes(Linear):
    """The same over n-grams that count as much as they tell labels apart by themselves (Wang and Manning, 2012, NBSVM).

    Its errors are others than those of the plain linear model, so the two together are better than each.
    """

    name = "naive_bayes"
    kinds = ("words", "pieces")

    def _scale(self, rows: Any, right: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Log of how much likelier each n-gram is in texts of the label; each counts as seen once more in both."""
        seen = rows > 0
        ours, theirs = (1 + np.asarray(seen[some].sum(axis=0)).ravel() for some in (right, ~right))
        return np.asarray(np.log(ours / ours.sum()) - np.log(theirs / theirs.sum()), np.float32)


MANY_NGRAMS = 80
"""N-grams of a text from which on a few epochs, with many n-grams left out, are enough."""


class Bag(TextModel):
    """A network with one hidden layer over the bag of n-grams (Iyyer et al., 2015; Joulin et al., 2017, "fastText").

    The table of n-grams moves by sparse updates, so an epoch costs what its texts hold, not what the table holds.
    """

    name = "bag"

    width, epochs, learning_rate, batch_texts = 128, 10, 3e-3, 64
    drop_ngrams, drop_hidden = 0.2, 0.6

    def fit(self, texts: Sequence[str], labels: Labels, seed: int = 0) -> None:
        self.features = Features.of(texts, ("pairs",) if is_dense(texts) else ("words", "pieces"))
        rows = self.features.rows(texts)
        if rows.nnz > MANY_NGRAMS * len(texts):
            self.width, self.epochs, self.drop_ngrams = 64, 4, 0.5
        generator = torch.Generator().manual_seed(seed)
        self._draw(self.features.size, generator)
        right = self.right(labels)
        dense = torch.optim.AdamW([self.bias, *self.out.parameters()], lr=self.learning_rate, weight_decay=0.0)
        sparse = torch.optim.SparseAdam([self.table], lr=self.learning_rate)
        steps = self.epochs * -(-len(texts) // self.batch_texts)
        step = 0
        for _ in range(self.epochs):
            order = torch.randperm(len(texts), generator=generator).numpy()
            for first in range(0, len(order), self.batch_texts):
                chosen = order[first : first + self.batch_texts]
                logits = self._logits(rows[chosen], generator)
                loss_of(logits, right[torch.from_numpy(chosen)], self.problem).backward()
                for optimizer in (dense, sparse):
                    for group in optimizer.param_groups:
                        group["lr"] = self.learning_rate * (1 - step / steps)
                    optimizer.step()
                    optimizer.zero_grad()
                step += 1

    def tell(self, texts: Sequence[str]) -> Outputs:
        assert self.features is not None
        with torch.inference_mode():
            return self.told(self._logits(self.features.rows(texts), None))

    def tensors(self) -> dict[str, Tensor]:
        out = {f"out.{name}": tensor.detach() for name, tensor in self.out.named_parameters()}
        return {"table": self.table.detach(), "bias": self.bias.detach(), **out}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        self.width = tensors["table"].shape[1]
        self._draw(tensors["table"].shape[0], torch.Generator().manual_seed(0))
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])

    def _draw(self, size: int, generator: torch.Generator) -> None:
        self.table = nn.Parameter(0.05 * torch.randn(size, self.width, generator=generator))
        self.bias = nn.Parameter(torch.zeros(self.width))
        with torch.random.fork_rng(devices=[]):
            self.out = nn.Linear(self.width, self.num_outputs)
        nn.init.normal_(self.out.weight, std=self.width**-0.5, generator=generator)
        nn.init.zeros_(self.out.bias)

    def _logits(self, rows: Any, training: torch.Generator | None) -> Tensor:
        columns, shares = torch.from_numpy(rows.indices.astype(np.int64)), torch.from_numpy(rows.data)
        if training is not None:
            keep = 1 - self.drop_ngrams
            shares = shares * (torch.rand(len(shares), generator=training) < keep) / keep
        offsets = torch.from_numpy(rows.indptr[:-1].astype(np.int64))
        bag = embedding_bag(columns, self.table, offsets, mode="sum", per_sample_weights=shares, sparse=True)
        hidden = torch.relu(bag + self.bias)
        if training is not None:
            keep = 1 - self.drop_hidden
            hidden = hidden * (torch.rand(hidden.shape, generator=training) < keep) / keep
        logits: Tensor = self.out(hidden)
        return logits


def loss_of(logits: Tensor, right: Tensor, problem: Problem) -> Tensor:
    """Mean loss of N texts: (N, K) logits against (N,) labels, (N, K) flags or (N,) numbers."""
    if problem == "single":
        return cross_entropy(logits, right)
    if problem == "multiple":
        return binary_cross_entropy_with_logits(logits, right, reduction="none").sum(-1).mean()
    return mse_loss(logits.squeeze(-1), right)


def as_told(logits: Tensor, problem: Problem) -> Outputs:
    """Probabilities of logits (N, K); a number as it is."""
    if problem == "number":
        return logits.numpy()
    return (logits.softmax(-1) if problem == "single" else logits.sigmoid()).numpy()
