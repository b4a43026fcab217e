"""How likely a model finds a text: the chain rule over its tokens.

Documents of any length are cut into windows (`window.py`), windows of like length share a right-padded batch, and
logits are made for a slice of positions at a time, so memory stays bounded whatever the vocabulary. Padding stands
after every real token and attention is causal, so it changes nothing. This file leaves out bytes, averages and
intervals (`evaluation`).
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
from stepwell.inference.window import Window, split_windows
from stepwell.models import LanguageModel

TokenIds = NDArray[np.integer]

LOGITS_AT_ONCE = 2**22
"""Numbers in the slice of logits that is held at a time."""

BATCHES_AT_ONCE = 32
"""Documents are read ahead for about so many batches, so that those of like length find each other."""


class TokenScores(NamedTuple):
    """What a model made of one document of T tokens.

    Attributes:
        logprobs: (T - 1,) float32, log-probability (nats) of each token but the first, given those before it.
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
    """Log-probability of each token of one sequence given the ones before it.

    Args:
        model: any language model of the catalog.
        token_ids: (T,), T from 1; a sequence longer than the model's window is seen through `window.split_windows`,
            just as `generate` sees it.
        batch_tokens: positions computed at once.
        precision: of the matrix products.

    Returns:
        (T - 1,) nats.
    """
    documents = [np.asarray(token_ids, dtype=np.int64)]
    return next(score_documents(model, documents, batch_tokens=batch_tokens, precision=precision)).logprobs


def score_documents(
    model: LanguageModel,
    documents: Iterable[TokenIds],
    *,
    batch_tokens: int = 2048,
    precision: Precision = "float32",
) -> Iterator[TokenScores]:
    """Score documents, each on its own.

    Args:
        model: any language model of the catalog.
        documents: (T,) token ids of each, begin token first.
        batch_tokens: positions of a batch, padding included; at least one window is always taken. A CPU is fastest
            with few (its caches), a GPU with many.
        precision: of the matrix products; probabilities are float32 in any case.

    Yields:
        The scores of each document, in order.
    """
    group: list[TokenIds] = []
    num_tokens = 0
    for document in documents:
        group.append(document)
        num_tokens += len(document)
        if num_tokens >= BATCHES_AT_ONCE * batch_tokens:
            yield from _score_group(model, group, batch_tokens, precision)
            group, num_tokens = [], 0
    yield from _score_group(model, group, batch_tokens, precision)


class _Part(NamedTuple):
    """A window of one document of a group."""

    document: int
    window: Window

    @property
    def length(self) -> int:
        return self.window.stop - self.window.start


@torch.inference_mode()
def _score_group(
    model: LanguageModel, documents: Sequence[TokenIds], batch_tokens: int, precision: Precision
) -> list[TokenScores]:
    """Score documents together, in batches of windows of like length."""
    lengths = [max(0, len(document) - 1) for document in documents]
    scores = [TokenScores(np.empty(n, np.float32), np.empty(n, np.bool_)) for n in lengths]
    parts = [
        _Part(number, window)
        for number, document in enumerate(documents)
        for window in split_windows(len(document), model.config.max_seq_len)
    ]
    parts.sort(key=lambda part: part.length, reverse=True)
    device = model.device
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with evaluation_mode(model), autocast:
        for batch in _batches(parts, batch_tokens):
            _score_batch(model, documents, batch, scores, device)
    return scores


def _batches(parts: Sequence[_Part], batch_tokens: int) -> Iterator[Sequence[_Part]]:
    """Neighbours among parts that were sorted from long to short."""
    at = 0
    while at < len(parts):
        count = max(1, batch_tokens // parts[at].length)
        yield parts[at : at + count]
        at += count


def _score_batch(
    model: LanguageModel,
    documents: Sequence[TokenIds],
    batch: Sequence[_Part],
    scores: Sequence[TokenScores],
    device: torch.device,
) -> None:
    """Run one padded batch and put its results where they belong."""
    token_ids = np.zeros((len(batch), batch[0].length + 1), dtype=np.int64)
    predicts = np.zeros((len(batch), batch[0].length), dtype=np.bool_)
    for row, (number, window) in enumerate(batch):
        length = window.stop - window.start
        token_ids[row, : length + 1] = documents[number][window.start : window.stop + 1]
        predicts[row, window.first - window.start - 1 : length] = True
    ids = torch.from_numpy(token_ids).to(device)
    counts = torch.from_numpy(predicts).to(device)
    hidden = model.hidden(ids[:, :-1])[counts]
    logprobs, correct = _judge(model, hidden, ids[:, 1:][counts])
    at = 0
    for number, window in batch:
        count = window.stop - window.first + 1
        place = slice(window.first - 1, window.stop)
        scores[number].logprobs[place] = logprobs[at : at + count]
        scores[number].correct[place] = correct[at : at + count]
        at += count


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
