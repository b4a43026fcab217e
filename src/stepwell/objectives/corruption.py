"""Repairing a text: span corruption (Raffel et al., 2020, "T5") and text infilling (Lewis et al., 2020, "BART").

Spans of a text are cut out of the source, and the target says what was there: the spans alone, or the whole text. Every
piece of a packed row is a text of its own; their sources and targets are packed into rows again, so little is padding.
What is cut is a pure function of the batch and a seed, made with NumPy alone. This file leaves out the models.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.data import Batch
from stepwell.errors import TokenizerError
from stepwell.models import LanguageModel
from stepwell.objectives.config import DenoisingConfig, LossConfig, SpanCorruptionConfig
from stepwell.objectives.objective import Objective
from stepwell.objectives.pairs import Ints, Pairs, pack_pairs, pairs_loss
from stepwell.tokenizers import Tokenizer


class Spans(NamedTuple):
    """K stretches of a text of N tokens, from left to right, none overlapping.

    Attributes:
        starts: (K,) int64, the first token of each.
        lengths: (K,) int64, from 0; an empty one stands before the token at its start.
    """

    starts: Ints
    lengths: Ints

    def mask(self, num_tokens: int) -> NDArray[np.bool_]:
        """(N,) bool, True inside."""
        edges = np.zeros(num_tokens + 1, dtype=np.int64)
        np.add.at(edges, self.starts, 1)
        np.add.at(edges, self.starts + self.lengths, -1)
        return np.cumsum(edges[:-1]) > 0


def cut_out(text: Ints, spans: Spans, marks: Ints) -> Ints:
    """The text with a mark in the place of each span.

    Args:
        text: (N,).
        spans: K of them.
        marks: (K,) token ids.
    """
    kept = text[~spans.mask(len(text))]
    before = spans.starts - (np.cumsum(spans.lengths) - spans.lengths)  # kept tokens before each mark
    return np.insert(kept, before, marks)


def spans_with_marks(text: Ints, spans: Spans, marks: Ints) -> Ints:
    """What was cut out, each span after its mark (see `cut_out`)."""
    return np.insert(text[spans.mask(len(text))], np.cumsum(spans.lengths) - spans.lengths, marks)


class CorruptionObjective(Objective[Pairs]):
    """Write a target for a corrupted source.

    Sources and targets end with the end token; where the tokenizer's family has a begin token that is another one, they
    begin with it (BART). The begin and the end of a document are never cut out. A piece that would not fit into a row
    with these two loses a few tokens at its ends.

    Args:
        tokenizer: of the text.
        loss: how a prediction is judged.
    """

    def __init__(self, tokenizer: Tokenizer, loss: LossConfig) -> None:
        self.tokenizer, self.loss_config = tokenizer, loss

    @abstractmethod
    def corrupt(self, text: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
        """Source and target of a text (N,), N from 0; neither may be longer than N."""

    def prepare(self, batch: Batch, seed: int) -> Pairs:
        """Corrupt every piece of a batch."""
        random = np.random.default_rng(seed)
        row_tokens = batch.token_ids.shape[1]
        sources, targets = [], []
        for text in self._texts(batch, max(0, row_tokens - 2), random):
            source, target = self.corrupt(text, random)
            sources.append(self.tokenizer.frame(source))
            targets.append(self.tokenizer.frame(target))
        return pack_pairs(sources, targets, row_tokens)

    def loss(self, model: LanguageModel, examples: Pairs, device: torch.device) -> Tensor:
        """Of the tokens of the targets.

        Raises:
            TypeError: when the model is no encoder-decoder.
        """
        return pairs_loss(model, examples, device, self.loss_config)

    def _texts(self, batch: Batch, longest: int, random: np.random.Generator) -> Iterator[Ints]:
        """The tokens of each piece without those that begin and end a document; of a longer one, some stretch."""
        for row in range(len(batch.token_ids)):
            numbers = batch.document_ids[row][batch.loss_mask[row]]
            edges = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
            for first, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
                text = np.append(batch.token_ids[row, first:stop], batch.targets[row, stop - 1])
                text = text[int(text[0] == self.tokenizer.bos_id) :]
                text = text[: len(text) - int(len(text) > 0 and text[-1] == self.tokenizer.eos_id)]
                offset = int(random.integers(0, max(0, len(text) - longest), endpoint=True))
                yield text[offset : offset + longest]


class SpanCorruptionObjective(CorruptionObjective):
    """Write what was cut out of a text (Raffel et al., 2020, section 3.1.4).

    A share of the tokens is cut out in spans of random lengths between stretches of random lengths, the last span at
    the end of the text, as in T5's published program; each leaves another sentinel in the source, and the target is the
    spans, each after its sentinel. Where a text would have more spans than there are sentinels, its spans are longer.

    Args:
        config: how much is cut out, in how long spans.
        tokenizer: of the text; its `span_ids` are the sentinels.

    Raises:
        TokenizerError: when it has none.
    """

    def __init__(self, config: SpanCorruptionConfig, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, config.loss)
        if not tokenizer.span_ids:
            raise TokenizerError(
                "training.objective: the tokenizer has no tokens that stand for spans",
                wanted="<|span_0|>, <|span_1|>, ...: one for each span of a text",
                do="train one with tokenizer.special_tokens=['<|span_0|>', '<|span_1|>', ...], or take T5's",
            )
        self.config, self.sentinels = config, np.array(tokenizer.span_ids, dtype=np.int64)

    def corrupt(self, text: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
        """The text without its spans, and the spans."""
        spans = self.choose(len(text), random)
        marks = self.sentinels[: len(spans.starts)]
        return cut_out(text, spans, marks), spans_with_marks(text, spans, marks)

    def choose(self, num_tokens: int, random: np.random.Generator) -> Spans:
        """What to cut out of a text of N tokens; nothing of fewer than two."""
        if num_tokens < 2:
            return Spans(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        cut = min(max(round(num_tokens * self.config.corruption_ratio), 1), num_tokens - 1)
        wanted = max(round(cut / self.config.mean_span_tokens), 1)
        count = min(wanted, cut, num_tokens - cut, len(self.sentinels))
        lengths = _random_parts(cut, count, random)
        stretches = _random_parts(num_tokens - cut, count, random)
        return Spans(np.cumsum(stretches + lengths) - lengths, lengths)


class DenoisingObjective(CorruptionObjective):
    """Write a text whose spans are hidden, each behind a single mask: text infilling (Lewis et al., 2020, section 2.2).

    The lengths of the spans are Poisson numbers; an empty span is a mask that hides nothing, as long as the source
    stays no longer than the text. Of BART's other noise, the order of the sentences, this leaves out all.

    Args:
        config: how much is hidden, in how long spans.
        tokenizer: of the text.

    Raises:
        TokenizerError: when it has no mask.
    """

    def __init__(self, config: DenoisingConfig, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, config.loss)
        if tokenizer.mask_id is None:
            raise TokenizerError(
                "training.objective: the tokenizer has no token to hide others behind",
                do="train one with tokenizer.special_tokens=['<|mask|>'], or take a model that was trained with a mask",
            )
        self.config, self.mask_id = config, tokenizer.mask_id

    def corrupt(self, text: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
        """The text with masks, and the text."""
        spans = self.choose(len(text), random)
        return cut_out(text, spans, np.full(len(spans.starts), self.mask_id)), text

    def choose(self, num_tokens: int, random: np.random.Generator) -> Spans:
        """What to hide of a text of N tokens."""
        hidden = round(num_tokens * self.config.mask_ratio)
        drawn = random.poisson(self.config.mean_span_tokens, hidden + 8 * (hidden > 0))
        while drawn.sum() < hidden:
            drawn = np.append(drawn, random.poisson(self.config.mean_span_tokens, hidden + 8))
        total = np.cumsum(drawn)
        lengths = drawn[: int(np.searchsorted(total, hidden)) + 1]
        lengths[-1:] -= lengths.sum() - hidden
        room = hidden - np.count_nonzero(lengths)  # what the spans save, masks that hide nothing may take
        lengths = lengths[(lengths > 0) | (np.cumsum(lengths == 0) <= room)]
        # Every order of the spans and of the tokens that stay is as likely as another.
        places = np.sort(random.choice(num_tokens - hidden + len(lengths), len(lengths), replace=False))
        kept_before = places - np.arange(len(lengths))
        return Spans(kept_before + np.cumsum(lengths) - lengths, lengths)


def _random_parts(total: int, count: int, random: np.random.Generator) -> Ints:
    """A number as a sum of so many, each from 1; every such sum is as likely as another."""
    cuts = np.sort(random.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(cuts, prepend=0, append=total)
