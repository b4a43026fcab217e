"""Tables and biases of positions against what they say."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from stepwell.nn import (
    LearnedPositions,
    RelativeBias,
    alibi_bias,
    alibi_slopes,
    document_positions,
    sinusoidal_positions,
)


@pytest.mark.parametrize("offset", [0, 2])
def test_learned_positions_look_up_behind_the_offset(offset):
    table = LearnedPositions(10, 4, offset=offset)
    assert table.weight.shape == (10 + offset, 4)
    positions = torch.tensor([[0, 1, 2], [9, 0, 0]])
    assert torch.equal(table(positions), table.weight[positions + offset])
    assert torch.equal(table(torch.arange(10)), table.weight[offset:])
    with pytest.raises(IndexError):
        table(torch.tensor([10]))


def test_gradient_reaches_the_places_that_were_used():
    table = LearnedPositions(5, 3, offset=1)
    table(torch.tensor([0, 2, 2])).sum().backward()
    assert table.weight.grad[:, 0].tolist() == [0, 1, 0, 2, 0, 0]


@pytest.mark.parametrize("width", [2, 8, 9])
@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_sinusoidal_positions_are_their_formula(width, layout):
    table = sinusoidal_positions(50, width, layout)
    assert table.shape == (50, width)
    for place, channel in itertools.product((0, 1, 7, 49), range(width)):
        angle = place / 10_000 ** (2 * (channel // 2) / width)
        value = math.cos(angle) if channel % 2 else math.sin(angle)
        column = channel if layout == "interleaved" else channel // 2 + (channel % 2) * ((width + 1) // 2)
        assert float(table[place, column]) == pytest.approx(value, abs=1e-6)


def test_slopes_of_a_power_of_two_are_the_geometric_row_of_the_paper():
    assert alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    assert alibi_slopes(1).tolist() == [2.0**-8]


@pytest.mark.parametrize("heads", [3, 6, 12, 20])
def test_slopes_of_other_counts_lie_between_those_of_the_next_power(heads):
    slopes = alibi_slopes(heads).tolist()
    lower = 2 ** int(math.log2(heads))
    assert len(set(slopes)) == heads
    assert slopes[:lower] == alibi_slopes(lower).tolist()
    assert set(slopes[lower:]) <= set(alibi_slopes(2 * lower).tolist())


def test_alibi_is_a_line_in_the_distance():
    slopes = alibi_slopes(4)
    queries, keys = torch.tensor([5, 6]), torch.tensor([0, 4, 6])
    bias = alibi_bias(slopes, queries, keys)
    assert bias.shape == (1, 4, 2, 3)
    for head, (row, query), (column, key) in itertools.product(range(4), enumerate(queries), enumerate(keys)):
        assert float(bias[0, head, row, column]) == -float(slopes[head]) * int(query - key)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_are_single_then_grow_and_use_every_number(bidirectional):
    bias = RelativeBias(16, 60, 2, bidirectional=bidirectional)
    buckets = bias.buckets(torch.arange(-200, 201)).tolist()
    behind, ahead = buckets[200::-1], buckets[201:]
    single = 4 if bidirectional else 8
    assert behind[:single] == list(range(single))
    assert behind == sorted(behind)
    assert set(behind[60:]) == {7 if bidirectional else 15}
    assert ahead == ([number + 8 for number in behind[1:]] if bidirectional else [0] * 200)
    assert set(buckets) == set(range(16)) - ({8} if bidirectional else set())  # no key ahead has distance 0


def test_a_bias_is_its_table_and_knows_where_the_query_stands():
    bias = RelativeBias(8, 20, 3, bidirectional=False)
    whole = bias(torch.arange(9), torch.arange(9))
    assert whole.shape == (1, 3, 9, 9)
    assert torch.equal(whole[0, :, 5, 4], bias.table.weight[1])
    assert torch.equal(bias(torch.tensor([7]), torch.arange(9)), whole[:, :, 7:8])
    assert torch.equal(bias(torch.arange(100, 109), torch.arange(100, 109)), whole)


def test_document_positions_restart_with_each_document():
    ids = torch.tensor([[0, 0, 0, 1, 1, 2], [5, 5, 5, 5, 5, 5], [0, 1, 0, 0, 3, 3]])
    assert document_positions(ids).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 0, 1]]
    assert document_positions(torch.zeros(2, 1, dtype=torch.int64)).tolist() == [[0], [0]]
