"""How a document is cut into what a model reads at once to say how likely its tokens are.

A causal model tells each token from those before it, so one reading of a window tells all of its tokens. A masked model
tells only what is hidden from it, so it reads a document several times, with other tokens hidden each time (Salazar et
al., 2020, "Masked Language Model Scoring", hide one at a time), and sees both sides. This file leaves out tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepwell.inference.window import split_windows

TokenIds = NDArray[np.integer]
Places = NDArray[np.int64]


class Part(NamedTuple):
    """One reading of a part of a document.

    Attributes:
        read: (N,) token ids as the model reads them.
        places: (M,) positions in `read` of the hidden states that tell.
        told: (M,) positions in the document of the tokens that they tell.
    """

    read: TokenIds
    places: Places
    told: Places


class Stretch(NamedTuple):
    """A stretch of a document that a model reads at once, looking both ways.

    Attributes:
        start: position of the first token that is read.
        stop: one past the last token that is read.
        first: the first token told here; those before it have more context in the stretch before.
        last: one past the last token told here.
    """

    start: int
    stop: int
    first: int
    last: int


def causal_parts(document: TokenIds, max_seq_len: int) -> Iterator[Part]:
    """Readings that tell every token but the first from those before it (see `split_windows`).

    Args:
        document: (T,) token ids.
        max_seq_len: tokens that a model sees at once, from 2.
    """
    for window in split_windows(len(document), max_seq_len):
        told = np.arange(window.first, window.stop + 1)
        yield Part(document[window.start : window.stop], told - 1 - window.start, told)


def masked_parts(document: TokenIds, max_seq_len: int, mask_id: int, num_passes: int | None) -> Iterator[Part]:
    """Readings that tell every token but the first, each from all tokens of the stretch that are not hidden with it.

    Which tokens are hidden together follows from the length of the document alone, so scores repeat and do not depend
    on other documents.

    Args:
        document: (T,) token ids.
        max_seq_len: tokens that a model sees at once, from 2.
        mask_id: what hides a token.
        num_passes: how often a stretch is read, each time with 1/num_passes of its tokens hidden; None hides one token
            of the document at a time.
    """
    count = max(0, len(document) - 1)
    num_passes = min(num_passes or count, count)
    order = np.random.default_rng(count).permutation(count)
    turn = np.append(-1, order % num_passes if num_passes else order)  # the first token is never hidden
    for stretch in split_stretches(len(document), max_seq_len):
        turns = turn[stretch.start : stretch.stop]
        for number in np.unique(turn[stretch.first : stretch.last]):
            hidden = turns == number
            told = stretch.start + np.flatnonzero(hidden)
            told = told[(told >= stretch.first) & (told < stretch.last)]
            read = np.where(hidden, mask_id, document[stretch.start : stretch.stop])
            yield Part(read, told - stretch.start, told)


def split_stretches(num_tokens: int, max_seq_len: int) -> Iterator[Stretch]:
    """Cut a document into overlapping stretches; every token but the first is told once, where it sees most.

    Args:
        num_tokens: length of the document; nothing is told below 2.
        max_seq_len: tokens that a model sees at once, from 2.

    Yields:
        Stretches from left to right, which overlap by half or more.
    """
    if num_tokens < 2:
        return
    size = min(max_seq_len, num_tokens)
    steps = -(-(num_tokens - size) // max(1, size // 2))
    starts = [round(step * (num_tokens - size) / max(1, steps)) for step in range(steps + 1)]
    borders = [1, *((one + other + size) // 2 for one, other in pairwise(starts)), num_tokens]
    for place, start in enumerate(starts):
        if borders[place] < borders[place + 1]:
            yield Stretch(start, start + size, borders[place], borders[place + 1])
