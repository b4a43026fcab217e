"""`/v1/completions`: texts that go on with prompts, also under the path that old clients know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from stepwell.serving.calls import Call, Operation, operation
from stepwell.serving.faults import JSON, Refusal
from stepwell.serving.infilling import infilled_ids
from stepwell.serving.logprobs import TokenTable, joined
from stepwell.serving.requests_openai import CompletionRequest, Prompt
from stepwell.serving.served import Served
from stepwell.serving.streaming import DONE, as_event
from stepwell.serving.worker import Told
from stepwell.serving.writing import Writing, Written, streamed

Table = dict[str, list[Any]]


async def complete(call: Call[CompletionRequest]) -> Response:
    """Complete one or several prompts."""
    asked, served = call.asked, call.served
    served.writer()
    prompts = await asyncio.to_thread(prompts_of, served, asked)
    chosen = asked.drawing()
    if asked.logprobs:
        chosen["logprobs"] = asked.logprobs
    tells_prompt = asked.echo and asked.logprobs is not None
    if tells_prompt and served.reads_source:
        raise Refusal(
            400, f"echo: `{served.name}` turns a prompt into another text, and tells no probability of it.",
            param="echo", code="unsupported_parameter",
        )  # fmt: skip
    writing = Writing(
        served,
        prompts,
        chosen,
        samples=asked.best_of or asked.n,
        max_tokens=asked.max_tokens,
        continues=asked.suffix is None,
        prompt_logprobs=tells_prompt,
        most_tokens=call.server.config.most_tokens,
    )
    shape = _Shape(call, writing, prompts)
    if asked.stream:
        return await streamed(writing, shape.pieces, call.deadline)
    written = await writing.finish()
    choices = []
    for place, several in enumerate(written):
        best = several if asked.best_of is None else sorted(several, key=lambda one: -one.mean_logprob)
        for number, one in enumerate(best[: asked.n]):
            choices.append(shape.choice(place, place * asked.n + number, one, several[0]))
    return JSON({**shape.head, "choices": choices, "usage": shape.usage()})


class _Shape:
    """How samples are told.

    Args:
        call: that asked for them.
        writing: their source.
        prompts: token ids of each.
    """

    def __init__(self, call: Call[CompletionRequest], writing: Writing, prompts: Sequence[tuple[int, ...]]) -> None:
        self.call, self.writing, self.prompts = call, writing, prompts
        self.served = call.served
        self.head = {
            "id": f"cmpl-{call.id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": call.served.name,
        }
        self.echoed = [_shown(self.served, prompt) if call.asked.echo else "" for prompt in prompts]
        self.writes = call.asked.max_tokens > 0

    def usage(self) -> dict[str, Any]:
        """Tokens of prompts and completions."""
        usage = self.writing.usage()
        return usage if self.writes else {**usage, "completion_tokens": 0, "total_tokens": usage["prompt_tokens"]}

    def choice(self, place: int, index: int, one: Written, first: Written) -> dict[str, Any]:
        """A whole sample.

        Args:
            place: of its prompt.
            index: of the choice.
            one: the sample.
            first: sample of its prompt, which knows how likely that was.
        """
        table = None
        if self.call.asked.logprobs is not None:
            rows = self._table(place)
            prompt = self._of_prompt(place, first, rows)
            drawn = rows.of_drawn(one.drawn if self.writes else ())
            table = drawn if prompt is None else joined(prompt, drawn)
        return {
            "index": index,
            "text": self.echoed[place] + (one.text if self.writes else ""),
            "logprobs": table,
            "finish_reason": one.finish_reason if self.writes else "length",
        }

    def _table(self, place: int) -> TokenTable:
        begins_at = 0 if self.call.asked.echo else len(_shown(self.served, self.prompts[place]))
        return TokenTable(self.served.tokenizer, self.call.asked.logprobs or 0, begins_at)

    def _of_prompt(self, place: int, first: Written, rows: TokenTable) -> Table | None:
        if first.prompt_logprobs is None:
            return None
        told = rows.of_prompt(self.prompts[place][0], first.prompt_logprobs)
        if self.served.tokenizer.adds_bos and self.prompts[place][0] == self.served.tokenizer.bos_id:
            return {name: column[1:] for name, column in told.items()}  # it is no part of the text
        return told

    async def pieces(self, events: AsyncIterator[Told]) -> AsyncIterator[bytes]:
        """Samples piece by piece."""
        parts: dict[tuple[int, int], _Part] = {}
        async for told in events:
            one = self.writing.take(told)
            key = told.place, told.event.index
            part = parts.setdefault(key, _Part(self._table(told.place)))
            choice = {"index": told.place * self.call.asked.n + told.event.index, **self._next(part, one, told)}
            if choice["text"] or choice["logprobs"] is not None or choice["finish_reason"] is not None:
                yield as_event({**self.head, "choices": [choice], **self._no_usage()})
        if self.call.asked.tells_usage:
            yield as_event({**self.head, "choices": [], "usage": self.usage()})
        yield DONE

    def _next(self, part: _Part, one: Written, told: Told) -> dict[str, Any]:
        """What is new of a sample."""
        drawn = one.drawn[part.told :] if self.writes else []
        text = told.event.text if self.writes else ""
        table = part.rows.of_drawn(drawn) if self.call.asked.logprobs is not None and part.has_begun else None
        if not part.has_begun:
            text = self.echoed[told.place] + text
            if self.call.asked.logprobs is not None:
                before = self._of_prompt(told.place, self.writing.written[told.place][0], part.rows)
                table = part.rows.of_drawn(drawn)
                table = table if before is None else joined(before, table)
        part.has_begun, part.told = True, len(one.drawn)
        reason = one.finish_reason if self.writes or one.finish_reason is None else "length"
        return {"text": text, "logprobs": table, "finish_reason": reason}

    def _no_usage(self) -> dict[str, None]:
        return {"usage": None} if self.call.asked.tells_usage else {}


@dataclass
class _Part:
    """How far a sample was told.

    Attributes:
        rows: of its tokens.
        told: tokens.
        has_begun: whether anything was.
    """

    rows: TokenTable
    told: int = 0
    has_begun: bool = False


def prompts_of(served: Served, asked: CompletionRequest) -> list[tuple[int, ...]]:
    """The token ids of each prompt.

    Raises:
        Refusal: when a token is none of the model's, or there is a suffix that it cannot take.
    """
    texts, rows = taken_apart(asked.prompt)
    for text in texts:
        served.check_length(text)
    if asked.suffix is not None:
        if rows:
            raise Refusal(400, "suffix: goes with prompts that are text", param="suffix", code="invalid_value")
        return [infilled_ids(served, text, asked.suffix) for text in texts]
    if not rows:
        return [served.text_ids(text) for text in texts]
    for row in rows:
        if not row or max(row) >= served.tokenizer.vocab_size:
            raise Refusal(
                400, f"prompt: tokens are from 0 to {served.tokenizer.vocab_size - 1}, and at least one",
                param="prompt", code="invalid_value",
            )  # fmt: skip
    return [tuple(row) for row in rows]


def taken_apart(prompt: Prompt) -> tuple[list[str], list[list[int]]]:
    """A prompt in any of its four forms as texts, or as rows of tokens."""
    if isinstance(prompt, str):
        return [prompt], []
    if isinstance(prompt[0], str):
        return prompt, []
    if isinstance(prompt[0], int):
        return [], [prompt]
    return [], prompt


def _shown(served: Served, prompt: Sequence[int]) -> str:
    """A prompt as text, as the tokens have it."""
    return served.tokenizer.decode(prompt)


OPERATIONS: list[Operation] = operation(
    ["/v1/completions", "/v1/engines/{engine}/completions"],
    CompletionRequest,
    complete,
    "Go on with a text, or with several.",
)
