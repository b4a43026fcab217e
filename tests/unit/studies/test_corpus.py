"""Parts of a text: every k-th document, the same for whoever asks."""

import numpy as np
import pytest

from stepwell.data import TokenSplit
from stepwell.studies.corpus import stride_of, thinned


def split_of(sizes: list[int]) -> TokenSplit:
    """Documents of so many bytes, a token for each two bytes."""
    lengths = [size // 2 for size in sizes]
    offsets = np.cumsum([0, *lengths])
    tokens = np.concatenate([np.full(length, number) for number, length in enumerate(lengths)])
    return TokenSplit(tokens, offsets, np.array(sizes))


def test_all_of_a_small_text() -> None:
    split = split_of([10, 20, 30])
    part = thinned(split, 60)
    assert part.num_documents == 3
    assert [part.document(n).tolist() for n in range(3)] == [split.document(n).tolist() for n in range(3)]


def test_every_kth_document_of_a_large_one() -> None:
    part = thinned(split_of([100] * 50), 1000)
    assert part.num_documents == 10
    assert [int(part.document(n)[0]) for n in range(10)] == list(range(0, 50, 5))
    assert part.num_bytes.sum() == 1000
    assert part.num_tokens == 500


def test_at_least_one_document() -> None:
    assert thinned(split_of([5000]), 1000).num_documents == 1


@pytest.mark.parametrize(("num_bytes", "max_bytes", "stride"), [(0, 10, 1), (10, 10, 1), (11, 10, 2), (95, 10, 10)])
def test_stride(num_bytes: int, max_bytes: int, stride: int) -> None:
    assert stride_of(num_bytes, max_bytes) == stride
