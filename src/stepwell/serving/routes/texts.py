"""`/tokenize`, `/detokenize`, `/score` and `/rerank`: texts as tokens, how likely they are, and how near to a query."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from starlette.responses import Response

from stepwell.errors import TokenizerError
from stepwell.inference import score_tokens
from stepwell.serving.calls import Call, Operation, operation
from stepwell.serving.faults import JSON, Refusal
from stepwell.serving.logprobs import finite, spelled
from stepwell.serving.requests_own import DetokenizeRequest, RerankRequest, ScoreRequest, TokenizeRequest, listed
from stepwell.serving.served import Served
from stepwell.serving.vectors import cosine, vectors_of


async def tokenize(call: Call[TokenizeRequest]) -> Response:
    """The tokens of a text, or of a conversation."""
    asked, served = call.asked, call.served

    def work() -> dict[str, Any]:
        if asked.messages is not None:
            tools = [one.model_dump(exclude_none=True) for one in asked.tools or ()]
            ids = list(served.chat_ids([one.plain() for one in asked.messages], tools or None))
        elif asked.add_special_tokens:
            ids = list(served.text_ids(asked.prompt or ""))
        else:
            ids = served.tokenizer.encode(asked.prompt or "").tolist()
        told: dict[str, Any] = {
            "model": served.name, "tokens": ids, "count": len(ids), "max_model_len": served.window
        }  # fmt: skip
        if asked.return_token_strs:
            told["token_strs"] = [spelled(served.tokenizer, one) for one in ids]
        return told

    return JSON(await asyncio.to_thread(work))


async def detokenize(call: Call[DetokenizeRequest]) -> Response:
    """The text of tokens."""
    asked, served = call.asked, call.served
    try:
        text = await asyncio.to_thread(served.tokenizer.decode, asked.tokens)
    except TokenizerError as error:
        raise Refusal(400, f"tokens: {error.what}; wanted: {error.wanted}", param="tokens",
                      code="invalid_value") from None  # fmt: skip
    return JSON({"model": served.name, "prompt": text})


async def score(call: Call[ScoreRequest]) -> Response:
    """How likely texts are, or how alike."""
    asked, served = call.asked, call.served
    if asked.text_1 is not None:
        data = await _alike(served, listed(asked.text_1), listed(asked.text_2))
    else:
        data = list(await served.batcher.ask("score", listed(asked.input), lambda texts: _likely(served, texts)))
    return JSON({"object": "list", "model": served.name, "data": [
        {"index": index, **one} for index, one in enumerate(data)
    ]})  # fmt: skip


async def _alike(served: Served, first: Sequence[str], second: Sequence[str]) -> list[dict[str, Any]]:
    left, right = await vectors_of(served, first, "query"), await vectors_of(served, second, "document")
    beside = cycle(left) if len(left) == 1 else iter(left)
    return [{"object": "score", "score": cosine(one, other)} for one, other in zip(beside, right, strict=False)]


def _likely(served: Served, texts: Sequence[str]) -> list[dict[str, Any]]:
    model, tokenizer = served.loaded.model, served.loaded.tokenizer
    if served.reads_source:
        raise Refusal(
            400, f"The model `{served.name}` tells the probability of a text only after a source.", param="model",
            code="unsupported_model",
        )  # fmt: skip
    found = []
    for text in texts:
        ids = tokenizer.encode(text).tolist()
        ends = [tokenizer.eos_id] if not model.is_causal and tokenizer.adds_eos else []
        logprobs = score_tokens(model, [tokenizer.bos_id, *ids, *ends])[: len(ids)].tolist()
        total = sum(logprobs)
        rows = [
            {"id": one, "token": spelled(tokenizer, one), "logprob": finite(value)}
            for one, value in zip(ids, logprobs, strict=True)
        ]
        found.append(
            {
                "object": "score",
                "scoring": "causal" if model.is_causal else "masked",
                "tokens": rows,
                "logprob": max(total, len(ids) * -9999.0),
                "perplexity": math.exp(min(-total / max(len(ids), 1), 700.0)),
            }
        )
    return found


async def rerank(call: Call[RerankRequest]) -> Response:
    """Documents by how near they are to a query."""
    asked, served = call.asked, call.served
    (query,) = await vectors_of(served, [asked.query], "query")
    documents = await vectors_of(served, asked.documents, "document")
    scores = [cosine(query, one) for one in documents]
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[: asked.top_n]
    results = [
        {"index": place, "relevance_score": scores[place]}
        | ({"document": {"text": asked.documents[place]}} if asked.return_documents else {})
        for place in order
    ]
    return JSON({"id": f"rerank-{call.id}", "model": served.name, "results": results})


OPERATIONS: list[Operation] = [
    *operation(["/tokenize"], TokenizeRequest, tokenize, "Cut a text or a conversation into tokens."),
    *operation(["/detokenize"], DetokenizeRequest, detokenize, "Join tokens into a text."),
    *operation(["/score"], ScoreRequest, score, "Tell how likely texts are, or how alike."),
    *operation(["/rerank"], RerankRequest, rerank, "Rank documents by how near they are to a query."),
]
