"""A head over hidden states: numbers for a whole text, or for each token (Devlin et al., 2019, section 3.2).

Texts may be packed into rows, and each is pooled for itself. Beside the hidden states it may weigh the n-grams of a
text, hashed into a table (Joulin et al., 2017, "Bag of tricks for efficient text classification"): a linear model that
learns with the network. This file leaves out loss, and what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterator

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

    Attributes:
        transitions: (K + 1, K + 1) score of each label after each, where it is learned; the last row is the beginning
            of a text, the last column its end.
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
        size = config.num_outputs + 1
        self.transitions = nn.Parameter(torch.zeros(size, size)) if config.transitions else None

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
            told = self._mapped(hidden)
            return told if self.config.ngrams is None else told + self._around(token_ids, pieces, self.config.ngrams)
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

    def _around(self, token_ids: Tensor, pieces: Tensor, config: NgramFeaturesConfig) -> Tensor:
        """(B, T, K): the weights of the n-grams around each token, summed."""
        assert self.table is not None
        buckets = ngrams_around(token_ids, pieces, config)
        if self.training and config.dropout:
            left_out = torch.rand(buckets.shape, device=buckets.device) < config.dropout
            buckets = torch.where(left_out, config.num_buckets, buckets)
        counted = (buckets < config.num_buckets).float().flatten(0, 1)
        at = buckets.clamp(max=config.num_buckets - 1).flatten(0, 1)
        summed = embedding_bag(at, self.table.weight.float(), mode="sum", per_sample_weights=counted)
        return summed.unflatten(0, token_ids.shape)


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
        states = flat.float()
        sums = states.new_zeros(num_pieces + 1, flat.shape[1]).index_add(0, owners, states)
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
    for n, code, inside in _codes(token_ids, pieces, max_n):
        kept = inside & (pieces[:, : code.shape[1]] < num_pieces)
        owners.append(pieces[:, : code.shape[1]][kept])
        buckets.append(_bucket(code[kept], n, num_buckets))
    return torch.cat(owners), torch.cat(buckets)


def ngrams_around(token_ids: Tensor, pieces: Tensor, config: NgramFeaturesConfig) -> Tensor:
    """The n-grams around each token, as buckets: all that lie within its reach, each told apart by where it stands.

    Args:
        token_ids: (B, T) int64.
        pieces: (B, T) int64; an n-gram lies in one piece, and it is the token's.
        config: lengths, reach and buckets.

    Returns:
        (B, T, M) int64 in [0, num_buckets], which itself stands for an n-gram that is not there.
    """
    length, reach, found = token_ids.shape[1], config.reach, []
    for n, code, inside in _codes(token_ids, pieces, config.max_n):
        for shift in range(-reach, reach - n + 2):  # of the n-gram's beginning, seen from the token
            first, last = max(0, -shift), min(length, code.shape[1] - shift)
            buckets = torch.full_like(token_ids, config.num_buckets)
            if last > first:
                begins = slice(first + shift, last + shift)
                mine = inside[:, begins] & (pieces[:, begins] == pieces[:, first:last])
                here = _bucket(code[:, begins], n * 31 + shift, config.num_buckets)
                buckets[:, first:last] = torch.where(mine, here, config.num_buckets)
            found.append(buckets)
    return torch.stack(found, dim=-1)


def _codes(token_ids: Tensor, pieces: Tensor, max_n: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each n: (B, T - n + 1) a number for the n-gram that begins there, and whether it lies in one piece."""
    code = torch.zeros_like(token_ids)
    for n in range(1, max_n + 1):
        if token_ids.shape[1] < n:
            return
        code = (code[:, : token_ids.shape[1] - n + 1] * _MULTIPLIER + token_ids[:, n - 1 :] + 1) & _MASK
        yield n, code, pieces[:, : code.shape[1]] == pieces[:, n - 1 :]


def _bucket(code: Tensor, salt: int, num_buckets: int) -> Tensor:
    return ((code ^ (code >> 29)) * 0x1B873593 + salt).remainder(num_buckets)
