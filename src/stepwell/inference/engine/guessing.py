"""Guesses of what comes next, which the model checks in one reading.

A guess is looked up in the text itself (prompt lookup; Saxena, 2023) or written by a smaller model that knows the same
tokens (Leviathan et al., 2023). It is kept as far as it is what the sample draws anyway, so nothing changes but the
speed. This file leaves out the check (`engine.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from stepwell.errors import UsageError
from stepwell.inference.engine.blocks import BlockPool
from stepwell.inference.engine.request import Sample
from stepwell.inference.native.decoder import Extension, NativeDecoder
from stepwell.inference.native.layout import BLOCK_TOKENS
from stepwell.inference.native.packing import WeightBits
from stepwell.inference.speculation import look_up
from stepwell.models import LanguageModel

SHORTEST_NGRAM = 2
"""Fewer tokens that stood together before foretell nothing."""


MOST_UNREAD = 64
"""Tokens of one sample that the smaller model reads together with those of others."""


class Guesser(Protocol):
    """Who guesses."""

    def guess(self, samples: Sequence[Sample], lengths: Sequence[int]) -> list[tuple[int, ...]]:
        """What may come next of each sample, at most so many tokens."""

    def forget(self, sample: Sample) -> None:
        """A sample has ended, or makes room."""


class Lookup:
    """Guesses by what stands in the text before."""

    def guess(self, samples: Sequence[Sample], lengths: Sequence[int]) -> list[tuple[int, ...]]:
        return [
            tuple(look_up(sample.token_ids, length, shortest=SHORTEST_NGRAM))
            for sample, length in zip(samples, lengths, strict=True)
        ]

    def forget(self, sample: Sample) -> None:
        pass


@dataclass
class _Draft:
    """What the smaller model has read of a sample."""

    token_ids: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)


class DraftModel:
    """Guesses by a smaller model: its likeliest tokens.

    Args:
        model: a decoder that reads the same tokens.
        vocab_size: tokens that there are.
        weights: how its matrices are held.
        cache_tokens: of all samples together that its keys and values are held of.
        threads: that compute.
        most_samples: that are guessed for at once.

    Raises:
        UsageError: when it cannot be decoded in machine code, or knows fewer tokens.
    """

    def __init__(
        self,
        model: LanguageModel,
        vocab_size: int,
        *,
        weights: WeightBits,
        cache_tokens: int,
        threads: int,
        most_samples: int,
    ) -> None:
        if model.config.vocab_size < vocab_size:
            raise UsageError(
                "draft: knows other tokens than the model",
                got=f"{model.config.vocab_size} tokens",
                wanted=f"{vocab_size}, by the same tokenizer",
            )
        num_blocks = -(-cache_tokens // BLOCK_TOKENS)
        self._decoder = NativeDecoder(
            model, weights=weights, num_blocks=num_blocks, threads=threads, most_rows=MOST_UNREAD * most_samples
        )
        self._pool = BlockPool(num_blocks, shares=False)
        self._vocab_size, self._max_seq_len = vocab_size, model.config.max_seq_len
        self._drafts: dict[Sample, _Draft] = {}

    def guess(self, samples: Sequence[Sample], lengths: Sequence[int]) -> list[tuple[int, ...]]:
        guesses: list[list[int]] = [[] for _ in samples]
        for turn in range(max(lengths, default=0)):
            places, extensions = [], []
            for place, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
                extension = self._next(sample, guesses[place]) if len(guesses[place]) == turn < length else None
                if extension is not None:
                    places.append(place)
                    extensions.append(extension)
            if not extensions:
                break
            likeliest = self._decoder.extend(extensions)[:, : self._vocab_size].argmax(1).tolist()
            for place, token_id in zip(places, likeliest, strict=True):
                guesses[place].append(token_id)
        return [tuple(guess) for guess in guesses]

    def _next(self, sample: Sample, guess: list[int]) -> Extension | None:
        """What the smaller model has not read of a sample and its guess; None where there is no room."""
        draft = self._drafts.setdefault(sample, _Draft())
        whole = [*sample.token_ids, *guess]
        known = 0
        for mine, theirs in zip(draft.token_ids, whole[:-1], strict=False):
            if mine != theirs:
                break
            known += 1
        taken = self._pool.take(max(0, -(-len(whole) // BLOCK_TOKENS) - len(draft.blocks)))
        if taken is None or len(whole) > self._max_seq_len:
            self._pool.release(taken or [])
            return None
        draft.blocks += taken
        blocks = np.array(draft.blocks, np.int32)
        while len(whole) - known > MOST_UNREAD:  # a prompt that it has not seen
            part = np.array(whole[known : known + MOST_UNREAD], np.int32)
            self._decoder.extend([Extension(part, known, blocks, 0)])
            known += MOST_UNREAD
        draft.token_ids = whole
        return Extension(np.array(whole[known:], np.int32), known, blocks)

    def forget(self, sample: Sample) -> None:
        draft = self._drafts.pop(sample, None)
        if draft is not None:
            self._pool.release(draft.blocks)
