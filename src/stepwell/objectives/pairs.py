"""A target is written for a source: the loss of an encoder-decoder, and pairs that come as such.

Sources and targets of many pairs are laid into packed rows, a target and its source in the same row, so little is
padding. A task says where in an example the source ends; an objective that makes its pairs from plain text
(`corruption.py`) lays and judges them in the same way. This file leaves out the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.data import Batch, pack_best_fit
from stepwell.errors import DataError
from stepwell.models import EncoderDecoder, LanguageModel, RecurrentEncoderDecoder
from stepwell.objectives.config import LossConfig, PairsConfig
from stepwell.objectives.losses import summed_loss
from stepwell.objectives.objective import Objective
from stepwell.tokenizers import Tokenizer

Ints = NDArray[np.int64]

SOURCE_PADDING, TARGET_PADDING = -1, -2
"""Numbers of padding; they differ, so that padding sees no padding of the other side."""

SHORTEST_ROW = 64
"""Rows of pairs are as long as the longest of the batch, and at least so long: what attention does in vain for other
pairs of a row grows with its length, and padding with its shortness."""


@dataclass(frozen=True)
class Pairs:
    """Sources and targets in R packed rows; a target and its source have the same number within their row.

    Attributes:
        source_ids: (R, S) int64.
        source_numbers: (R, S) int64, `SOURCE_PADDING` where there is none.
        targets: (R, T) int64, what is to be written, the end token included.
        target_numbers: (R, T) int64, `TARGET_PADDING` where there is none.
    """

    source_ids: Ints
    source_numbers: Ints
    targets: Ints
    target_numbers: Ints

    @property
    def num_targets(self) -> int:
        """How many tokens are to be written."""
        return int((self.target_numbers >= 0).sum())


def pack_pairs(sources: Sequence[Ints], targets: Sequence[Ints], row_tokens: int) -> Pairs:
    """Lay pairs into rows.

    Args:
        sources: P of them, each (S,), framed (`Tokenizer.frame`).
        targets: P of them, each (T,), likewise.
        row_tokens: length of a row, unless the longest source or target is longer.
    """
    longer = np.maximum([len(source) for source in sources], [len(target) for target in targets])
    rows = pack_best_fit(longer, max(row_tokens, int(longer.max())))
    return Pairs(*_fill_rows(sources, rows, SOURCE_PADDING), *_fill_rows(targets, rows, TARGET_PADDING))


def pairs_loss(model: LanguageModel, pairs: Pairs, device: torch.device, config: LossConfig) -> Tensor:
    """The loss of the tokens of the targets, summed.

    Args:
        model: an encoder-decoder; its parameters get the gradient.
        pairs: R rows.
        device: where the model lives.
        config: how a prediction is judged.

    Raises:
        TypeError: when the model is no encoder-decoder.
    """
    if not isinstance(model, EncoderDecoder | RecurrentEncoderDecoder):
        raise TypeError(f"an encoder-decoder writes a target for a source, a {type(model).__name__} does not")
    source_ids, source_numbers, targets, numbers = (
        torch.from_numpy(one).to(device)
        for one in (pairs.source_ids, pairs.source_numbers, pairs.targets, pairs.target_numbers)
    )
    begins = torch.ones_like(numbers, dtype=torch.bool)
    begins[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    written = targets.roll(1, dims=1).masked_fill(begins, model.config.start_ids[0])
    hidden = model.pairs(source_ids, source_numbers, written, numbers)
    return summed_loss(model, hidden, targets, config, numbers >= 0)


class Pair(NamedTuple):
    """One source with what is to be written for it.

    Attributes:
        source: (S,) as an encoder reads it, framed.
        target: (T,) likewise, the end token last.
    """

    source: Ints
    target: Ints


def split_pair(token_ids: NDArray[np.integer], source_tokens: int, tokenizer: Tokenizer) -> Pair:
    """An example of a task that writes, taken apart for an encoder-decoder.

    Args:
        token_ids: (N,): what a decoder reads (begin token, source, perhaps an end token), and then the target and its
            end token.
        source_tokens: how many of them come before the target.
        tokenizer: of the tokens.
    """
    ids = np.asarray(token_ids, np.int64)
    source, target = ids[:source_tokens], ids[source_tokens:]
    source = source[int(len(source) > 0 and source[0] == tokenizer.bos_id) :]
    return Pair(tokenizer.frame(_without_end(source, tokenizer)), tokenizer.frame(_without_end(target, tokenizer)))


def _without_end(ids: Ints, tokenizer: Tokenizer) -> Ints:
    return ids[: len(ids) - int(len(ids) > 0 and ids[-1] == tokenizer.eos_id)]


class PairsObjective(Objective[Pairs]):
    """Write the target of each example for its source.

    Where the source ends is said with each example (`source_tokens`).

    Args:
        config: how a prediction is judged.
        tokenizer: of the text.
    """

    def __init__(self, config: PairsConfig, tokenizer: Tokenizer) -> None:
        self.config, self.tokenizer = config, tokenizer

    def prepare(self, batch: Batch, seed: int) -> Pairs:
        """The pairs of a batch, in rows of their own.

        Raises:
            DataError: when the batch has no pairs.
        """
        if "source_tokens" not in batch.of_document:
            raise DataError(
                "training.objective: pairs are learned from examples with a source and a target",
                got="plain text",
                do="choose a task that writes, such as translation",
            )
        pairs = list(self._pairs(batch))
        return pack_pairs([one.source for one in pairs], [one.target for one in pairs], SHORTEST_ROW)

    def loss(self, model: LanguageModel, examples: Pairs, device: torch.device) -> Tensor:
        """See `pairs_loss`."""
        return pairs_loss(model, examples, device, self.config.loss)

    def _pairs(self, batch: Batch) -> Iterator[Pair]:
        borders, number = batch.of_document["source_tokens"].tolist(), 0
        for row in range(len(batch.token_ids)):
            numbers = batch.document_ids[row][batch.loss_mask[row]]
            edges = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
            for first, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
                text = np.append(batch.token_ids[row, first:stop], batch.targets[row, stop - 1])
                yield split_pair(text, borders[number], self.tokenizer)
                number += 1


def _fill_rows(texts: Sequence[Ints], rows: Ints, padding: int) -> tuple[Ints, Ints]:
    """Texts one after another in the rows they were given, and their numbers; as long as the fullest row."""
    lengths = np.array([len(text) for text in texts])
    filled = np.bincount(rows, weights=lengths).astype(np.int64)
    ids = np.zeros((len(filled), int(filled.max())), dtype=np.int64)
    numbers = np.full(ids.shape, padding, dtype=np.int64)
    at = np.zeros(len(filled), dtype=np.int64)
    for number, (text, row) in enumerate(zip(texts, rows.tolist(), strict=True)):
        ids[row, at[row] : at[row] + len(text)] = text
        numbers[row, at[row] : at[row] + len(text)] = number
        at[row] += len(text)
    return ids, numbers
