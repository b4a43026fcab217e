"""Metrics of classes and numbers beside scikit-learn's, with one label, several, and none at all."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from stepwell.evaluation import bootstrap, f1_of, paired_bootstrap, precision_of, recall_of, summarize
from stepwell.evaluation.scores.classification import (
    BINS,
    ClassificationScores,
    RegressionScores,
    confusion,
)

seeds = st.integers(0, 10**6)


def drawn(seed: int, texts: int = 60, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and classes; the last class is never right, and the truth is found more often than not."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes - 1, texts)
    chances = draw.dirichlet(np.full(classes, 0.6), texts)
    seen = draw.random(texts) < 0.5
    chances[np.flatnonzero(seen), true[seen]] += 0.5
    return chances / chances.sum(1, keepdims=True), true


@given(seeds, st.integers(1, 80), st.integers(2, 7))
def test_of_one_class_for_each_text_all_is_as_scikit_learn_counts(seed: int, texts: int, classes: int) -> None:
    chances, true = drawn(seed, texts, classes)
    chosen, scores = chances.argmax(1), ClassificationScores.of(chances, true)
    found = {name: one.value for name, one in summarize(scores).items()}
    zero = {"zero_division": 0}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, chosen))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(true, chosen, average="macro", **zero))
    assert found["micro_f1"] == pytest.approx(reference.f1_score(true, chosen, average="micro", **zero))
    assert found["macro_precision"] == pytest.approx(reference.precision_score(true, chosen, average="macro", **zero))
    assert found["macro_recall"] == pytest.approx(reference.recall_score(true, chosen, average="macro", **zero))
    assert found["loss"] == pytest.approx(reference.log_loss(true, chances, labels=range(classes)))
    each = {"labels": range(classes), "average": None, **zero}
    totals = scores.totals(scores.columns.sum(0))
    for mine, theirs in ((precision_of, "precision"), (recall_of, "recall"), (f1_of, "f1")):
        np.testing.assert_allclose(mine(totals), getattr(reference, f"{theirs}_score")(true, chosen, **each))
    theirs = reference.confusion_matrix(true, chosen, labels=range(classes))
    np.testing.assert_array_equal(confusion(true, chosen, classes), theirs)


@given(seeds, st.integers(1, 40), st.integers(1, 6))
def test_of_several_labels_for_each_text_all_is_as_scikit_learn_counts(seed: int, texts: int, labels: int) -> None:
    draw = np.random.default_rng(seed)
    true, chances = draw.random((texts, labels)) < 0.4, draw.random((texts, labels))
    scores = ClassificationScores.of(chances, true, threshold=0.6)
    chosen, zero = chances >= 0.6, {"zero_division": 0}
    found = {name: one.value for name, one in summarize(scores).items()}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, chosen))
    there = (true | chosen).any(0)  # scikit-learn counts labels that are nowhere too
    if there.any() and labels > 1:
        one, other = true[:, there].astype(int), chosen[:, there].astype(int)
        if one.shape[1] > 1:
            assert found["macro_f1"] == pytest.approx(reference.f1_score(one, other, average="macro", **zero))
            assert found["micro_f1"] == pytest.approx(reference.f1_score(one, other, average="micro", **zero))
    plain = -np.where(true, np.log(chances), np.log1p(-chances)).sum(1).mean()
    assert found["loss"] == pytest.approx(plain)


@given(seeds, st.integers(3, 6))
def test_the_area_under_the_curve_is_that_of_scikit_learn(seed: int, classes: int) -> None:
    """With many ties; of classes, of two, and of several labels."""
    draw = np.random.default_rng(seed)
    true = draw.permutation(np.resize(np.arange(classes), 50))
    chances = draw.integers(1, 5, (50, classes)) + 2.0 * np.eye(classes)[true] * draw.integers(0, 2, (50, 1))
    chances /= chances.sum(1, keepdims=True)
    found = bootstrap(ClassificationScores.of(chances, true), "roc_auc", resamples=1).value
    assert found == pytest.approx(reference.roc_auc_score(true, chances, multi_class="ovr", average="macro"))
    two = np.stack([1 - chances[:, 0], chances[:, 0]], axis=1)
    found = bootstrap(ClassificationScores.of(two, (true == 0).astype(int)), "roc_auc", resamples=1).value
    assert found == pytest.approx(reference.roc_auc_score(true == 0, two[:, 1]))
    labels = np.eye(classes, dtype=bool)[true] | (draw.random((50, classes)) < 0.2)
    found = bootstrap(ClassificationScores.of(chances, labels), "roc_auc", resamples=1).value
    assert found == pytest.approx(reference.roc_auc_score(labels, chances, average="macro"))


def test_the_interval_of_the_area_is_about_that_of_the_area_of_drawn_corpora() -> None:
    chances, true = drawn(1, texts=300, classes=2)
    chances, true = chances[:, :2], np.random.default_rng(2).integers(0, 2, 300)
    chances[np.arange(300), true] += 0.3
    found = bootstrap(ClassificationScores.of(chances, true), "roc_auc")
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 300, 300) for _ in range(1000)]
    areas = [reference.roc_auc_score(true[one], chances[one, 1]) for one in rows]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(areas, (0.025, 0.975))), abs=0.01)


def test_an_area_that_cannot_be_measured_is_left_out() -> None:
    assert "roc_auc" not in summarize(ClassificationScores.of([[0.3, 0.7], [0.6, 0.4]], [1, 1]))
    one_class_missing = ClassificationScores.of([[0.3, 0.7, 0.0], [0.6, 0.4, 0.0]], [1, 0])
    assert summarize(one_class_missing)["roc_auc"].value == 1
    knows_nothing = bootstrap(ClassificationScores.of(np.full((30, 3), 1 / 3), np.arange(30) % 3), "roc_auc")
    assert (knows_nothing.low, knows_nothing.value, knows_nothing.high) == (0.5, 0.5, 0.5)


def plain_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Bin by bin, as the paper writes it."""
    total = 0.0
    for number in range(BINS):
        here = (confidence >= number / BINS) & ((confidence < (number + 1) / BINS) | (number == BINS - 1))
        if here.any():
            total += here.mean() * abs(right[here].mean() - confidence[here].mean())
    return total


