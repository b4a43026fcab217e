"""Confident learning beside cleanlab, which its authors keep."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.data.labels import confident_joint, confident_learning

filters = pytest.importorskip("cleanlab.filter")
counts = pytest.importorskip("cleanlab.count")


@pytest.mark.parametrize("classes", [2, 4, 9])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_joint_and_the_same_suspects(classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, 900)
    given = truth.copy()
    wrong = random.random(900) < 0.15
    given[wrong] = random.integers(0, classes, wrong.sum())
    probabilities = random.dirichlet(np.full(classes, 0.5), 900) + np.eye(classes)[truth] * random.random()
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    theirs = counts.compute_confident_joint(given, probabilities, calibrate=True)
    ours = confident_joint(probabilities, given)
    assert np.abs(ours - theirs).max() <= 1  # equal remainders are rounded in another order
    np.testing.assert_array_equal(ours.sum(axis=1), theirs.sum(axis=1))
    suspects = filters.find_label_issues(given, probabilities, filter_by="both", n_jobs=1)
    found = confident_learning(probabilities, given).suspect
    assert suspects.sum() > 20
    assert classes > 2 or (ours == theirs).all()
    if (ours == theirs).all():
        np.testing.assert_array_equal(found, suspects)
    assert (found & suspects).sum() >= 0.97 * max(found.sum(), suspects.sum())
