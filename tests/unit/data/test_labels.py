"""The column of labels, how even classes are, and confident learning beside counts made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stepwell.data.labels import (
    Balance,
    confident_joint,
    confident_learning,
    find_label_column,
    label_of,
    names_alike,
    thresholds_of,
)
from stepwell.errors import DataError


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["id", "label"], "label"),
        (["category", "label"], "label"),
        (["id", "Category"], "Category"),
        (["text", " Labels "], " Labels "),
        (["题目", "类别"], "类别"),
        (["text", "labelled_by"], None),
        ([], None),
    ],
)
def test_the_column_of_labels_is_found_by_name(names, found):
    assert find_label_column(names) == found


def test_a_label_is_one_value():
    row = {"a": " x ", "b": 3, "c": False, "d": None, "e": "", "f": math.nan, "g": 0}
    assert [label_of(row, name) for name in "abcdefgh"] == ["x", "3", "False", None, None, None, "0", None]
    with pytest.raises(DataError, match="not one label"):
        label_of({"labels": ["x", "y"]}, "labels")


def test_balance():
    even, uneven = Balance({"a": 5, "b": 5, "c": 5}), Balance({"a": 90, "b": 10})
    assert (even.imbalance_factor, uneven.imbalance_factor) == (1, 9)
    assert even.effective_classes == pytest.approx(3)
    assert uneven.effective_classes == pytest.approx(0.9**-0.9 * 0.1**-0.1)
    assert Balance({"a": 7}).effective_classes == pytest.approx(1)


def test_names_that_are_likely_one():
    assert names_alike(["Positive", "positive", "negative", "ＰＯＳＩＴＩＶＥ", "体育", "体 育"]) == [
        ["Positive", "positive", "ＰＯＳＩＴＩＶＥ"],
        ["体 育", "体育"],
    ]


def test_the_confident_joint_by_hand():
    # Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.8 + 0.6) / 2 = 0.7.
    given = np.array([0, 0, 0, 1, 1])
    of_zero = np.array([0.9, 0.7, 0.2, 0.2, 0.4])
    probabilities = np.stack([of_zero, 1 - of_zero], axis=1)
    # The last one reaches no threshold and does not count; the rows are scaled to 3 and 2.
    assert confident_joint(probabilities, given).tolist() == [[2, 1], [0, 2]]
    noise = confident_learning(probabilities, given)
    assert noise.suspect.tolist() == [False, False, True, False, False]
    assert noise.likely.tolist() == [0, 0, 1, 1, 1]
    assert noise.noise_ratio == pytest.approx(1 / 5)
    assert noise.margin.tolist() == pytest.approx([0.8, 0.4, -0.6, 0.6, 0.2])
    assert noise.self_confidence.tolist() == pytest.approx([0.9, 0.7, 0.2, 0.8, 0.6])


def test_thresholds_of_other_examples():
    given = np.array([0, 0])
    probabilities = np.array([[0.4, 0.6], [0.9, 0.1]])
    assert thresholds_of(probabilities, given).tolist() == pytest.approx([0.65, 2])
    assert not confident_learning(probabilities, given).suspect.any()  # nothing is like a class that is not there
    assert confident_joint(probabilities, given, np.array([0.7, 0.5])).tolist() == [[1, 1], [0, 0]]
    assert confident_learning(probabilities, given, np.array([0.7, 0.5])).suspect.tolist() == [True, False]


def test_planted_labels_are_found_and_clean_ones_left_alone():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 600)
    probabilities = random.dirichlet(np.ones(3), 600) * 0.5 + np.eye(3)[truth] * 0.5
    assert not confident_learning(probabilities, truth).suspect.any()
    given = truth.copy()
    wrong = random.choice(600, 60, replace=False)
    given[wrong] = (given[wrong] + 1) % 3
    noise = confident_learning(probabilities, given)
    suspects = np.flatnonzero(noise.suspect)
    assert np.isin(suspects, wrong).mean() > 0.95
    assert np.isin(wrong, suspects).mean() > 0.75
    assert noise.joint.sum(axis=1).tolist() == np.bincount(given).tolist()
