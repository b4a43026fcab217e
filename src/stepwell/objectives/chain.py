"""The loss of a sequence of labels as a whole: a linear-chain conditional random field (Lafferty et al., 2001).

Each token has a score for each label, and each label has one for following another. What is minimised is how unlikely
the right sequence is among all there are, summed up forwards in time that grows with its length. This file leaves out
how the best sequence is found (`tasks.tag_decoding`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def chain_losses(scores: Tensor, labels: Tensor, owners: Tensor, num_pieces: int, transitions: Tensor) -> Tensor:
    """How unlikely the right labels of each text are.

    Args:
        scores: (M, K) of the labelled tokens, those of a text together and in order.
        labels: (M,) int64, the right ones, in [0, K).
        owners: (M,) int64, which of P texts a token is of; never falling.
        num_pieces: P.
        transitions: (K + 1, K + 1) score of each label after each; the last row is the beginning of a text, the last
            column its end.

    Returns:
        (P,) float32 nats; 0 for a text without labels.
    """
    scores, size = scores.float(), scores.shape[1]
    counts = torch.bincount(owners, minlength=num_pieces)
    places = torch.arange(len(owners), device=owners.device) - (torch.cumsum(counts, 0) - counts)[owners]
    before = torch.where(places == 0, size, labels.roll(1))
    right = scores.gather(1, labels[:, None])[:, 0] + transitions[before, labels]
    ends = places == counts[owners] - 1
    right = right + torch.where(ends, transitions[labels, size], 0.0)
    found = torch.zeros(num_pieces, device=scores.device).index_add(0, owners, right)
    order = torch.argsort(counts, descending=True, stable=True)  # so that those still going on stand first
    alive = order[: int((counts > 0).sum())]
    partitions = _log_partitions(scores, counts[alive], torch.cumsum(counts, 0)[alive] - counts[alive], transitions)
    return torch.zeros(num_pieces, device=scores.device).index_add(0, alive, partitions) - found


def _log_partitions(scores: Tensor, counts: Tensor, starts: Tensor, transitions: Tensor) -> Tensor:
    """(A,) the logarithm of the sum over all sequences of each text, the longest text first.

    Args:
        scores: (M, K).
        counts: (A,) tokens of each text, falling, at least 1.
        starts: (A,) where its tokens begin.
        transitions: (K + 1, K + 1).
    """
    if not len(counts):
        return scores.new_zeros(0)
    between, ending = transitions[:-1, :-1], transitions[:-1, -1]
    highest = between.detach().max()
    weights = (between - highest).exp()
    sums = transitions[-1, :-1] + scores[starts]
    done: list[Tensor] = []
    lengths = counts.tolist()
    for at in range(1, lengths[0] + 1):
        going = sum(length > at for length in lengths)
        done.append(torch.logsumexp(sums[going:] + ending, dim=1))
        sums = sums[:going]
        most = sums.detach().max(dim=1, keepdim=True).values
        moved = ((sums - most).exp() @ weights).clamp(min=1e-37).log() + most + highest
        sums = moved + scores[starts[:going] + at]
    return torch.cat(done[::-1])
