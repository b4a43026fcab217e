"""Pieces of packed rows against a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stepwell.nn import Pieces

ROWS = st.integers(1, 12).flatmap(
    lambda length: st.lists(st.lists(st.integers(0, 2), min_size=length, max_size=length), min_size=1, max_size=4)
)


def cut(rows: list[list[int]], chunk_len: int | None) -> list[tuple[list[tuple[int, int]], int]]:
    """The oracle: the places of each piece, and the number of the piece before it (-1: none)."""
    pieces: list[tuple[list[tuple[int, int]], int]] = []
    for row, documents in enumerate(rows):
        for at, document in enumerate(documents):
            new_document = at == 0 or documents[at - 1] != document
            if new_document or len(pieces[-1][0]) == chunk_len:
                pieces.append(([], -1 if new_document else len(pieces) - 1))
            pieces[-1][0].append((row, at))
    return pieces


@given(rows=ROWS, chunk_len=st.sampled_from([None, 1, 2, 3, 5]))
def test_pieces_are_what_a_loop_finds(rows, chunk_len):
    document_ids = torch.tensor(rows, dtype=torch.int32)
    pieces, expected = Pieces.find(document_ids, chunk_len), cut(rows, chunk_len)
    assert pieces.lengths.tolist() == [len(places) for places, _ in expected]
    assert pieces.previous.tolist() == [before for _, before in expected]
    packed = 1 + torch.arange(document_ids.numel() * 2).view(*document_ids.shape, 2)
    split = pieces.split(packed)
    assert split.shape == (len(expected), max(len(places) for places, _ in expected), 2)
    for number, (places, _) in enumerate(expected):
        assert torch.equal(split[number, : len(places)], torch.stack([packed[place] for place in places]))
        assert not split[number, len(places) :].any()
        assert pieces.mask[number].tolist() == [at < len(places) for at in range(split.shape[1])]
    assert torch.equal(pieces.join(split), packed)


def test_a_piece_that_comes_back_is_another_piece():
    assert Pieces.find(torch.tensor([[1, 0, 1]])).lengths.tolist() == [1, 1, 1]


@pytest.mark.parametrize("chunk_len", [None, 2])
def test_the_gradient_finds_its_place(chunk_len):
    pieces = Pieces.find(torch.tensor([[0, 0, 0, 1], [5, 5, 5, 5]]), chunk_len)
    packed = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.arange(24.0).view(2, 4, 3)
    (pieces.join(pieces.split(packed)) * weights).sum().backward()
    assert torch.equal(packed.grad, weights)
