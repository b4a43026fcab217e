"""Metrics of rankings beside scikit-learn's nDCG and plain counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from stepwell.evaluation import RetrievalScores, metric_of_each, paired_bootstrap, ranks_of, summarize


def drawn(seed: int, queries: int = 12, documents: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Similarities without ties, and graded gains; each query has a relevant document."""
    draw = np.random.default_rng(seed)
    gains = draw.integers(1, 4, (queries, documents)) * (draw.random((queries, documents)) < 0.15)
    gains[:, 0] += 1
    return draw.permuted(np.tile(np.arange(documents), (queries, 1)), axis=1) / documents, gains


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_all_is_as_scikit_learn_and_plain_counts_have_it(seed: int) -> None:
    near, gains = drawn(seed)
    scores = RetrievalScores.of(*ranks_of(near, gains))
    expected = [ndcg_score(gains[[row]], near[[row]], k=10) for row in range(len(near))]
    np.testing.assert_allclose(metric_of_each(scores, "ndcg_at_10"), expected)
    order = np.argsort(-near, axis=1)
    sorted_gains = np.take_along_axis(gains, order, axis=1)
    for cutoff in (1, 5, 10, 100):
        recall = [(row[:cutoff] > 0).sum() / (row > 0).sum() for row in sorted_gains]
        np.testing.assert_allclose(metric_of_each(scores, f"recall_at_{cutoff}"), recall)
    first = [next(at for at, gain in enumerate(row, 1) if gain > 0) for row in sorted_gains]
    np.testing.assert_allclose(metric_of_each(scores, "mrr_at_10"), [1 / at if at <= 10 else 0 for at in first])


def test_by_hand() -> None:
    scores = RetrievalScores.of([[1], [3, None], [None], [11]])
    found = {name: one.value for name, one in summarize(scores).items()}
    second = (1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert found == pytest.approx(
        {
            "recall_at_1": 1 / 4,
            "recall_at_5": 1.5 / 4,
            "recall_at_10": 1.5 / 4,
            "recall_at_100": 2.5 / 4,
            "ndcg_at_10": (1 + second) / 4,
            "mrr_at_10": (1 + 1 / 3) / 4,
        }
    )


def test_a_model_that_gives_every_text_the_same_vector_finds_nothing() -> None:
    gains = np.eye(3, 40)
    ranks, _ = ranks_of(np.zeros((3, 40)), gains)
    assert ranks == [[40], [40], [40]]
    ranks, weights = ranks_of([[0.5, 0.9, 0.5, 0.5, 0.1]], [[2, 0, 1, 0, 3]])
    assert ranks == [[4, 3, 5]]  # of equally near ones the most relevant stands last
    assert weights == [[2, 1, 3]]


def test_one_query_has_no_interval_and_two_models_are_compared() -> None:
    assert summarize(RetrievalScores.of([[1]]))["mrr_at_10"].low is None
    good, bad = RetrievalScores.of([[1]] * 20), RetrievalScores.of([[4]] * 20)
    assert paired_bootstrap(good, bad, "mrr_at_10").low == 0.75


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RetrievalScores.of([[1], []]), "query 1 has no relevant document"),
        (lambda: RetrievalScores.of([[0]]), "ranks count from 1"),
        (lambda: RetrievalScores.of([[2, 2]]), "each once"),
        (lambda: RetrievalScores.of([[1, 2]], [[1]]), "a gain for each rank"),
        (lambda: RetrievalScores.of([[1, 2]], [[1, 0]]), "gains of relevant documents are above 0"),
        (lambda: ranks_of([[1, 2]], [[1]]), "\\(Q, D\\) similarities"),
        (lambda: ranks_of([[1, np.nan]], [[1, 0]]), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
