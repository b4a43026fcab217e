"""Vectors of texts that belong together are drawn together, and told from those of the others in the batch.

Each query finds its document among all documents of the batch and all hard negatives, and each document its query
(InfoNCE; van den Oord et al., 2018; both ways as Radford et al., 2021); texts of one label all find one another (Khosla
et al., 2020); pairs with a score have the cosine that it says. Equal texts are never told from each other. The batch is
taken as a whole: only vectors are kept of it, and activations are computed again for the gradient, micro-batch by
micro-batch (Gao et al., 2021, "GradCache"). Several ranks tell examples from those of their own rank. This file leaves
out which texts belong together (`tasks`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax, normalize
from torch.utils.checkpoint import checkpoint

from stepwell.data import Batch
from stepwell.models import LanguageModel, pooled
from stepwell.objectives.config import ContrastiveConfig
from stepwell.objectives.objective import Objective

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Related:
    """Texts of a batch, and which of them belong together.

    Attributes:
        token_ids: (B, T) int64, what the model reads.
        document_ids: (B, T) int64, the texts of a row numbered; nothing is seen across them.
        texts: (B, T) int64, which of P texts a place belongs to; P where there is padding.
        num_texts: P.
        queries: (N,) the texts that look for others.
        candidates: (M,) the texts that they look among; the first N are the documents of the N queries.
        right: (N, M) whether a candidate is one that a query looks for.
        allowed: (N, M) whether it counts at all: not where a query and a candidate may belong together unsaid.
        cosines: (N,) float32, of graded pairs the cosine of each query and its document; None where nothing is graded.
        micro_batch: rows whose activations are held at once; None for all.
    """

    token_ids: Ints
    document_ids: Ints
    texts: Ints
    num_texts: int
    queries: Ints
    candidates: Ints
    right: Bools
    allowed: Bools
    cosines: NDArray[np.float32] | None = None
    micro_batch: int | None = None

    @property
    def counted(self) -> Bools:
        """(N,) which queries have something to find and something to tell it from."""
        return np.logical_and(self.right.any(1), (self.allowed & ~self.right).any(1))

    @property
    def num_targets(self) -> int:
        """Queries that count; of graded pairs all."""
        return len(self.queries) if self.cosines is not None else int(self.counted.sum())


class ContrastiveObjective(Objective[Related]):
    """Tell what belongs together.

    Args:
        config: how.
    """

    takes_whole_batch = True

    def __init__(self, config: ContrastiveConfig) -> None:
        self.config = config

    def prepare(self, batch: Batch, seed: int) -> Related:
        """The texts of a batch, each for itself, and which belong together."""
        return related(batch)

    def prepare_whole(self, batch: Batch, seed: int, micro_batch: int) -> Related:
        """Likewise, to be gone through in micro-batches."""
        return replace(related(batch), micro_batch=micro_batch)

    def loss(self, model: LanguageModel, examples: Related, device: torch.device) -> Tensor:
        """Summed over the queries that count."""
        vectors = normalize(text_vectors(model, examples, self.config.pooling, device), dim=-1)
        queries = vectors[torch.from_numpy(examples.queries).to(device)]
        candidates = vectors[torch.from_numpy(examples.candidates).to(device)]
        if examples.cosines is not None:
            found = (queries * candidates[: len(queries)]).sum(-1)
            return (found - torch.from_numpy(examples.cosines).to(device)).square().sum()
        right, allowed = (torch.from_numpy(one).to(device) for one in (examples.right, examples.allowed))
        counted = torch.from_numpy(examples.counted).to(device)
        similar = queries @ candidates.T / self.config.temperature
        loss = told_apart(similar, right, allowed)[counted].sum()
        if not self.config.both_ways or np.array_equal(examples.queries, examples.candidates):
            return loss
        count = len(queries)
        back = told_apart(similar[:, :count].T, right[:, :count].T, allowed[:, :count].T)
        return (loss + back[counted].sum()) / 2


def told_apart(similar: Tensor, right: Tensor, allowed: Tensor) -> Tensor:
    """How unlikely what is right is among what is allowed, a mean over all that is right.

    Args:
        similar: (N, M) similarities, divided by the temperature.
        right: (N, M) bool, a part of what is allowed.
        allowed: (N, M) bool.

    Returns:
        (N,) float32 nats; 0 where nothing is right.
    """
    least = torch.finfo(torch.float32).min
    nats = -log_softmax(similar.float().masked_fill(~allowed, least), dim=-1)
    return torch.where(right, nats, 0.0).sum(-1) / right.sum(-1).clamp(min=1)


def text_vectors(model: LanguageModel, examples: Related, pooling: str, device: torch.device) -> Tensor:
    """(P, D) float32, one vector for each text.

    Where there are more rows than a micro-batch, activations of one micro-batch are held at a time; the numbers are the
    same.
    """
    rows = len(examples.token_ids)
    step = min(rows, examples.micro_batch or rows)
    found: list[Tensor] = []
    first_text = 0
    for first in range(0, rows, step):
        part = slice(first, first + step)
        texts = examples.texts[part]
        told = texts[texts < examples.num_texts]
        count = int(told.max()) + 1 - first_text if len(told) else 0
        own = np.where(texts < examples.num_texts, texts - first_text, count)
        first_text += count
        token_ids, document_ids, owners = (
            torch.from_numpy(np.ascontiguousarray(one)).to(device)
            for one in (examples.token_ids[part], examples.document_ids[part], own)
        )
        if step == rows:
            return _pooled(model, token_ids, document_ids, owners, count, pooling)
        again = (model, token_ids, document_ids, owners, count, pooling)
        found.append(checkpoint(_pooled, *again, use_reentrant=False))
    return torch.cat(found)


def _pooled(
    model: LanguageModel, token_ids: Tensor, document_ids: Tensor, texts: Tensor, count: int, pooling: str
) -> Tensor:
    return pooled(model.hidden(token_ids, document_ids), texts, count, pooling)


def related(batch: Batch) -> Related:
    """The texts of packed examples, and which of them belong together.

    Args:
        batch: whole examples; `side` of each token is 0 for the query, 1 for its document, above for negatives, and
            `key` is the same in equal texts; `score` or `label` of an example where there is one.
    """
    sides, pieces, is_text = batch.aligned["side"].astype(np.int64), batch.pieces, batch.loss_mask
    begins = np.ones(pieces.shape, np.bool_)
    begins[:, 1:] = (pieces[:, 1:] != pieces[:, :-1]) | (sides[:, 1:] != sides[:, :-1])
    document_ids = np.cumsum(begins, axis=1) - 1
    starts = begins & is_text
    num_texts = int(starts.sum())
    texts = np.where(is_text, np.cumsum(starts).reshape(starts.shape) - 1, num_texts)
    labels, cosines = batch.of_document.get("label"), batch.of_document.get("score")
    who = (
        _of_pairs(sides[starts], pieces[starts], batch.aligned["key"][starts])
        if labels is None
        else _of_classes(labels)
    )
    graded = None if cosines is None else np.asarray(cosines, np.float32)
    return Related(batch.token_ids, document_ids, texts, num_texts, *who, cosines=graded)


def _of_classes(labels: NDArray[Any]) -> tuple[Ints, Ints, Bools, Bools]:
    """Every text looks for those of its label among all others."""
    everything, itself = np.arange(len(labels)), np.eye(len(labels), dtype=np.bool_)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    return everything, everything, alike, ~itself


def _of_pairs(sides: Ints, owners: Ints, keys: NDArray[Any]) -> tuple[Ints, Ints, Bools, Bools]:
    """Every query looks for its document among all documents and negatives.

    A text of another example does not count for a query where the two have one query, or where it is the query's own
    document once more: what belongs to the one belongs to the other. A query's own negatives always count.

    Args:
        sides: (P,) 0 for a query, 1 for its document, above for negatives.
        owners: (P,) which of N examples a text is of.
        keys: (P,) equal for equal texts.

    Returns:
        `queries`, `candidates`, `right` and `allowed` of `Related`.
    """
    queries, documents, negatives = (np.flatnonzero(one) for one in (sides == 0, sides == 1, sides > 1))
    candidates = np.concatenate([documents, negatives])
    right = np.zeros((len(queries), len(candidates)), np.bool_)
    right[:, : len(queries)] = np.eye(len(queries), dtype=np.bool_)
    own = np.arange(len(queries))[:, None] == owners[candidates][None, :]
    one_query = keys[queries][:, None] == keys[queries][owners[candidates]][None, :]
    one_document = keys[documents][:, None] == keys[candidates][None, :]
    return queries, candidates, right, own | ~(one_query | one_document)
