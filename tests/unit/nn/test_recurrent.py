"""Recurrent stacks and alignments against their equations, one token and one unit of thought at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from stepwell.nn import Alignment, DecodingState, Recurrent, RecurrentState

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def lstm_step(x: Tensor, h: Tensor, c: Tensor, wx: Tensor, wh: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000)."""
    i, f, g, o = (wx @ x + wh @ h + b).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x: Tensor, h: Tensor, wx: Tensor, wh: Tensor, bx: Tensor, bh: Tensor) -> Tensor:
    """Cho et al. (2014), the reset gate after the matrix."""
    rx, zx, nx = (wx @ x + bx).chunk(3)
    rh, zh, nh = (wh @ h + bh).chunk(3)
    r, z = (rx + rh).sigmoid(), (zx + zh).sigmoid()
    return (1 - z) * (nx + r * nh).tanh() + z * h


def plain(recurrent: Recurrent, x: Tensor, memory: tuple[Tensor, ...] | None = None) -> tuple[Tensor, list]:
    """One sequence (T, I) through every layer, step by step; its memory (per layer and direction) after it."""
    cells, after = recurrent.cells, []
    directions = ("", "_reverse") if cells.bidirectional else ("",)
    for layer in range(cells.num_layers):
        outputs = []
        for number, direction in enumerate(directions):
            wx, wh, bx, bh = (
                getattr(cells, f"{kind}_l{layer}{direction}")
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            place = layer * len(directions) + number
            state = tuple(part[place] for part in memory) if memory else ()
            h = state[0] if state else torch.zeros(cells.hidden_size)
            c = state[1] if len(state) > 1 else torch.zeros(cells.hidden_size)
            hs = [h] * len(x)
            for at in range(len(x)) if not direction else reversed(range(len(x))):
                if isinstance(cells, nn.LSTM):
                    h, c = lstm_step(x[at], h, c, wx, wh, bx + bh)
                else:
                    h = gru_step(x[at], h, wx, wh, bx, bh)
                hs[at] = h
            outputs.append(torch.stack(hs))
            after.append((h, c))
        x = torch.cat(outputs, dim=1)
    return x, after


def stack(cell: str, layers: int = 2, **others) -> Recurrent:
    torch.manual_seed(0)
    recurrent = Recurrent(cell, 5, 6, layers, **others)
    for parameter in recurrent.parameters():
        nn.init.normal_(parameter, std=0.5)
    return recurrent


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 3])
@torch.no_grad()
def test_a_stack_is_its_equations(cell, layers):
    recurrent, x = stack(cell, layers), drawn(2, 7, 5)
    before = tuple(drawn(layers, 2, 6, seed=n + 1) for n in range(2 if cell == "lstm" else 1))
    y, after = recurrent(x, before)
    for row in range(2):
        expected, states = plain(recurrent, x[row], tuple(part[:, row] for part in before))
        torch.testing.assert_close(y[row], expected, **CLOSE)
        for layer, state in enumerate(states):
            for found, wanted in zip(after, state, strict=False):
                torch.testing.assert_close(found[layer, row], wanted, **CLOSE)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@torch.no_grad()
def test_nothing_remembered_is_zeros(cell):
    recurrent, x = stack(cell), drawn(1, 4, 5)
    torch.testing.assert_close(recurrent(x)[0][0], plain(recurrent, x[0])[0], **CLOSE)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@torch.no_grad()
def test_rows_of_different_lengths_are_read_as_if_alone(cell):
    lengths = [9, 1, 3, 2, 8, 4, 5]
    recurrent, x = stack(cell), drawn(len(lengths), 9, 5)
    memory = tuple(drawn(2, len(lengths), 6, seed=n) for n in range(2 if cell == "lstm" else 1))
    for before in (None, memory):
        y = recurrent.read_rows(x, torch.tensor(lengths), before)
        for row, length in enumerate(lengths):
            one = None if before is None else tuple(part[:, row : row + 1] for part in before)
            torch.testing.assert_close(y[row, :length], recurrent(x[row : row + 1, :length], one)[0][0], **CLOSE)
            assert not y[row, length:].any()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("lengths", [[6, 6, 6], [2, 6, 1]], ids=str)
@torch.no_grad()
def test_both_ways_is_once_from_each_end(cell, lengths):
    recurrent, x = stack(cell, bidirectional=True), drawn(3, 6, 5)
    y, memory = recurrent.read_both_ways(x, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        expected, states = plain(recurrent, x[row, :length])
        torch.testing.assert_close(y[row, :length], expected, **CLOSE)
        assert not y[row, length:].any()
        for number, part in enumerate(memory):
            for layer in range(2):
                sides = torch.cat([states[2 * layer + side][number] for side in range(2)])
                torch.testing.assert_close(part[layer, row], sides, **CLOSE)


def test_a_single_layer_drops_nothing_and_does_not_warn():
    recurrent, x = stack("lstm", 1, dropout=0.9).train(), drawn(2, 4, 5)
    assert torch.equal(recurrent(x)[0], recurrent(x)[0])


def test_state_counts_and_selects():
    state = RecurrentState((torch.arange(6.0).view(1, 3, 2), torch.zeros(1, 3, 2)))
    assert isinstance(state, DecodingState)
    state.advance(state.memory, 5)
    state.select(torch.tensor([2, 2, 0]))
    assert state.length == 5
    assert state.memory[0].tolist() == [[[4, 5], [4, 5], [0, 1]]]


@pytest.mark.parametrize("score", ["additive", "general", "dot"])
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_an_alignment_is_one_softmax_for_each_query(score, masked):
    torch.manual_seed(0)
    alignment = Alignment(6, score)
    queries, memory = drawn(2, 3, 6), drawn(2, 5, 6, seed=1)
    mask = torch.tensor([[True] * 5, [False, True, True, False, True]]) if masked else None
    found = alignment(queries, memory, mask)
    for row in range(2):
        seen = memory[row][mask[row]] if masked else memory[row]
        for at in range(3):
            query, weights = queries[row, at], []
            for place in seen:
                if score == "additive":
                    inside = alignment.query.weight @ query + alignment.query.bias + alignment.memory.weight @ place
                    weights.append(math.exp(alignment.out @ inside.tanh()))
                else:
                    key = place if score == "dot" else alignment.memory.weight @ place
                    weights.append(math.exp(query @ key))
            expected = sum(w * place for w, place in zip(weights, seen, strict=True)) / sum(weights)
            torch.testing.assert_close(found[row, at], expected, **CLOSE)
