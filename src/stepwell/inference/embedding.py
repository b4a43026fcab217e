"""One vector for a text: a mean of its hidden states, or one of them (Reimers and Gurevych, 2019, "Sentence-BERT").

Texts that mean alike have vectors that point alike when the model was trained for it, and roughly so when it was not.
Texts of like length share a padded batch. This file leaves out looking vectors up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize as to_unit_length

from stepwell.errors import UsageError
from stepwell.inference.mode import evaluation_mode
from stepwell.models import Encoder, LanguageModel
from stepwell.tasks import Vectors, VectorsConfig, build_task
from stepwell.tokenizers import Tokenizer

POOLINGS = ("mean", "first", "last", "pooler")


def embed_texts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    pooling: str = "mean",
    normalize: bool = True,
    batch_tokens: int = 4096,
    max_tokens: int | None = None,
) -> NDArray[np.float32]:
    """Give each text a vector.

    Args:
        model: any language model; encoders are made for it.
        tokenizer: the one it was trained with.
        texts: N texts. Of one longer than the model can read, the beginning is taken.
        pooling: the `mean` of all hidden states, those of begin and end token included; the `first` one, the `last`
            one; or what the model's `pooler` makes of the first one.
        normalize: to length 1, so that a dot product is a cosine.
        batch_tokens: positions computed at once, padding included.
        max_tokens: longest that is read of a text; None for all that the model can read.

    Returns:
        (N, D) float32.

    Raises:
        UsageError: for another pooling, or a pooler that the model does not have.
    """
    if pooling not in POOLINGS:
        raise UsageError("pooling: no such way", got=pooling, wanted=", ".join(POOLINGS))
    if pooling == "pooler" and not (isinstance(model, Encoder) and model.pooler is not None):
        raise UsageError("pooling: this model has no pooler", wanted="mean, first or last")
    ends = [tokenizer.eos_id] if tokenizer.adds_eos else []
    room = min(model.config.max_seq_len, max_tokens or model.config.max_seq_len) - 1 - len(ends)
    rows = [[tokenizer.bos_id, *ids[:room].tolist(), *ends] for ids in tokenizer.encode_many(texts)]
    vectors = embed_tokens(model, rows, pooling=pooling, batch_tokens=batch_tokens)
    return to_unit_length(torch.from_numpy(vectors), dim=-1).numpy() if normalize else vectors


def embed_tokens(
    model: LanguageModel, rows: Sequence[Sequence[int]], *, pooling: str = "mean", batch_tokens: int = 4096
) -> NDArray[np.float32]:
    """Give each text a vector, as it comes out of the model.

    Args:
        model: any language model.
        rows: (T,) token ids of each of N texts, all of which are read.
        pooling: as in `embed_texts`.
        batch_tokens: as in `embed_texts`.

    Returns:
        (N, D) float32.
    """
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]), reverse=True)
    vectors: list[tuple[int, Tensor]] = []
    at = 0
    with evaluation_mode(model), torch.inference_mode():
        while at < len(order):
            batch = order[at : at + max(1, batch_tokens // len(rows[order[at]]))]
            vectors += zip(batch, _pool(model, [rows[number] for number in batch], pooling), strict=True)
            at += len(batch)
    if not vectors:
        return np.zeros((0, 0), dtype=np.float32)
    return torch.stack([vector for _, vector in sorted(vectors, key=lambda pair: pair[0])]).cpu().numpy()


def vectors_for(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: VectorsConfig,
    texts: Sequence[str],
    role: Literal["query", "document"] = "document",
) -> NDArray[np.float32]:
    """Vectors as a task makes them, of length 1.

    Args:
        model: trained for it.
        tokenizer: the one it was trained with.
        task: pooling, longest text, and what stands before texts.
        texts: N texts.
        role: whether they look for others or are looked for.

    Returns:
        (N, D) float32.
    """
    reader = build_task(task)
    assert isinstance(reader, Vectors)
    before = reader.prefixes[role == "document"]
    several = [before + one for one in texts]
    return embed_texts(model, tokenizer, several, pooling=task.pooling, max_tokens=task.max_tokens)


def _pool(model: LanguageModel, rows: Sequence[Sequence[int]], pooling: str) -> Tensor:
    """(B, D) float32."""
    ids = torch.zeros(len(rows), len(rows[0]), dtype=torch.int64)
    is_text = torch.zeros(ids.shape, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)], is_text[number, : len(row)] = torch.tensor(row), True
    ids, is_text = ids.to(model.device), is_text.to(model.device)
    hidden = model.hidden(ids, None if is_text.all() else (~is_text).long())
    if pooling == "mean":
        summed = (hidden.float() * is_text[..., None]).sum(1)
        return summed / is_text.sum(1, keepdim=True)
    if pooling == "pooler" and isinstance(model, Encoder):
        return model.pooled(hidden).float()
    if pooling == "last":
        return hidden[torch.arange(len(rows), device=hidden.device), is_text.sum(1) - 1].float()
    return hidden[:, 0].float()