@given(seeds)
def test_the_calibration_error_is_that_of_the_paper(seed: int) -> None:
    chances, true = drawn(seed)
    value = bootstrap(ClassificationScores.of(chances, true), "calibration_error", resamples=1).value
    assert value == pytest.approx(plain_calibration_error(chances.max(1), chances.argmax(1) == true))


def test_a_resampled_corpus_may_lack_a_class() -> None:
    chances, true = drawn(3, texts=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = bootstrap(ClassificationScores.of(chances, true), "macro_f1")
    assert interval.low < interval.value < interval.high


def test_two_models_are_compared_on_the_same_texts() -> None:
    chances, true = drawn(0, texts=300)
    better = 0.5 * chances + 0.5 * np.eye(5)[true]
    good, bad = ClassificationScores.of(better, true), ClassificationScores.of(chances, true)
    gain = paired_bootstrap(good, bad, "accuracy")
    assert gain.low > 0
    with pytest.raises(ValueError, match="same labelled texts"):
        paired_bootstrap(good, ClassificationScores.of(chances, np.roll(true, 1)), "accuracy")


@pytest.mark.parametrize(
    ("chances", "true", "words"),
    [
        (np.full((3, 2), 0.5), [0, 1], "not \\(3, 2\\) and \\(2,\\)"),
        (np.full((3, 2), 0.5), [0, 1, 2], "classes in \\[0, 2\\)"),
        (np.full((3, 2), 0.5), [0, -1, 1], "classes in \\[0, 2\\)"),
        (np.full(3, 0.5), [0, 1, 1], "\\(N, K\\) probabilities"),
        (np.array([[0.5, 0.5], [np.nan, np.nan]]), [0, 1], "a probability is NaN"),
    ],
)
def test_what_does_not_fit_is_refused(chances: np.ndarray, true: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClassificationScores.of(chances, true)


def test_a_class_without_a_chance_makes_no_infinite_loss() -> None:
    scores = ClassificationScores.of([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    assert 13 < bootstrap(scores, "loss").value < 14


@given(seeds, st.integers(2, 50))
def test_of_numbers_all_is_as_scikit_learn_counts(seed: int, texts: int) -> None:
    draw = np.random.default_rng(seed)
    true = draw.normal(1e4, 3, texts)
    guess = true + draw.normal(1, 2, texts)
    found = {name: one.value for name, one in summarize(RegressionScores.of(guess, true)).items()}
    assert found["mean_squared_error"] == pytest.approx(reference.mean_squared_error(true, guess))
    assert found["mean_absolute_error"] == pytest.approx(reference.mean_absolute_error(true, guess))
    assert found["r_squared"] == pytest.approx(reference.r2_score(true, guess))
    assert found["pearson"] == pytest.approx(np.corrcoef(true, guess)[0, 1])
    with pytest.raises(ValueError, match="as many numbers"):
        RegressionScores.of(guess[1:], true)
