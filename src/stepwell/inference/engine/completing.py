"""Completing prompts by an engine, as `generate_many` does without one.

What is asked for, and what comes of it, is the same; an engine writes all of it at once, and in machine code where it
was made so. A text ends where the model's window does. This file leaves out what an engine does (`engine.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from stepwell.errors import UsageError
from stepwell.inference.completion import Completion, Piece, best_samples, join
from stepwell.inference.engine.engine import Engine
from stepwell.inference.engine.request import Event, Request
from stepwell.inference.generation import Prompt, read_prompt
from stepwell.inference.native.build import find_compiler
from stepwell.inference.native.decoder import what_is_missing
from stepwell.inference.native.packing import WeightBits
from stepwell.inference.params import SamplingParams
from stepwell.models import LanguageModel

WEIGHTS = ("auto", "plain", "float32", "bfloat16", "int8", "int4")
"""How matrices may be held while decoding, as a person says it; `bf16` is `bfloat16` too."""


def choose_weights(asked: str, model: LanguageModel) -> WeightBits | None:
    """What an engine is told.

    Args:
        asked: one of `WEIGHTS`, or bf16. `auto` is bfloat16 in machine code where that can be, `plain` leaves the model
            as it is.
        model: that is to be decoded.

    Returns:
        The `weights` of `Engine`.

    Raises:
        UsageError: when it is none of them.
    """
    if asked == "auto":
        can = what_is_missing(model) is None and model.device.type == "cpu" and find_compiler() is not None
        return "bfloat16" if can else None
    if asked == "plain":
        return None
    for known in ("float32", "bfloat16", "int8", "int4"):
        if asked == known or (asked, known) == ("bf16", "bfloat16"):
            return known
    raise UsageError("weights: no such way to hold them", got=asked, wanted=f"{', '.join(WEIGHTS)}, or bf16")


def complete(engine: Engine, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
    """Complete prompts.

    Args:
        engine: with the model.
        prompts: texts or conversations; of a text that is too long the end is read. Each draws from the same seed as it
            would alone.
        params: how to draw; a search is none of them.

    Returns:
        For each prompt its params.n completions; of best_of samples the likeliest, in that order.

    Raises:
        TokenizerError: when the tokenizer does not fit the model, or has no chat template.
        UsageError: when a conversation or a source is too long, or a search is asked for.
        StepwellError: when the model predicts NaN or infinity.
    """
    drawn = params.model_copy(update={"n": params.samples, "best_of": None})
    requests = [_request(engine, prompt, drawn) for prompt in prompts]
    pieces: defaultdict[tuple[int, int], list[Piece]] = defaultdict(list)
    for event in engine.run(requests):
        pieces[event.request, event.index].append(_piece(event, requests[event.request]))
    return [
        best_samples([join(pieces[number, index], len(one.token_ids)) for index in range(drawn.n)], params.n)
        for number, one in enumerate(requests)
    ]


def stream_complete(engine: Engine, prompt: Prompt, params: SamplingParams) -> Iterator[Piece]:
    """Complete a prompt token by token, as `stream` does without an engine; pieces of the samples take turns.

    Raises:
        TokenizerError, UsageError, StepwellError: as `complete`; and where more samples are to be drawn than given.
    """
    request = _request(engine, prompt, params)
    for event in engine.run([request]):
        yield _piece(event, request)


def _request(engine: Engine, prompt: Prompt, params: SamplingParams) -> Request:
    token_ids, continues = read_prompt(engine.model, engine.tokenizer, prompt)
    if continues:
        token_ids = token_ids[-max(engine.max_seq_len - params.max_tokens, engine.max_seq_len // 2) :]
    return Request(tuple(token_ids), params, continues=continues)


def _piece(event: Event, request: Request) -> Piece:
    assert event.drawn is not None  # `run` raises what went wrong
    assert event.finish_reason != "error"
    return Piece(
        event.index,
        event.text,
        event.drawn.token_id,
        event.drawn.logprob,
        event.finish_reason,
        request.continues,
        event.drawn.likeliest,
    )
