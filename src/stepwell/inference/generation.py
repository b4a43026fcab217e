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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import TokenizerError, UsageError
from stepwell.inference.beams import Beams, Written, search_targets
from stepwell.inference.completion import Completion, FinishReason, Piece, best_samples, join
from stepwell.inference.contrastive import contrast
from stepwell.inference.guidance import GuidedWindow
from stepwell.inference.mode import evaluation_mode
from stepwell.inference.params import SamplingParams
from stepwell.inference.rolling import RollingWindow
from stepwell.inference.sample_text import SampleText
from stepwell.inference.sampling import Drawn, Sampling, draw
from stepwell.models import Decoder, LanguageModel
from stepwell.tokenizers import StreamDecoder, Tokenizer

Prompt = str | Sequence[Mapping[str, Any]] | NDArray[np.integer[Any]]
"""A text to go on with, a source to turn into another text (where the model is one that does so), or a conversation to
answer: messages with `role` and `content`, by the chat template. Token ids (T,), T from 1, are read as they are."""

MAX_ROWS = 64
"""Samples that `generate_many` decodes at once."""


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
    encoded = [read_prompt(model, tokenizer, prompt) for prompt in prompts]
    if params.num_beams > 1:
        return _search(model, tokenizer, encoded, params)
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
    if params.num_beams > 1:
        raise UsageError(
            "num_beams: cannot be streamed",
            got=f"num_beams={params.num_beams}",
            wanted="1, because a search knows its text only at the end",
            do="leave num_beams out, or do not stream",
        )
    pieces = _decode(model, tokenizer, [read_prompt(model, tokenizer, prompt)], params)
    with closing(pieces):
        for _, piece in pieces:
            yield piece


class Read(NamedTuple):
    """A prompt as the model reads it; `continues` when what is written goes on with its text."""

    token_ids: list[int]
    continues: bool


@dataclass
class _Row:
    """One sample on its way: its tokens so far and the text that came of them."""

    prompt: int
    token_ids: list[int]
    continues: bool
    text: SampleText
    index: int
    finish_reason: FinishReason | None = field(default=None)

    @property
    def sampling(self) -> Sampling:
        return self.text.sampling

    def take(self, drawn: Drawn, *, last: bool) -> Piece:
        """Add a token; `last` when no further one may come."""
        self.token_ids.append(drawn.token_id)
        text, self.finish_reason = self.text.take(drawn, last=last)
        return Piece(
            self.index, text, drawn.token_id, drawn.logprob, self.finish_reason, self.continues, drawn.likeliest
        )


def _complete(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[Read], params: SamplingParams
) -> list[list[Completion]]:
    """All samples of prompts of equal length."""
    pieces: defaultdict[tuple[int, int], list[Piece]] = defaultdict(list)
    for number, piece in _decode(model, tokenizer, prompts, params):
        pieces[number, piece.index].append(piece)
    return [
        best_samples([join(pieces[number, index], len(prompt.token_ids)) for index in range(params.samples)], params.n)
        for number, prompt in enumerate(prompts)
    ]


def _decode(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[Read], params: SamplingParams
) -> Generator[tuple[int, Piece]]:
    """The loop: draw, hand out, drop rows that ended, extend. Yields (which prompt, piece)."""
    rows = [
        _row(model, tokenizer, number, prompt, params, index)
        for number, prompt in enumerate(prompts)
        for index in range(params.samples)
    ]
    if params.penalty_alpha is not None:
        yield from _decode_by_contrast(model, prompts, rows)
        return
    with evaluation_mode(model):
        read = [prompt.token_ids for prompt in prompts]
        window: RollingWindow | GuidedWindow
        if params.guidance_scale is None:
            window = RollingWindow(model, read, params)
        else:
            against = None
            if params.negative_prompt is not None:
                against = read_prompt(model, tokenizer, params.negative_prompt).token_ids
            window = GuidedWindow(model, read, params, against)
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


def _decode_by_contrast(
    model: LanguageModel, prompts: Sequence[Read], rows: Sequence[_Row]
) -> Generator[tuple[int, Piece]]:
    """As `_decode`, one sample after another."""
    with evaluation_mode(model):
        for row in rows:
            for drawn, last in contrast(model, prompts[row.prompt].token_ids, row.sampling):
                yield row.prompt, row.take(drawn, last=last)
                if row.finish_reason is not None:
                    break


def _search(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[Read], params: SamplingParams
) -> list[list[Completion]]:
    """What beams find for prompts, the best first."""
    beams = Beams(
        params.num_beams,
        params.length_penalty,
        params.max_tokens,
        params.early_stopping,
        params.num_beam_groups,
        params.diversity_penalty,
        num_targets=params.n,
    )
    ends = Sampling(params, 0, [], tokenizer).stop_ids
    read = [np.array(prompt.token_ids) for prompt in prompts]
    found = search_targets(model, read, beams, stop_ids=ends, num_tokens=tokenizer.vocab_size)
    return [
        [_told(one, tokenizer, prompt, ends) for one in several[: params.n]]
        for prompt, several in zip(prompts, found, strict=True)
    ]


def _told(written: Written, tokenizer: Tokenizer, prompt: Read, ends: frozenset[int]) -> Completion:
    """What a search has found, as text."""
    decoder = StreamDecoder(tokenizer.target, continues=prompt.continues)
    shown = written.token_ids[:-1] if written.token_ids[-1] in ends else written.token_ids
    text = "".join(decoder.push(token_id) for token_id in shown)
    if written.finish_reason == "stop":
        text += decoder.finish()
    return Completion(
        text, written.token_ids, written.logprobs, written.finish_reason, len(prompt.token_ids), prompt.continues
    )


def _row(
    model: LanguageModel, tokenizer: Tokenizer, number: int, prompt: Read, params: SamplingParams, index: int
) -> _Row:
    """A sample of a prompt, before its first token."""
    token_ids = [] if model.reads_source else list(prompt.token_ids)
    text = [token_id for token_id in token_ids if token_id != tokenizer.bos_id]
    sampling = Sampling(params, index, text, tokenizer, continues=prompt.continues)
    shown = SampleText(params, sampling, tokenizer, continues=prompt.continues)
    return _Row(number, token_ids, prompt.continues, shown, index)


def read_prompt(model: LanguageModel, tokenizer: Tokenizer, prompt: Prompt) -> Read:
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
        return Read(prompt.tolist(), continues=not model.reads_source)
    if not isinstance(prompt, str):
        return Read(tokenizer.chat(prompt).tolist(), continues=False)
    if model.reads_source:
        return Read(tokenizer.frame(tokenizer.encode(prompt)).tolist(), continues=False)
    text = tokenizer.encode(prompt).tolist()
    begin = [tokenizer.bos_id] if tokenizer.adds_bos or not text else []
    return Read([*begin, *text], continues=bool(text))
