"""Texts that a model writes for the examples of a task, and how likely it finds the texts that it should write.

This file leaves out the search itself (`beams.py`), and what is said about the texts (`evaluation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.data import Document
from stepwell.hardware import Precision
from stepwell.inference.beams import Beams, Written, search_targets
from stepwell.inference.completion import Completion
from stepwell.inference.mode import evaluation_mode
from stepwell.inference.params import SamplingParams
from stepwell.inference.scoring import LOGITS_AT_ONCE, TokenScores, score_documents
from stepwell.models import EncoderDecoder, LanguageModel, RecurrentEncoderDecoder
from stepwell.objectives import Pair, split_pair
from stepwell.tasks import LONGEST_TOKENS, MODEL, Writing, WritingConfig, build_task, taken
from stepwell.tokenizers import Tokenizer

TokenIds = NDArray[np.integer[Any]]


def prompt_room(model: LanguageModel, task: WritingConfig) -> int:
    """Tokens that a prompt may have, so that what is written of it fits into the model's window."""
    window = model.config.max_seq_len
    room = window if model.reads_source else window - target_room(model, task)
    return min(room, task.max_tokens or room)


def target_room(model: LanguageModel, task: WritingConfig) -> int:
    """Tokens that a target may have."""
    window = model.config.max_seq_len
    return min(task.max_target_tokens or LONGEST_TOKENS, (window if model.reads_source else window // 2) - 1)


def write_texts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: WritingConfig,
    prompts: Sequence[TokenIds],
    *,
    max_tokens: int | None = None,
    precision: Precision = "float32",
) -> list[list[Completion]]:
    """What a model writes for prompts, searched for as the task decides.

    Args:
        model: trained for the task.
        tokenizer: of the tokens.
        task: its decision says how to search.
        prompts: as a decoder reads them (`Writing.read`).
        max_tokens: of a target, where that is fewer than the task has.
        precision: of the matrix products.

    Returns:
        For each prompt up to `beam_size` texts, the best first.
    """
    most = target_room(model, task)
    beams = Beams(task.decision.beam_size, task.decision.length_penalty, min(most, max_tokens or most))
    if model.reads_source:
        read = [split_pair(one, len(one), tokenizer).source for one in prompts]
    else:
        read = [np.asarray(one, np.int64) for one in prompts]
    found = search_targets(
        model,
        read,
        beams,
        stop_ids=tokenizer.stop_ids,
        num_tokens=tokenizer.vocab_size,
        precision=precision,
    )
    return [
        [_completion(one, tokenizer, len(prompt)) for one in several]
        for several, prompt in zip(found, prompts, strict=True)
    ]


def _completion(written: Written, tokenizer: Tokenizer, prompt_tokens: int) -> Completion:
    text = tokenizer.target.decode(one for one in written.token_ids if one not in tokenizer.stop_ids)
    return Completion(text.strip(), written.token_ids, written.logprobs, written.finish_reason, prompt_tokens, False)


def write_answers(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: WritingConfig,
    asked: Sequence[str | Mapping[str, Any]],
    params: SamplingParams,
) -> list[list[Completion]]:
    """What a model writes for examples that somebody asks about.

    Args:
        model: trained for the task.
        tokenizer: of the tokens.
        task: its decision says how to search.
        asked: sources, or examples by the names of their fields.
        params: `n` asks for so many of the best texts, of which there are up to `beam_size`; `max_tokens` for no longer
            ones. Nothing is drawn at random.

    Raises:
        UsageError: when an example lacks what the task reads.
    """
    reader = build_task(task)
    assert isinstance(reader, Writing)
    wide = max(task.decision.beam_size, params.n)
    search = task.model_copy(update={"decision": task.decision.model_copy(update={"beam_size": wide})})
    documents = [reader.document(one) for one in asked]
    if MODEL not in task.decision.members:
        return [[one] for one in taken_texts(documents, task)]
    prompts = [ids for ids, _ in reader.read(documents, tokenizer, prompt_room(model, task))]
    written = write_texts(model, tokenizer, search, prompts, max_tokens=params.max_tokens)
    return [several[: params.n] for several in written]


def taken_texts(documents: Sequence[Document], task: WritingConfig) -> list[Completion]:
    """What a task's decision takes of examples, where no model has a say.

    Args:
        documents: the examples.
        task: its decision names what is taken.
    """
    (name,) = task.decision.members
    return [Completion(taken(name, task, one), (), (), "stop", 0, False) for one in documents]


class Marked(NamedTuple):
    """An example with the place where its target begins.

    Attributes:
        token_ids: (T,), what is read and then what is to be written.
        source_tokens: how many come before the target.
    """

    token_ids: TokenIds
    source_tokens: int


def score_targets(
    model: LanguageModel,
    tokenizer: Tokenizer,
    examples: Sequence[Marked],
    *,
    batch_tokens: int = 4096,
    precision: Precision = "float32",
) -> list[TokenScores]:
    """How likely a model finds the targets, each token given the right ones before it.

    Args:
        model: an encoder-decoder reads the source, any other what comes before the target.
        tokenizer: of the tokens.
        examples: N of them.
        batch_tokens: positions computed at once, padding included.
        precision: of the matrix products.

    Returns:
        Of each target, the end token included.
    """
    if isinstance(model, EncoderDecoder | RecurrentEncoderDecoder) and model.reads_source:
        pairs = [split_pair(one.token_ids, one.source_tokens, tokenizer) for one in examples]
        by_number = dict(_score_pairs(model, pairs, batch_tokens, precision))
        return [by_number[number] for number in range(len(pairs))]
    whole = score_documents(model, (one.token_ids for one in examples), batch_tokens=batch_tokens, precision=precision)
    found = []
    for one, scores in zip(examples, whole, strict=True):
        begin = one.source_tokens - 1
        found.append(TokenScores(scores.logprobs[begin:], scores.correct[begin:]))
    return found


def _score_pairs(
    model: EncoderDecoder | RecurrentEncoderDecoder, pairs: Sequence[Pair], batch_tokens: int, precision: Precision
) -> Iterator[tuple[int, TokenScores]]:
    """The number of each pair and its scores; pairs of like length share a batch."""
    lengths = [len(one.source) + len(one.target) for one in pairs]
    order = sorted(range(len(pairs)), key=lambda number: (-lengths[number], number))
    device, at = model.device, 0
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with evaluation_mode(model), torch.inference_mode(), autocast:
        while at < len(order):
            batch = order[at : at + max(1, batch_tokens // lengths[order[at]])]
            at += len(batch)
            sources, mask = _padded([pairs[number].source for number in batch], device)
            targets, written = _padded([pairs[number].target for number in batch], device)
            read = targets.roll(1, dims=1)
            read[:, 0] = model.config.start_ids[0]
            memory: Any = model.encode(sources, None if bool(mask.all()) else mask)
            logprobs, correct = _told(model, model.decode(read, memory)[written], targets[written])
            sizes = written.sum(1).tolist()
            for number, told, right in zip(batch, logprobs.split(sizes), correct.split(sizes), strict=True):
                yield number, TokenScores(told.numpy(), right.numpy())


def _told(model: LanguageModel, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each of N targets its log-probability and whether it is the likeliest; logits for a slice at a time."""
    logprobs, correct = [], []
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for some, right in zip(hidden.split(at_once), targets.split(at_once), strict=True):
        logits = model.unembed(some)
        logprobs.append(logits.log_softmax(-1).gather(1, right[:, None])[:, 0].cpu())
        correct.append((logits.argmax(-1) == right).cpu())
    return torch.cat(logprobs), torch.cat(correct)


def _padded(rows: Sequence[NDArray[np.int64]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows in one matrix (B, S), and where they are, (B, S) bool."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.concatenate(rows)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
