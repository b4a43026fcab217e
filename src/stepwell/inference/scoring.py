"""How likely a model finds a text: the chain rule over its tokens, or each token from all others.

Documents of any length are cut into parts (`parts.py`), parts of like length share a right-padded batch, and logits are
made for a slice of positions at a time, so memory stays bounded whatever the vocabulary. A masked model has no chain
rule: its sum is a *pseudo* log-likelihood, good for comparing masked models with each other and with nothing else. This
file leaves out bytes, averages and intervals (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.hardware import Precision
from stepwell.inference.mode import evaluation_mode
from stepwell.inference.parts import Part, TokenIds, causal_parts, masked_parts
from stepwell.models import Encoder, LanguageModel

LOGITS_AT_ONCE = 2**22
"""Numbers in the slice of logits that is held at a time."""

MASKED_PASSES = 7
"""How often a masked model reads a text to tell all of it; a seventh is hidden each time, about as in training."""

BATCHES_AT_ONCE = 32
"""Documents are read ahead for about so many batches, so that those of like length find each other."""


class TokenScores(NamedTuple):
    """What a model made of one document of T tokens.

    Attributes:
        logprobs: (T - 1,) float32, log-probability (nats) of each token but the first, given those before it; of a
            masked model given all tokens that are not hidden with it.
        correct: (T - 1,) bool, whether the likeliest token was the right one.
    """

    logprobs: NDArray[np.float32]
    correct: NDArray[np.bool_]


def score_tokens(
    model: LanguageModel,
    token_ids: Sequence[int] | TokenIds,
    *,
    batch_tokens: int = 2048,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """Log-probability of each token of one sequence given the ones before it; of a masked model given all others.

    Args:
        model: any language model of the catalog. A masked one reads the sequence T - 1 times.
        token_ids: (T,), T from 1; a sequence longer than the model's window is seen through `window.split_windows`,
            just as `generate` sees it.
        batch_tokens: positions computed at once.
        precision: of the matrix products.

    Returns:
        (T - 1,) nats.
    """
    documents = [np.asarray(token_ids, dtype=np.int64)]
    scores = score_documents(model, documents, batch_tokens=batch_tokens, precision=precision, num_passes=None)
    return next(scores).logprobs


def score_documents(
    model: LanguageModel,
    documents: Iterable[TokenIds],
    *,
    batch_tokens: int = 2048,
    precision: Precision = "float32",
    num_passes: int | None = MASKED_PASSES,
) -> Iterator[TokenScores]:
    """Score documents, each on its own.

    Args:
        model: any language model of the catalog.
        documents: (T,) token ids of each, begin token first.
        batch_tokens: positions of a batch, padding included; at least one window is always taken. A CPU is fastest
            with few (its caches), a GPU with many.
        precision: of the matrix products; probabilities are float32 in any case.
        num_passes: how often a masked model reads a document, each time with 1/num_passes of its tokens hidden; None
            hides one token at a time (Salazar et al., 2020). Others read it once.

    Yields:
        The scores of each document, in order.
    """
    group: list[TokenIds] = []
    num_tokens = 0
    for document in documents:
        group.append(document)
        num_tokens += len(document)
        if num_tokens >= BATCHES_AT_ONCE * batch_tokens:
            yield from _score_group(model, group, batch_tokens, precision, num_passes)
            group, num_tokens = [], 0
    yield from _score_group(model, group, batch_tokens, precision, num_passes)


class _Reading(NamedTuple):
    """A part of one document of a group."""

    document: int
    part: Part

    @property
    def length(self) -> int:
        return len(self.part.read)


@torch.inference_mode()
def _score_group(
    model: LanguageModel,
    documents: Sequence[TokenIds],
    batch_tokens: int,
    precision: Precision,
    num_passes: int | None,
) -> list[TokenScores]:
    """Score documents together, in batches of parts of like length."""
    lengths = [max(0, len(document) - 1) for document in documents]
    scores = [TokenScores(np.empty(n, np.float32), np.empty(n, np.bool_)) for n in lengths]
    readings = [
        _Reading(number, part)
        for number, document in enumerate(documents)
        for part in _parts(model, document, num_passes)
    ]
    readings.sort(key=lambda reading: reading.length, reverse=True)
    device = model.device
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with evaluation_mode(model), autocast:
        for batch in _batches(readings, batch_tokens):
            _score_batch(model, documents, batch, scores, device)
    return scores


def _parts(model: LanguageModel, document: TokenIds, num_passes: int | None) -> Iterator[Part]:
    """What a model has to read of a document."""
    max_seq_len = model.config.max_seq_len
    if isinstance(model, Encoder):
        return masked_parts(document, max_seq_len, model.mask_id, num_passes)
    return causal_parts(document, max_seq_len)


def _batches(readings: Sequence[_Reading], batch_tokens: int) -> Iterator[Sequence[_Reading]]:
    """Neighbours among readings that were sorted from long to short."""
    at = 0
    while at < len(readings):
        count = max(1, batch_tokens // readings[at].length)
        yield readings[at : at + count]
        at += count


def _score_batch(
    model: LanguageModel,
    documents: Sequence[TokenIds],
    batch: Sequence[_Reading],
    scores: Sequence[TokenScores],
    device: torch.device,
) -> None:
    """Run one padded batch and put its results where they belong."""
    token_ids = np.zeros((len(batch), batch[0].length), dtype=np.int64)
    for row, (_, part) in enumerate(batch):
        token_ids[row, : len(part.read)] = part.read
    rows = np.repeat(np.arange(len(batch)), [len(part.told) for _, part in batch])
    places = np.concatenate([part.places for _, part in batch])
    targets = np.concatenate([documents[number][part.told].astype(np.int64) for number, part in batch])
    ids = torch.from_numpy(token_ids).to(device)
    if model.is_causal:
        hidden = model.hidden(ids)
    else:  # padding stands behind every token, but here they look there too: it is made a document of its own
        lengths = np.array([reading.length for reading in batch])
        padding = np.arange(token_ids.shape[1]) >= lengths[:, None]
        hidden = model.hidden(ids, torch.from_numpy(padding.astype(np.int64)).to(device) if padding.any() else None)
    told = hidden[torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)]
    logprobs, correct = _judge(model, told, torch.from_numpy(targets).to(device))
    at = 0
    for number, part in batch:
        here = slice(at, at + len(part.told))
        scores[number].logprobs[part.told - 1] = logprobs[here]
        scores[number].correct[part.told - 1] = correct[here]
        at = here.stop


def _judge(model: LanguageModel, hidden: Tensor, targets: Tensor) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Log-probabilities of targets (N,) from hidden states (N, D), and whether they were the likeliest."""
    logprobs = torch.empty(len(targets), dtype=torch.float32)
    correct = torch.empty(len(targets), dtype=torch.bool)
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for at in range(0, len(targets), at_once):
        part = slice(at, at + at_once)
        logits = model.unembed(hidden[part])
        chosen = logits.gather(1, targets[part, None]).squeeze(1)
        logprobs[part] = (chosen - logits.logsumexp(1)).cpu()
        correct[part] = (logits.argmax(1) == targets[part]).cpu()
    return logprobs.numpy(), correct.numpy()
