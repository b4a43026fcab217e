"""Layouts: join and split are exact inverses, and put every number where the other project has it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stepwell.checkpoints.huggingface.layouts import SAME, TRANSPOSED, Experts, PerHead, Reshaped, Stacked

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CASES = {
    "same": (SAME, [(5, 3)]),
    "same vector": (SAME, [(7,)]),
    "transposed": (TRANSPOSED, [(4, 6)]),
    "stacked": (Stacked((6, 2, 2)), [(6, 5), (2, 5), (2, 5)]),
    "stacked biases": (Stacked((6, 2, 2)), [(6,), (2,), (2,)]),
    "by head": (PerHead(num_heads=3), [(3 * 3 * 4, 5)]),
    "bias by head": (PerHead(num_heads=3), [(3 * 3 * 4,)]),
    "two parts by head": (PerHead(num_heads=4, parts=2), [(4 * 2 * 3, 2)]),
    "experts": (Experts((3, 3)), [(3, 4)] * 8),
    "experts of one matrix": (Experts((4,)), [(4, 3)] * 5),
    "reshaped": (Reshaped((6,), (1, 6)), [(1, 6)]),
}


def any_bits(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Every pattern of bits, NaNs with a payload and negative zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([], dtype=dtype).element_size()
    data = torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8, generator=generator)
    return data.view(dtype)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("layout", "shapes"), CASES.values(), ids=CASES)
def test_join_and_split_are_exact_inverses(layout, shapes, dtype) -> None:
    theirs = [any_bits(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    ours = layout.join(theirs)
    back = layout.split(ours)
    assert ours.dtype == dtype
    assert [one.shape for one in back] == [one.shape for one in theirs]
    assert all(torch.equal(bits(one), bits(other)) for one, other in zip(back, theirs, strict=True))
    again = any_bits(tuple(ours.shape), dtype, seed=99)
    assert torch.equal(bits(layout.join(layout.split(again))), bits(again))


@pytest.mark.parametrize(("layout", "shapes"), CASES.values(), ids=CASES)
def test_shapes_are_known_without_numbers(layout, shapes) -> None:
    theirs = [torch.zeros(shape) for shape in shapes]
    ours = layout.join([one.to("meta") for one in theirs])
    assert ours.shape == layout.join(theirs).shape
    assert [one.shape for one in layout.split(ours)] == [one.shape for one in theirs]


def test_stacked_parts_lie_in_order() -> None:
    query, key, value = (torch.full((2, 3), float(n)) for n in range(3))
    assert Stacked((2, 2, 2)).join([query, key, value])[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_rows_by_head_are_gathered_by_part() -> None:
    """Row (head, part, channel) of theirs is row (part, head, channel) of ours."""
    theirs = torch.tensor([[100 * head + 10 * part + e] for head in range(2) for part in range(3) for e in range(2)])
    assert PerHead(num_heads=2).join([theirs])[:, 0].tolist() == [0, 1, 100, 101, 10, 11, 110, 111, 20, 21, 120, 121]


def test_matrices_of_an_expert_lie_one_below_the_other() -> None:
    theirs = [torch.full((2, 1), 10.0 * expert + part) for expert in range(3) for part in range(2)]
    assert Experts((2, 2)).join(theirs)[:, :, 0].tolist() == [[0, 0, 1, 1], [10, 10, 11, 11], [20, 20, 21, 21]]


@pytest.mark.parametrize(
    ("layout", "shapes"),
    [(Stacked((2, 2)), [(2, 3), (3, 3)]), (Stacked((2, 2)), [(2, 3), (2, 4)]), (Experts((2,)), [(2, 3), (3, 3)]),
     (Reshaped((6,), (1, 6)), [(2, 3)]), (PerHead(4), [(10, 2)])],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(layout, shapes) -> None:
    with pytest.raises(RuntimeError):
        layout.join([torch.zeros(shape) for shape in shapes])


@given(
    num_heads=st.integers(1, 6), num_kv_heads=st.integers(1, 6), head_dim=st.integers(1, 5), width=st.integers(1, 4),
    dtype=st.sampled_from(DTYPES), seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_heads_come_back(num_heads, num_kv_heads, head_dim, width, dtype, seed) -> None:
    sizes = (num_heads * head_dim, num_kv_heads * head_dim, num_kv_heads * head_dim)
    ours = any_bits((sum(sizes), width), dtype, seed)
    stacked = Stacked(sizes)
    assert torch.equal(bits(stacked.join(stacked.split(ours))), bits(ours))
    by_head = PerHead(num_heads)
    ours = any_bits((3 * num_heads * head_dim, width), dtype, seed)
    assert torch.equal(bits(by_head.join(by_head.split(ours))), bits(ours))
