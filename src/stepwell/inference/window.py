"""Which tokens a model sees when there are more than fit.

The context of a token is every token before it until the window of max_seq_len is full; then the older half is let go
and the window fills again. The start is a pure function of how many tokens there are, so decoding with a cache,
decoding without one and scoring all see the same context and give the same numbers. This file leaves out tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


def window_start(num_tokens: int, max_seq_len: int) -> int:
    """Where the context begins from which the token after `num_tokens` tokens is predicted.

    The context holds between max_seq_len // 2 and max_seq_len tokens once there are that many.

    Args:
        num_tokens: tokens so far, 0 or above.
        max_seq_len: tokens that a model sees at once, from 2.

    Returns:
        The position of the first token seen; 0 until the window is full.
    """
    if num_tokens <= max_seq_len:
        return 0
    stride = max_seq_len - max_seq_len // 2 + 1
    return stride * -(-(num_tokens - max_seq_len) // stride)


class Window(NamedTuple):
    """A stretch of a long sequence that a model reads at once.

    Attributes:
        start: position of the first token that is read.
        stop: one past the last token that is read; token `stop` is the last one predicted.
        first: the first token predicted here; those before it had more context in an earlier window.
    """

    start: int
    stop: int
    first: int


def split_windows(num_tokens: int, max_seq_len: int) -> Iterator[Window]:
    """Cut a sequence into windows that predict every token but the first once, each from the context of `window_start`.

    Args:
        num_tokens: length of the sequence; nothing is predicted below 2.
        max_seq_len: tokens that a model sees at once, from 2.

    Yields:
        Windows from left to right.
    """
    first = 1
    while first < num_tokens:
        start = window_start(first, max_seq_len)
        stop = min(start + max_seq_len, num_tokens - 1)
        yield Window(start, stop, first)
        first = stop + 1
