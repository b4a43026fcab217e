"""What a model says about the labels of texts: a task head in numbers, or the model in words; and of tokens.

Texts of like length share a padded batch. This file leaves out what the numbers mean (`tasks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from stepwell.errors import CheckpointError
from stepwell.hardware import Precision
from stepwell.inference.mode import evaluation_mode
from stepwell.inference.scoring import score_documents
from stepwell.models import LanguageModel
from stepwell.tasks import ClassificationConfig, LabelWords
from stepwell.tokenizers import Tokenizer

TokenIds = NDArray[np.integer]


def tell_labels(
    model: LanguageModel,
    documents: Sequence[TokenIds],
    *,
    batch_tokens: int = 4096,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """Numbers of the task head for whole texts.

    Args:
        model: with a task head that pools.
        documents: (T,) token ids of each of N texts, all of which are read; T up to max_seq_len.
        batch_tokens: positions computed at once, padding included.
        precision: of the matrix products.

    Returns:
        (N, K) float32.

    Raises:
        CheckpointError: when the model has no task head.
    """
    rows = dict(_outputs(model, documents, batch_tokens, precision))
    width = 0 if model.task_head is None else model.task_head.config.num_outputs
    return np.stack([rows[n] for n in range(len(documents))]) if rows else np.zeros((0, width), np.float32)


def tell_classes(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: ClassificationConfig,
    rows: Sequence[TokenIds],
    *,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """What a model of a task says of each label of each text, by its head or in words.

    Args:
        model: trained for the task; of words, any that goes on with text.
        tokenizer: the one it was trained with.
        task: its settings.
        rows: (T,) token ids that are read of each of N texts, as the task reads them.
        precision: of the matrix products.

    Returns:
        (N, K) float32 logits; of words how likely each label's word is, in nats.
    """
    if task.mode == "head":
        return tell_labels(model, rows, precision=precision)
    return tell_words(model, rows, LabelWords(task).candidates(tokenizer), precision=precision)


def tell_words(
    model: LanguageModel,
    prompts: Sequence[TokenIds],
    words: Sequence[TokenIds],
    *,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """How likely a model goes on with each of some words.

    Args:
        model: a causal language model.
        prompts: (T,) token ids of each of N texts.
        words: (W,) token ids of each of K words.
        precision: of the matrix products.

    Returns:
        (N, K) float32, the sum of the log-probabilities of a word's tokens, in nats.
    """
    whole = (np.concatenate([prompt, word]) for prompt in prompts for word in words)
    told = score_documents(model, whole, precision=precision)
    sums = [one.logprobs[-len(words[n % len(words)]) :].sum() for n, one in enumerate(told)]
    return np.array(sums, np.float32).reshape(len(prompts), len(words))


def tell_token_labels(
    model: LanguageModel,
    documents: Sequence[TokenIds],
    *,
    batch_tokens: int = 4096,
    precision: Precision = "float32",
) -> list[NDArray[np.float32]]:
    """Numbers of the task head for each token.

    Args:
        model: with a task head for `each` token; the rest is as in `tell_labels`.
        documents: as in `tell_labels`.
        batch_tokens: as in `tell_labels`.
        precision: as in `tell_labels`.

    Returns:
        (T, K) float32 of each text.

    Raises:
        CheckpointError: when the model has no task head.
    """
    rows = dict(_outputs(model, documents, batch_tokens, precision))
    return [rows[n] for n in range(len(documents))]


def _outputs(
    model: LanguageModel, documents: Sequence[TokenIds], batch_tokens: int, precision: Precision
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The number of each text and what the head says of it."""
    if model.task_head is None:
        raise CheckpointError("model: has no task head", wanted="a model that was trained for a task with labels")
    order = sorted(range(len(documents)), key=lambda number: len(documents[number]), reverse=True)
    device, at = model.device, 0
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with evaluation_mode(model), torch.inference_mode(), autocast:
        while at < len(order):
            batch = order[at : at + max(1, batch_tokens // max(1, len(documents[order[at]])))]
            at += len(batch)
            lengths = np.array([len(documents[number]) for number in batch])
            ids = np.zeros((len(batch), max(1, int(lengths.max()))), np.int64)
            for row, number in enumerate(batch):
                ids[row, : lengths[row]] = documents[number]
            padding = np.arange(ids.shape[1]) >= lengths[:, None]
            pieces = np.where(padding, len(batch), np.arange(len(batch))[:, None])
            token_ids = torch.from_numpy(ids).to(device)
            document_ids = torch.from_numpy(padding.astype(np.int64)).to(device) if padding.any() else None
            hidden = model.hidden(token_ids, document_ids)
            out = model.task_head(hidden, token_ids, torch.from_numpy(pieces).to(device), len(batch)).float().cpu()
            for row, number in enumerate(batch):
                told = out[row] if out.dim() == 2 else out[row, : lengths[row]]
                yield number, told.numpy()
