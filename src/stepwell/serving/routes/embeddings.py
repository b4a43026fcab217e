"""`/v1/embeddings`: vectors of texts, as numbers or as their bytes in base64."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from starlette.responses import Response

from stepwell.errors import TokenizerError
from stepwell.serving.calls import Call, Operation, operation
from stepwell.serving.faults import JSON, Refusal
from stepwell.serving.requests_openai import EmbeddingRequest
from stepwell.serving.routes.completions import taken_apart
from stepwell.serving.served import Served
from stepwell.serving.vectors import Vector, num_tokens, vectors_of


async def embed(call: Call[EmbeddingRequest]) -> Response:
    """Give texts vectors."""
    asked, served = call.asked, call.served
    texts = await asyncio.to_thread(_texts, served, asked)
    vectors = await vectors_of(served, texts, asked.role)
    size = len(vectors[0])
    if asked.dimensions not in (None, size):
        raise Refusal(
            400, f"dimensions: the vectors of `{served.name}` have {size}", param="dimensions", code="invalid_value"
        )
    tokens = await asyncio.to_thread(num_tokens, served, texts)
    data = [
        {"object": "embedding", "index": index, "embedding": _told(one, asked.encoding_format)}
        for index, one in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    served.meters.answered(tokens, 0)
    return JSON({"object": "list", "data": data, "model": served.name, "usage": usage})


def _texts(served: Served, asked: EmbeddingRequest) -> list[str]:
    texts, rows = taken_apart(asked.input)
    try:
        return texts or [served.tokenizer.decode(row) for row in rows]
    except TokenizerError as error:
        raise Refusal(400, f"input: {error.what}; wanted: {error.wanted}", param="input",
                      code="invalid_value") from None  # fmt: skip


def _told(vector: Vector, form: str) -> Any:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return [float(f"{value:.8g}") for value in vector.tolist()]


OPERATIONS: list[Operation] = operation(
    ["/v1/embeddings", "/v1/engines/{engine}/embeddings"], EmbeddingRequest, embed, "Give texts vectors."
)
