"""From a request to an engine's requests, and from its events to finished samples.

This is what completions, chat and responses have in common: how many tokens may come, what a sample is made of, and
what is counted. This file leaves out the shapes of answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.inference import Drawn, Request
from stepwell.serving.faults import Refusal, too_long
from stepwell.serving.requests import params_of
from stepwell.serving.served import Served
from stepwell.serving.streaming import EventStream
from stepwell.serving.worker import Asking, Told


@dataclass
class Written:
    """One sample so far.

    Attributes:
        pieces: of its text.
        drawn: its tokens; the one that ended it is none of them.
        tokens: that were drawn, the one that ended it among them.
        finish_reason: why it ended; None while it has not.
        prompt_logprobs: the prompt's tokens from the second on, where they were asked for.
    """

    pieces: list[str] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    tokens: int = 0
    finish_reason: str | None = None
    prompt_logprobs: tuple[Drawn, ...] | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(self.pieces)

    @property
    def mean_logprob(self) -> float:
        """Of its tokens (nats)."""
        return sum(one.logprob for one in self.drawn) / max(len(self.drawn), 1)


class Writing:
    """Requests to one model that are answered together.

    Args:
        served: the model.
        prompts: token ids of each.
        chosen: fields of `SamplingParams` that the request chose.
        samples: of each prompt.
        max_tokens: of each sample; None for as many as there is room for.
        continues: whether samples go on with the prompts' texts, rather than answering them.
        prompt_logprobs: whether those of the prompts are wanted.
        most_tokens: that the server allows for one request.

    Raises:
        Refusal: when a prompt is too long, or a value out of its range.
    """

    def __init__(
        self,
        served: Served,
        prompts: Sequence[tuple[int, ...]],
        chosen: dict[str, Any],
        *,
        samples: int,
        max_tokens: int | None,
        continues: bool,
        prompt_logprobs: bool = False,
        most_tokens: int | None = None,
    ) -> None:
        self.served, self.prompts, self.samples = served, prompts, samples
        worker = served.writer()
        share = None if most_tokens is None else max(1, most_tokens // (samples * len(prompts)))
        self.requests = [
            Request(
                prompt,
                params_of(
                    {**chosen, "n": samples, "max_tokens": room_for(served, len(prompt), max_tokens, share)},
                    {**served.decoding, "min_tokens": 0},
                ),
                continues=continues and not served.reads_source and prompt != (served.tokenizer.bos_id,),
                prompt_logprobs=prompt_logprobs,
            )
            for prompt in prompts
        ]
        self.params = self.requests[0].params
        wanted = sum(request.params.max_tokens for request in self.requests) * samples
        if most_tokens is not None and wanted > most_tokens:
            raise Refusal(
                400,
                f"max_tokens: this server writes at most {most_tokens} tokens for one request, and you asked for "
                f"{wanted} over all samples.",
                param="max_tokens",
                code="too_many_tokens",
            )
        self.written = [[Written() for _ in range(samples)] for _ in prompts]
        self._ends = served.tokenizer.stop_ids | set(self.params.stop_token_ids)
        self._counted = False
        self.asking: Asking = worker.ask(self.requests)

    def take(self, told: Told) -> Written:
        """Add an event to its sample, which is given back."""
        event = told.event
        one = self.written[told.place][event.index]
        if event.prompt_logprobs is not None:
            one.prompt_logprobs = event.prompt_logprobs
        one.pieces.append(event.text)
        if event.drawn is not None:
            one.tokens += 1
            if not (event.finish_reason == "stop" and event.drawn.token_id in self._ends):
                one.drawn.append(event.drawn)
        one.finish_reason = event.finish_reason
        return one

    async def finish(self) -> list[list[Written]]:
        """All samples of each prompt, whole.

        Raises:
            Refusal: when they cannot be written.
        """
        try:
            async for told in self.asking:
                self.take(told)
        finally:
            self.close()
        return self.written

    def close(self) -> None:
        """Count, and give up what has not ended."""
        self.asking.close()
        if not self._counted:
            self._counted = True
            self.served.meters.answered(self.prompt_tokens, self.completion_tokens)

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))

    @property
    def completion_tokens(self) -> int:
        return sum(one.tokens for several in self.written for one in several)

    def usage(self) -> dict[str, Any]:
        """Tokens as OpenAI counts them: prompts once, and every token that was written."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def room_for(served: Served, prompt: int, asked: int | None, share: int | None) -> int:
    """How many tokens may be written after a prompt.

    Args:
        served: the model.
        prompt: tokens of the prompt.
        asked: how many the request wants; None for as many as there is room for.
        share: of what the server writes for one request, where nobody said how many.

    Raises:
        Refusal: when they do not fit into the model's window.
    """
    window = served.window
    left = window if served.reads_source else window - prompt
    if prompt > window or left < 1 or (asked is not None and asked > left):
        raise too_long(window, prompt, asked)
    if asked is None:
        return left if share is None else min(left, share)
    return max(asked, 1)


async def streamed(
    writing: Writing, pieces: Callable[[AsyncIterator[Told]], AsyncIterator[bytes]], deadline: float
) -> EventStream:
    """Samples piece by piece, once the first event shows that there will be some.

    Args:
        writing: that is closed when the stream ends, however that is.
        pieces: makes what is sent of events.
        deadline: in the loop's time.

    Raises:
        Refusal: when they cannot be written.
    """
    events = aiter(writing.asking)
    try:
        first = await anext(events)
    except BaseException:
        writing.close()
        raise

    async def all_events() -> AsyncIterator[Told]:
        yield first
        async for told in events:
            yield told

    return EventStream(pieces(all_events()), writing.close, deadline)
