"""Documents found by their words: the formula written out, and Chinese by pairs of characters."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from stepwell.baselines import BM25, terms_of

DOCUMENTS = [
    "The boat lay by the river.",
    "A boat, a boat, a BOAT!",
    "seven letters",
    "",
    "老渔夫在河边修好了一条小船。",
    "河边的灯",
]
QUERIES = ["the boat", "letters boat letters", "修好小船", "nothing here", ""]


def plain(query: str, number: int, saturation: float = 1.2, share: float = 0.75) -> float:
    """Robertson and Zaragoza (2009), equation 3.15, with the idf of Lucene."""
    several = [Counter(terms_of(text)) for text in DOCUMENTS]
    lengths = [one.total() for one in several]
    found = 0.0
    for term in terms_of(query):
        holders = sum(term in one for one in several)
        often = several[number][term]
        norm = saturation * (1 - share + share * lengths[number] / (sum(lengths) / len(lengths)))
        idf = math.log(1 + (len(DOCUMENTS) - holders + 0.5) / (holders + 0.5))
        found += idf * often * (saturation + 1) / (often + norm) if often else 0.0
    return found


@pytest.mark.parametrize(("saturation", "share"), [(1.2, 0.75), (2.0, 0.0), (0.5, 1.0)])
def test_scores_are_those_of_the_formula(saturation: float, share: float) -> None:
    scores = BM25(DOCUMENTS, saturation, share).scores(QUERIES)
    expected = [[plain(query, n, saturation, share) for n in range(len(DOCUMENTS))] for query in QUERIES]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert scores[0].argmax() == 0
    assert scores[2].argmax() == 4
    assert not scores[3:].any()


def test_what_a_text_is_found_by() -> None:
    assert terms_of("Don't PANIC, 42!") == ["don", "t", "panic", "42"]
    assert terms_of("在河边，灯") == ["在河", "河边", "灯"]
    assert terms_of("用Python3写诗") == ["用", "python3", "写诗"]
    assert terms_of("カメラ café") == ["カメ", "メラ", "café"]


def test_no_documents_and_no_words() -> None:
    assert BM25([]).scores(["x"]).shape == (1, 0)
    assert not BM25(["", "..."]).scores(["x"]).any()
