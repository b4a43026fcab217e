"""A head over hidden states: numbers for a whole text, or for each token (Devlin et al., 2019, section 3.2).

Texts may be packed into rows, and each is pooled for itself. Beside the hidden states it may weigh the n-grams of a
text, hashed into a table (Joulin et al., 2017, "Bag of tricks for efficient text classification"): a linear model that
learns with the network. This file leaves out loss, and what the numbers mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding_bag

from stepwell.models.task_head_config import NgramFeaturesConfig, TaskHeadConfig

_MULTIPLIER, _MASK = 1_000_003, (1 << 61) - 1


class TaskHead(nn.Module):
    """Numbers for texts or tokens.

    Args:
        config: its shape.
        width: D of the hidden states.
        seed: decides its initial weights.
    """

    def __init__(self, config: TaskHeadConfig, width: int, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.map = nn.Linear(width, config.num_outputs)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.map.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.map.bias)
        ngrams = config.ngrams
        self.table = None if ngrams is None else nn.Embedding(ngrams.num_buckets, config.num_outputs)
        if self.table is not None:
            nn.init.zeros_(self.table.weight)

    def forward(self, hidden: Tensor, token_ids: Tensor, pieces: Tensor, num_pieces: int) -> Tensor:
        """Numbers of each text, or of each token.

        Args:
            hidden: (B, T, D).
            token_ids: (B, T) int64, what the model read.
            pieces: (B, T) int64, which of P texts a place belongs to; P where there is padding. Places of a text stand
                together.
            num_pieces: P.

        Returns:
            (P, K) float32; of `each` (B, T, K).
        """
        if self.config.pooling == "each":
            return self._mapped(hidden)
        logits = self._mapped(pooled(hidden, pieces, num_pieces, self.config.pooling))
        if self.table is not None and self.config.ngrams is not None:
            logits = logits + self._of_ngrams(token_ids, pieces, num_pieces, self.config.ngrams)
        return logits

    def _mapped(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.map(dropout(hidden, self.config.dropout, training=self.training))
        return out.float()

    def _of_ngrams(self, token_ids: Tensor, pieces: Tensor, num_pieces: int, config: NgramFeaturesConfig) -> Tensor:
        """(P, K): the weights of a text's n-grams, summed over the root of their number."""
        assert self.table is not None
        owners, buckets = hashed_ngrams(token_ids, pieces, num_pieces, config.max_n, config.num_buckets)
        if self.training and config.dropout:
            stays = torch.rand(len(owners), device=owners.device) >= config.dropout
            owners, buckets = owners[stays], buckets[stays]
        counts = torch.bincount(owners, minlength=num_pieces)
        offsets = torch.cumsum(counts, 0) - counts
        share = counts.clamp(min=1).float().rsqrt().repeat_interleave(counts)
        order = torch.argsort(owners, stable=True)
        return embedding_bag(buckets[order], self.table.weight.float(), offsets, mode="sum", per_sample_weights=share)


def pooled(hidden: Tensor, pieces: Tensor, num_pieces: int, pooling: str) -> Tensor:
    """(P, D) float32: one vector for each text.

    Args:
        hidden: (B, T, D).
        pieces: (B, T) int64, as `TaskHead.forward` takes them; every text has a place.
        num_pieces: P.
        pooling: `mean`, `first` or `last`.
    """
    flat, owners = hidden.flatten(0, 1), pieces.flatten()
    if pooling == "mean":
        sums = torch.zeros(num_pieces + 1, flat.shape[1], device=flat.device)
        sums = sums.index_add(0, owners, flat.float())
        counts = torch.bincount(owners, minlength=num_pieces + 1).clamp(min=1)
        return (sums / counts[:, None])[:num_pieces]
    places = torch.arange(len(owners), device=owners.device)
    start = len(owners) if pooling == "first" else -1
    chosen = torch.full((num_pieces + 1,), start, device=owners.device, dtype=torch.int64)
    chosen = chosen.scatter_reduce(0, owners, places, "amin" if pooling == "first" else "amax")[:num_pieces]
    return flat[chosen].float()


def hashed_ngrams(
    token_ids: Tensor, pieces: Tensor, num_pieces: int, max_n: int, num_buckets: int
) -> tuple[Tensor, Tensor]:
    """Every n-gram of every text, as a bucket.

    Args:
        token_ids: (B, T) int64.
        pieces: (B, T) int64, as `TaskHead.forward` takes them.
        num_pieces: P.
        max_n: n-grams of 1 to so many tokens, none across texts.
        num_buckets: what a polynomial of the token ids is reduced to.

    Returns:
        (M,) which text an n-gram is of, and (M,) its bucket.
    """
    owners, buckets = [], []
    code = torch.zeros_like(token_ids)
    for n in range(1, max_n + 1):
        if token_ids.shape[1] < n:
            break
        code = (code[:, : token_ids.shape[1] - n + 1] * _MULTIPLIER + token_ids[:, n - 1 :] + 1) & _MASK
        first, last = pieces[:, : code.shape[1]], pieces[:, n - 1 :]
        inside = (first == last) & (first < num_pieces)
        mixed = (code[inside] ^ (code[inside] >> 29)) * 0x1B873593 + n
        owners.append(first[inside])
        buckets.append(mixed.remainder(num_buckets))
    return torch.cat(owners), torch.cat(buckets)
