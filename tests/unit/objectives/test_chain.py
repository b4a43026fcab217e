"""The loss of a sequence of labels, beside all sequences counted one by one."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from stepwell.objectives.chain import chain_losses


def path_score(path: tuple[int, ...], scores: torch.Tensor, transitions: torch.Tensor) -> torch.Tensor:
    size = scores.shape[1]
    total = sum(transitions[pair] for pair in pairwise([size, *path, size]))
    return total + scores[torch.arange(len(path)), torch.tensor(path)].sum()


def plain_losses(
    scores: torch.Tensor, labels: torch.Tensor, owners: torch.Tensor, num_pieces: int, transitions: torch.Tensor
) -> torch.Tensor:
    """The definition."""
    found = []
    for piece in range(num_pieces):
        mine = owners == piece
        if not mine.any():
            found.append(torch.tensor(0.0))
            continue
        here = scores[mine]
        every = [path_score(path, here, transitions) for path in product(range(scores.shape[1]), repeat=len(here))]
        right = path_score(tuple(labels[mine].tolist()), here, transitions)
        found.append(torch.logsumexp(torch.stack(every), 0) - right)
    return torch.stack(found)


@pytest.mark.parametrize("counts", [[3, 1, 4], [0, 2, 0, 5], [1], [2, 2, 2, 0]])
def test_it_is_the_negative_log_likelihood_and_so_is_its_gradient(counts: list[int]) -> None:
    torch.manual_seed(3)
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = torch.randint(3, (len(owners),))
    scores = torch.randn(len(owners), 3, requires_grad=True)
    transitions = torch.randn(4, 4, requires_grad=True)
    fast = chain_losses(scores, labels, owners, len(counts), transitions)
    plain = plain_losses(scores, labels, owners, len(counts), transitions)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    weights = torch.randn(len(counts))
    theirs = torch.autograd.grad((plain * weights).sum(), (scores, transitions), allow_unused=True)
    ours = torch.autograd.grad((fast * weights).sum(), (scores, transitions), allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_without_transitions_it_is_the_cross_entropy_of_each_token() -> None:
    torch.manual_seed(4)
    owners = torch.tensor([0, 0, 0, 1, 1])
    scores, labels = torch.randn(5, 6), torch.randint(6, (5,))
    each = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    found = chain_losses(scores, labels, owners, 2, torch.zeros(7, 7))
    torch.testing.assert_close(found, torch.stack([each[:3].sum(), each[3:].sum()]))


def test_large_scores_do_no_harm() -> None:
    scores = torch.tensor([[300.0, -300.0], [-300.0, 300.0], [300.0, -300.0]], requires_grad=True)
    found = chain_losses(scores, torch.tensor([0, 1, 0]), torch.zeros(3, dtype=torch.int64), 1, torch.zeros(3, 3))
    assert found.item() == 0.0
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    assert gradient.isfinite().all()


def test_no_labels_at_all() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert chain_losses(torch.zeros(0, 2), none, none, 3, torch.zeros(3, 3)).tolist() == [0.0, 0.0, 0.0]
