"""What comes of a prompt: pieces of samples as they are drawn, and samples that are finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length"]
"""`stop`: a token that ends what a model writes or a stop text came; `length`: max_tokens were drawn."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One drawn token of one sample, as soon as it is there.

    Attributes:
        index: which sample of the prompt, from 0.
        text: what may be shown now. It trails the token while a character is unfinished or a stop text could be
            beginning.
        token_id: the token, the end-of-text token included.
        logprob: of the token under the model itself (nats), before temperature and truncation.
        finish_reason: None until the sample's last piece.
        continues: whether it goes on with the prompt's text, rather than answering it.
        likeliest: `params.logprobs` tokens that could have come here with their log-probabilities under the model
            itself (nats), the likeliest first.
    """

    index: int
    text: str
    token_id: int
    logprob: float
    finish_reason: FinishReason | None
    continues: bool = True
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Completion:
    """One finished sample.

    Attributes:
        text: without the stop text, and without the end-of-text token.
        token_ids: every token drawn, those of the stop text and of the end included.
        logprobs: of each token under the model itself (nats).
        finish_reason: why it ended.
        prompt_tokens: length of the prompt, the begin token included.
        continues: whether it goes on with the prompt's text, rather than answering it.
        likeliest: for each token, `params.logprobs` tokens that could have come in its place with their
            log-probabilities under the model itself (nats), the likeliest first.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    continues: bool = True
    likeliest: tuple[tuple[tuple[int, float], ...], ...] = ()


def join(pieces: Sequence[Piece], prompt_tokens: int) -> Completion:
    """A finished sample of its pieces, the last of which says why it ended."""
    finish_reason = pieces[-1].finish_reason
    assert finish_reason is not None
    likeliest = tuple(piece.likeliest for piece in pieces)
    return Completion(
        "".join(piece.text for piece in pieces),
        tuple(piece.token_id for piece in pieces),
        tuple(piece.logprob for piece in pieces),
        finish_reason,
        prompt_tokens,
        pieces[-1].continues,
        likeliest if any(likeliest) else (),
    )


def best_samples(completions: Sequence[Completion], n: int) -> list[Completion]:
    """The n of the highest mean log-probability, the best first; all of them in their order where n are given."""
    if n == len(completions):
        return list(completions)
    return sorted(completions, key=lambda one: -sum(one.logprobs) / len(one.logprobs))[:n]
