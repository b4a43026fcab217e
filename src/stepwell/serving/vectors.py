"""Vectors of texts for the routes that compare them; made by the functions that the commands use.

This file leaves out what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stepwell.inference import embed_texts, vectors_for
from stepwell.serving.faults import Refusal
from stepwell.serving.served import Served
from stepwell.tasks import VectorsConfig

Vector = NDArray[np.float32]


async def vectors_of(served: Served, texts: Sequence[str], role: Literal["query", "document"]) -> list[Vector]:
    """A vector of length 1 for each text.

    Args:
        served: the model.
        texts: N of them; of one that is longer than the model can read, the beginning is taken.
        role: whether they look for others or are looked for.

    Returns:
        N times (D,) float32.

    Raises:
        Refusal: when too many wait, or the model has no vectors.
    """
    model, tokenizer, task = served.loaded.model, served.loaded.tokenizer, served.task
    if served.reads_source:
        raise Refusal(400, f"The model `{served.name}` gives no vectors.", param="model", code="unsupported_model")

    def made(several: Sequence[str]) -> list[Vector]:
        if isinstance(task, VectorsConfig):
            return list(vectors_for(model, tokenizer, task, several, role))
        return list(embed_texts(model, tokenizer, several))

    return list(await served.batcher.ask(("vectors", role), texts, made))


def cosine(one: Vector, other: Vector) -> float:
    """Of two vectors of length 1, in [-1, 1]."""
    return min(1.0, max(-1.0, float(one @ other)))


def num_tokens(served: Served, texts: Sequence[str]) -> int:
    """Tokens of some texts."""
    return sum(len(ids) for ids in served.loaded.tokenizer.encode_many(texts))
