"""Completing a prompt, or turning it into another text: one prefill, then one token after another from a state.

`stream` gives each token as it comes and `generate` collects them; both run the same loop over rows, a row being one
sample of one prompt. Rows that end leave the batch, and a full window is rolled by reading its later half anew
(`window.py`); a source is read once, and what is written of it ends when the window is full. This file leaves out
requests that come and go while others run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.errors import TokenizerError, UsageError
from stepwell.inference.mode import evaluation_mode
from stepwell.inference.params import SamplingParams
from stepwell.inference.sampling import Drawn, Sampling, draw
from stepwell.inference.stopping import StopGate
from stepwell.inference.window import window_start
from stepwell.models import Decoder, LanguageModel
from stepwell.nn import DecodingState
from stepwell.tokenizers import StreamDecoder, Tokenizer

FinishReason = Literal["stop", "length"]
"""`stop`: a token that ends what a model writes or a stop text came; `length`: max_tokens were drawn."""

Prompt = str | Sequence[Mapping[str, Any]] | NDArray[np.integer[Any]]
"""A text to go on with, a source to turn into another text (where the model is one that does so), or a conversation to
answer: messages with `role` and `content`, by the chat template. Token ids (T,), T from 1, are read as they are."""

MAX_ROWS = 64
"""Samples that `generate_many` decodes at once."""


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


def generate(
    model: LanguageModel, tokenizer: Tokenizer, prompt: Prompt, params: SamplingParams | None = None
) -> list[Completion]:
    """Complete a prompt.

    Args:
        model: any language model of the catalog.
        tokenizer: the one it was trained with.
        prompt: text of any length, of a long one the model sees the end (`window.window_start`); or a conversation. A
            source has at most max_seq_len tokens.
        params: how to draw; default `SamplingParams()`.

    Returns:
        params.n completions, by sample index; of best_of samples the likeliest, in that order.

    Raises:
        TokenizerError: when the tokenizer does not fit the model.
        UsageError: when a source is too long, a token that is named is not one of the tokenizer's, or the rules leave
            no token to draw.
        StepwellError: when the model predicts NaN or infinity.
    """
    return generate_many(model, tokenizer, [prompt], params)[0]


def generate_many(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    params: SamplingParams | None = None,
    *,
    pad: bool = False,
) -> list[list[Completion]]:
    """Complete many prompts; those of equal length in tokens share a batch, which changes nothing but the speed.

    Args:
        model: any language model of the catalog.
        tokenizer: the one it was trained with.
        prompts: texts or conversations. Each draws from the same seed as it would alone.
        params: how to draw; default `SamplingParams()`.
        pad: prompts of different lengths share a batch too where the model is a decoder and all fits into its window.
            They are padded on the left, which is many times faster and may change the last bits of a probability.

    Returns:
        For each prompt its params.n completions.

    Raises:
        TokenizerError: when the tokenizer does not fit the model.
        UsageError: as for `generate`.
        StepwellError: when the model predicts NaN or infinity.
    """
    params = params or SamplingParams()
    encoded = [_encode(model, tokenizer, prompt) for prompt in prompts]
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    longest = max((len(read.token_ids) for read in encoded), default=0)
    pad = pad and isinstance(model, Decoder) and model.config.prompt == "continue"
    pad = pad and longest + params.max_tokens <= model.config.max_seq_len
    for number, read in sorted(enumerate(encoded), key=lambda one: len(one[1].token_ids)):
        by_length[0 if pad else len(read.token_ids)].append(number)
    at_once = max(1, MAX_ROWS // params.samples)
    completions: list[list[Completion]] = [[] for _ in prompts]
    for numbers in by_length.values():
        for at in range(0, len(numbers), at_once):
            batch = numbers[at : at + at_once]
            for number, done in zip(
                batch, _complete(model, tokenizer, [encoded[n] for n in batch], params), strict=True
            ):
                completions[number] = done
    return completions


def stream(
    model: LanguageModel, tokenizer: Tokenizer, prompt: Prompt, params: SamplingParams | None = None
) -> Iterator[Piece]:
    """Complete a prompt token by token; pieces of the samples take turns.

    The texts of a sample's pieces joined are the text of its `Completion`. Close the iterator to stop early.

    Args:
        model: any language model of the catalog.
        tokenizer: the one it was trained with.
        prompt: as for `generate`.
        params: how to draw; default `SamplingParams()`.

    Yields:
        One piece for each token drawn.

    Raises:
        TokenizerError: when the tokenizer does not fit the model.
        UsageError: as for `generate`; and when more samples are to be drawn than given, which takes them whole.
        StepwellError: when the model predicts NaN or infinity.
    """
    params = params or SamplingParams()
    if params.samples > params.n:
        raise UsageError(
            "best_of: cannot be streamed",
            got=f"best_of={params.best_of} with n={params.n}",
            wanted="best_of equal to n",
            do="leave best_of out, or do not stream",
        )
    pieces = _decode(model, tokenizer, [_encode(model, tokenizer, prompt)], params)
    with closing(pieces):
        for _, piece in pieces:
            yield piece


class _Read(NamedTuple):
    """A prompt as the model reads it; `continues` when what is written goes on with its text."""

    token_ids: list[int]
    continues: bool


@dataclass
class _Row:
    """One sample on its way: its tokens so far and the text that came of them."""

    prompt: int
    token_ids: list[int]
    continues: bool
    decoder: StreamDecoder
    gate: StopGate
    sampling: Sampling
    index: int
    finish_reason: FinishReason | None = field(default=None)

    def take(self, drawn: Drawn, *, last: bool) -> Piece:
        """Add a token; `last` when no further one may come."""
        ends = self.sampling.ends(drawn.token_id)
        self.token_ids.append(drawn.token_id)
        text = "" if ends else self.gate.push(self.decoder.push(drawn.token_id))
        if ends and not self.gate.closed:  # at max_tokens a torn character is left out: the next token would end it
            text += self.gate.push(self.decoder.finish())
        if ends or self.gate.closed or self.sampling.is_finished:
            self.finish_reason = "stop"
        elif last:
            self.finish_reason = "length"
        if self.finish_reason is not None:
            text += self.gate.finish()
        return Piece(
            self.index, text, drawn.token_id, drawn.logprob, self.finish_reason, self.continues, drawn.likeliest
        )


def _complete(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[_Read], params: SamplingParams
) -> list[list[Completion]]:
    """All samples of prompts of equal length."""
    pieces: defaultdict[tuple[int, int], list[Piece]] = defaultdict(list)
    for number, piece in _decode(model, tokenizer, prompts, params):
        pieces[number, piece.index].append(piece)
    return [
        best_samples([_join(pieces[number, index], len(prompt.token_ids)) for index in range(params.samples)], params.n)
        for number, prompt in enumerate(prompts)
    ]


def best_samples(completions: Sequence[Completion], n: int) -> list[Completion]:
    """The n of the highest mean log-probability, the best first; all of them in their order where n are given."""
    if n == len(completions):
        return list(completions)
    return sorted(completions, key=lambda one: -sum(one.logprobs) / len(one.logprobs))[:n]


def _join(pieces: Sequence[Piece], prompt_tokens: int) -> Completion:
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


def _decode(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[_Read], params: SamplingParams
) -> Generator[tuple[int, Piece]]:
    """The loop: draw, hand out, drop rows that ended, extend. Yields (which prompt, piece)."""
    rows = [
        _row(model, tokenizer, number, prompt, params, index)
        for number, prompt in enumerate(prompts)
        for index in range(params.samples)
    ]
    with evaluation_mode(model):
        window = _RollingWindow(model, [prompt.token_ids for prompt in prompts], params)
        logits = window.logits
        if params.samples > 1:
            logits = logits.repeat_interleave(params.samples, 0)
            window.select([row.prompt for row in rows])
        for num_drawn in range(1, window.max_tokens + 1):
            last = num_drawn == window.max_tokens
            for row, drawn in zip(rows, draw([row.sampling for row in rows], logits), strict=True):
                yield row.prompt, row.take(drawn, last=last)
            going = [place for place, row in enumerate(rows) if row.finish_reason is None]
            if not going:
                return
            if len(going) < len(rows):
                rows = [rows[place] for place in going]
                window.select(going)
            logits = window.extend([row.token_ids for row in rows])


def _row(
    model: LanguageModel, tokenizer: Tokenizer, number: int, prompt: _Read, params: SamplingParams, index: int
) -> _Row:
    """A sample of a prompt, before its first token."""
    token_ids = [] if model.reads_source else list(prompt.token_ids)
    text = [token_id for token_id in token_ids if token_id != tokenizer.bos_id]
    return _Row(
        number,
        token_ids,
        prompt.continues,
        StreamDecoder(tokenizer.target, continues=prompt.continues),
        StopGate(params.stop, params.min_tokens),
        Sampling(params, index, text, tokenizer, continues=prompt.continues),
        index,
    )


class _RollingWindow:
    """A model's state over the part of the sequences that it sees; a source is seen whole.

    Args:
        model: in evaluation mode.
        prompts: P sequences, from 1 token; of different lengths where a decoder's window takes all of them to the end.
        params: says how long the sequences may become.

    Attributes:
        logits: (P, V) float32, of the token after the prompts, or of the first one that is written of them.
        max_tokens: how many may be drawn.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]], params: SamplingParams) -> None:
        self.model = model
        self.max_seq_len = model.config.max_seq_len
        self.capacity = min(self.max_seq_len, max(map(len, prompts)) + params.max_tokens)
        self.device = model.device
        self.logits = self._read(prompts)
        room = self.max_seq_len - self.state.length + 1  # the last token is drawn, and not read
        self.max_tokens = min(params.max_tokens, room) if model.reads_source else params.max_tokens

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat sequences."""
        self.state.select(torch.tensor(rows, dtype=torch.int64, device=self.device))

    @torch.inference_mode()
    def extend(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Logits (B, V) after sequences that are one token longer than before; a full window is rolled."""
        if self._begins(sequences) != self.start:
            return self._read(sequences)
        return self.model.extend(self.state, self._tensor([[sequence[-1]] for sequence in sequences]))

    @torch.inference_mode()
    def _read(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Prefill a new state with all that the model may see."""
        self.start = self._begins(sequences)
        self.state: DecodingState
        longest = max(map(len, sequences))
        padding = [longest - len(sequence) for sequence in sequences]
        if any(padding):
            assert isinstance(self.model, Decoder)
            self.state = self.model.start(len(sequences), self.capacity, self._tensor(padding))
            padded = [[0] * before + list(one) for before, one in zip(padding, sequences, strict=True)]
            return self.model.extend(self.state, self._tensor(padded))
        self.state, logits = self.model.begin(
            self._tensor([sequence[self.start :] for sequence in sequences]), self.capacity
        )
        return logits

    def _begins(self, sequences: Sequence[Sequence[int]]) -> int:
        """The first position that is seen."""
        return 0 if self.model.reads_source else window_start(len(sequences[0]), self.max_seq_len)

    def _tensor(self, token_ids: Sequence[Sequence[int]] | Sequence[int]) -> Tensor:
        return torch.tensor(token_ids, dtype=torch.int64, device=self.device)


def _encode(model: LanguageModel, tokenizer: Tokenizer, prompt: Prompt) -> _Read:
    """The prompt's tokens, after the begin token where the family puts one; of a source, with its end token.

    Raises:
        TokenizerError: when the tokenizer does not fit the model, or has no chat template for a conversation.
    """
    if tokenizer.vocab_size > model.config.vocab_size:
        raise TokenizerError(
            "the tokenizer does not fit the model",
            got=f"{tokenizer.vocab_size} tokens",
            wanted=f"at most {model.config.vocab_size} tokens",
            do="take the tokenizer that the model was trained with",
        )
    if isinstance(prompt, np.ndarray):
        return _Read(prompt.tolist(), continues=not model.reads_source)
    if not isinstance(prompt, str):
        return _Read(tokenizer.chat(prompt).tolist(), continues=False)
    if model.reads_source:
        return _Read(tokenizer.frame(tokenizer.encode(prompt)).tolist(), continues=False)
    text = tokenizer.encode(prompt).tolist()
    begin = [tokenizer.bos_id] if tokenizer.adds_bos or not text else []
    return _Read([*begin, *text], continues=bool(text))
