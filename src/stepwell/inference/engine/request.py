"""What an engine is asked for, and one sample of it on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.errors import StepwellError
from stepwell.inference.completion import FinishReason
from stepwell.inference.engine.choosing import is_usual
from stepwell.inference.params import SamplingParams
from stepwell.inference.sample_text import SampleText
from stepwell.inference.sampling import Drawn, Sampling
from stepwell.tokenizers import Tokenizer


@dataclass(frozen=True)
class Request:
    """A prompt and how it is to be completed.

    Attributes:
        token_ids: of the prompt, from 1: a text to go on with, or a source.
        params: how to draw.
        continues: whether what is written goes on with the prompt's text, rather than answering it.
        prompt_logprobs: whether the log-probability of each token of the prompt is wanted too.
    """

    token_ids: tuple[int, ...]
    params: SamplingParams
    continues: bool = True
    prompt_logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a request in a step.

    Attributes:
        request: which, as `Engine.add` numbered it.
        index: which of its samples.
        text: what may be shown now; it trails the tokens while a character is unfinished or a stop text could begin.
        drawn: the token; None where there is none (a failure, or prompt log-probabilities alone).
        finish_reason: None until the sample's last event.
        prompt_logprobs: the tokens of the prompt from the second on, each as if it had been drawn; once, in the first
            event of sample 0.
        error: what went wrong; the sample has ended.
    """

    request: int
    index: int
    text: str
    drawn: Drawn | None
    finish_reason: Literal["stop", "length", "error"] | None = None
    prompt_logprobs: tuple[Drawn, ...] | None = None
    error: StepwellError | None = None


@dataclass(eq=False)
class Sample:
    """One sample on its way.

    Attributes:
        request: number of its request.
        index: which sample of the request.
        token_ids: the prompt, and what was drawn; of a source only what was drawn.
        num_read: how many of them the model has read.
        text: of what was drawn.
        drawn: how many were drawn.
        blocks: its blocks of keys and values.
        digest: of its full blocks so far.
        state: what a model without blocks remembers.
        is_usual: whether its rules are those that are drawn by in machine code.
        prompt_logprobs: as far as they are known; None when they are not wanted.
    """

    request: int
    index: int
    asked: Request
    token_ids: list[int]
    text: SampleText
    num_read: int = 0
    drawn: int = 0
    blocks: list[int] = field(default_factory=list)
    num_published: int = 0
    digest: bytes = b""
    state: Any = None
    prompt_logprobs: list[Drawn] | None = None
    is_usual: bool = False

    @property
    def unread(self) -> int:
        return len(self.token_ids) - self.num_read

    @property
    def sampling(self) -> Sampling:
        return self.text.sampling

    def take(self, drawn: Drawn, *, last: bool) -> tuple[str, FinishReason | None]:
        """Add a token (see `SampleText.take`)."""
        self.token_ids.append(drawn.token_id)
        self.drawn += 1
        return self.text.take(drawn, last=last)


def make_samples(number: int, request: Request, tokenizer: Tokenizer, *, reads_source: bool) -> Sequence[Sample]:
    """The samples of a request, before anything was read."""
    text = [] if reads_source else [n for n in request.token_ids if n != tokenizer.bos_id]
    params, usual = request.params, is_usual(request.params)
    samples = []
    for index in range(params.n):
        sampling = Sampling(params, index, text, tokenizer, continues=request.continues)
        shown = SampleText(params, sampling, tokenizer, continues=request.continues)
        token_ids = [] if reads_source else list(request.token_ids)
        scores: list[Drawn] | None = [] if request.prompt_logprobs and index == 0 else None
        samples.append(Sample(number, index, request, token_ids, shown, prompt_logprobs=scores, is_usual=usual))
    return samples
