"""ROC AUC and Spearman's correlation beside scikit-learn's and SciPy's, as measured and in drawn corpora."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from stepwell.evaluation import bootstrap_counts, paired_roc_auc, paired_spearman, roc_auc, spearman
from stepwell.evaluation.ordering import _auc_of, _spearman_of

seeds = st.integers(0, 10**6)


def drawn(seed: int, texts: int = 50, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and classes that are all there."""
    draw = np.random.default_rng(seed)
    true = draw.permutation(np.resize(np.arange(classes), texts))
    chances = draw.integers(1, 5, (texts, classes)) + 2.0 * np.eye(classes)[true] * draw.integers(0, 2, (texts, 1))
    return chances / chances.sum(1, keepdims=True), true


@settings(max_examples=20)
@given(seeds, st.integers(3, 6))
def test_the_area_is_that_of_scikit_learn(seed: int, classes: int) -> None:
    chances, true = drawn(seed, classes=classes)
    found = roc_auc(chances, true, resamples=1)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(true, chances, multi_class="ovr", average="macro"))


@settings(max_examples=20)
@given(seeds)
def test_of_two_classes_it_is_that_of_the_second(seed: int) -> None:
    chances, true = drawn(seed, classes=2)
    found = roc_auc(chances, true, resamples=1)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(true, chances[:, 1]))


@settings(max_examples=20)
@given(seeds)
def test_of_several_labels_it_is_that_of_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    true, chances = draw.random((40, 3)) < 0.4, np.round(draw.random((40, 3)), 1)
    true[:2] = [[True] * 3, [False] * 3]
    found = roc_auc(chances, true, resamples=1)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(true, chances, average="macro"))


def test_a_drawn_corpus_has_the_value_that_the_references_give_it() -> None:
    draw = np.random.default_rng(0)
    chances, true = drawn(5, texts=60)
    gold = draw.integers(0, 6, 60)
    rows = draw.integers(0, 60, (20, 60))
    counts = np.stack([np.bincount(one, minlength=60) for one in rows]).astype(float)
    areas = [roc_auc_score(true[one], chances[one], multi_class="ovr") for one in rows]
    np.testing.assert_allclose(_auc_of(chances, true)(counts), areas)
    alike = [spearmanr(chances[one, 0], gold[one]).statistic for one in rows]
    np.testing.assert_allclose(_spearman_of(chances[:, 0], gold)(counts), alike)


@settings(max_examples=20)
@given(seeds, st.integers(2, 40))
def test_the_correlation_is_that_of_scipy(seed: int, pairs: int) -> None:
    draw = np.random.default_rng(seed)
    guess, gold = draw.integers(0, 5, pairs), draw.normal(size=pairs)
    if len(set(guess)) > 1:
        assert spearman(guess, gold, resamples=1).value == pytest.approx(spearmanr(guess, gold).statistic)


def test_what_is_without_bounds_has_its_place_too() -> None:
    guess, gold = [-np.inf, -np.inf, 0.5, np.inf, np.inf], [1, 2, 3, 4, 5]
    assert spearman(guess, gold).value == pytest.approx(spearmanr([0, 0, 1, 2, 2], gold).statistic)


def test_what_has_no_order_says_nothing() -> None:
    assert spearman([1, 1, 1], [1, 2, 3]).value == 0
    assert spearman([1.0], [2.0]).value == 0
    assert roc_auc([[0.3, 0.7], [0.6, 0.4]], [1, 1]) is None
    one_class_missing = roc_auc([[0.3, 0.7, 0.0], [0.6, 0.4, 0.0]], [1, 0])
    assert one_class_missing is not None
    assert one_class_missing.value == 1


def test_a_model_that_knows_nothing_is_at_one_half() -> None:
    found = roc_auc(np.full((30, 3), 1 / 3), np.arange(30) % 3)
    assert found is not None
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_two_models_are_compared_on_the_same_draws() -> None:
    chances, true = drawn(1, texts=200)
    worse = chances[::-1]
    gain = paired_roc_auc(chances, worse, true)
    assert gain is not None
    first, second = roc_auc(chances, true), roc_auc(worse, true)
    assert first is not None
    assert second is not None
    assert gain.value == pytest.approx(first.value - second.value)
    assert gain.low is not None
    assert gain.low > 0
    same = paired_roc_auc(chances, chances, true)
    assert same is not None
    assert (same.low, same.high) == (0, 0)
    values = np.arange(50.0)
    noisy = values + np.random.default_rng(0).normal(0, 40, 50)
    better = paired_spearman(values, noisy, values)
    assert better.low is not None
    assert better.low > 0


def test_the_bootstrap_of_counts_draws_as_the_one_of_sums_does() -> None:
    values = np.random.default_rng(0).normal(size=40)
    found = bootstrap_counts(lambda counts: counts @ values / counts.sum(1), 40)
    plain = [np.random.default_rng(seed).choice(values, 40).mean() for seed in range(2000)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, (0.025, 0.975))), abs=0.05)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: roc_auc([[0.5, 0.5]], [0, 1]), "not \\(1, 2\\) and \\(2,\\)"),
        (lambda: roc_auc([[0.5, 0.5]], [2]), "classes in \\[0, 2\\)"),
        (lambda: roc_auc([[0.5, np.nan]], [1]), "NaN"),
        (lambda: roc_auc(np.zeros((0, 2)), []), "no examples"),
        (lambda: spearman([1, 2], [1]), "as many numbers"),
        (lambda: spearman([1, np.nan], [1, 2]), "NaN"),
        (lambda: spearman([], []), "no examples"),
    ],
)
def test_what_does_not_fit_is_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
