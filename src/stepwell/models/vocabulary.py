"""A model for more tokens than it was trained with: new rows begin as the mean of the rows that they replace.

A new token stands where several old ones stood, so the mean of their embeddings is near to what the model knows of it
(Hewitt 2021; Gee et al. 2022), and so it is on the side of the output. This file leaves out which tokens are added
(`tokenizers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stepwell.errors import UsageError
from stepwell.models.catalog import build_model
from stepwell.models.language_model import LanguageModel
from stepwell.models.model_config import ModelConfig


def load_extended(
    model: LanguageModel, tensors: Mapping[str, Tensor], first_id: int, parts: Sequence[Sequence[int]]
) -> None:
    """Take over the weights of a model for fewer tokens.

    Args:
        model: for all tokens, with as many rows as the other one or more; changed in place.
        tensors: of the other model, by name.
        first_id: of the tokens that are new; the other model has rows for all before it.
        parts: for each new token the old ones that it replaces, at least one each.

    Raises:
        UsageError: for a model that has no rows of tokens (an n-gram model).
        ValueError: when the tensors are not those of such a model.
    """
    by_token = _tensors_by_token(model.config)
    if not by_token:
        raise UsageError(
            "tokenizer.extend_tokens: there are no embeddings to begin from",
            got=f"a model of kind {model.config.kind}",
            do="train a model of the new vocabulary from the beginning",
        )
    rows = torch.tensor([one for some in parts for one in some], dtype=torch.int64)
    sizes = torch.tensor([len(some) for some in parts], dtype=torch.int64)
    of_token = torch.repeat_interleave(torch.arange(len(parts)), sizes)
    grown = dict(tensors)
    for name in by_token & tensors.keys():
        old = tensors[name]
        if len(old) < first_id or (rows.numel() and int(rows.max()) >= len(old)):
            raise ValueError(f"{name} has {len(old)} rows, fewer than the {first_id} old tokens")
        sums = torch.zeros(len(parts), *old.shape[1:], dtype=torch.float64).index_add_(0, of_token, old[rows].double())
        means = sums / sizes.view(-1, *[1] * (old.dim() - 1))
        spare = old[first_id + len(parts) :]  # rows that a published table has beyond its tokens
        grown[name] = torch.cat([old[:first_id], means.to(old.dtype), spare])
    model.load_tensors(grown)


def _tensors_by_token(config: ModelConfig) -> set[str]:
    """The names of the tensors that have a row, or a number, for each token."""
    with torch.device("meta"):  # shapes, and no numbers
        own, other = (build_model(_with_tokens(config, more)).tensors() for more in (0, 1))
    return {name for name, tensor in own.items() if tensor.dim() and len(other[name]) == len(tensor) + 1}


def _with_tokens(config: ModelConfig, more: int) -> ModelConfig:
    return config.model_copy(update={"vocab_size": config.vocab_size + more})
