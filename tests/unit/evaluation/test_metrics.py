"""Metrics of a language model, by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from stepwell.evaluation import (
    METRICS,
    LanguageModelingScores,
    Metric,
    Scores,
    bootstrap,
    paired_bootstrap,
    summarize,
)
from stepwell.evaluation.scores.metrics import share

SCORES = LanguageModelingScores(
    nats=np.array([np.log(2) * 8, np.log(2) * 4]),
    tokens=np.array([4, 2]),
    bytes=np.array([8, 4]),
    correct=np.array([3.0, 0.0]),
)


@pytest.mark.parametrize(
    ("metric", "value"), [("bits_per_byte", 1), ("loss", 2 * np.log(2)), ("perplexity", 4), ("accuracy", 0.5)]
)
def test_values_by_hand(metric, value):
    assert bootstrap(SCORES, metric).value == pytest.approx(value)
    assert summarize(SCORES)[metric].value == pytest.approx(value)


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_of_many_corpora_is_the_metric_of_each(metric):
    columns = np.random.default_rng(0).uniform(1, 9, (5, 4))
    many = METRICS[metric].compute(SCORES.totals(columns))
    assert many.shape == (5,)
    np.testing.assert_allclose(many, [METRICS[metric].compute(SCORES.totals(row)) for row in columns])


@pytest.mark.parametrize("metric", METRICS)
def test_the_way_up_is_the_right_one(metric):
    """A model that is better on every document must be better."""
    worse = LanguageModelingScores(SCORES.nats * 1.5, SCORES.tokens, SCORES.bytes, SCORES.correct * 0.5)
    gain = bootstrap(SCORES, metric).value - bootstrap(worse, metric).value
    assert gain > 0 if METRICS[metric].higher_is_better else gain < 0


def test_what_was_not_measured_is_no_number():
    scores = LanguageModelingScores(SCORES.nats, SCORES.tokens, SCORES.bytes, np.array([np.nan, np.nan]))
    assert np.isnan(bootstrap(scores, "accuracy").value)
    assert bootstrap(scores, "bits_per_byte").value == pytest.approx(1)


def test_a_number_that_is_none_is_shown_without_an_interval():
    scores = LanguageModelingScores(SCORES.nats, SCORES.tokens, SCORES.bytes, np.array([np.nan, 1.0]))
    found = summarize(scores)["accuracy"]
    assert np.isnan(found.value)
    assert found.low is None
    assert found.high is None


def test_a_share_of_nothing_is_no_number():
    np.testing.assert_array_equal(share(np.array([1.0, 0.0]), np.array([4, 0])), [0.25, np.nan])
    assert share(1, 2) == 0.5


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        LanguageModelingScores(SCORES.nats, SCORES.tokens[:1], SCORES.bytes, SCORES.correct)


@dataclass(frozen=True)
class Counted(Scores):
    """One number and a table for each example."""

    right: np.ndarray
    table: np.ndarray


def test_scores_of_any_shape_are_summed_field_by_field():
    draw = np.random.default_rng(0)
    scores = Counted(draw.integers(0, 2, 7), draw.integers(0, 9, (7, 2, 3)))
    assert scores.columns.shape == (7, 7)
    one, many = scores.totals(scores.columns.sum(0)), scores.totals(np.stack([scores.columns.sum(0)] * 4))
    assert one.right == scores.right.sum()
    np.testing.assert_array_equal(one.table, scores.table.sum(0))
    assert many.right.shape == (4,)
    np.testing.assert_array_equal(many.table, np.stack([scores.table.sum(0)] * 4))
    with pytest.raises(ValueError, match="right, table are of equal length"):
        Counted(scores.right[:3], scores.table)


def test_metrics_are_those_of_the_scores(monkeypatch):
    share = Metric(lambda totals: totals.right / 7, higher_is_better=True, unit="share", per="example")
    monkeypatch.setattr(Counted, "metrics", {"share": share})
    right = np.array([1, 1, 0, 1, 0, 0, 0])
    scores, other = (Counted(one, np.zeros((7, 1))) for one in (right, 1 - right))
    assert bootstrap(scores, "share").value == pytest.approx(3 / 7)
    assert list(summarize(scores)) == ["share"]
    assert paired_bootstrap(other, scores, "share").value == pytest.approx(1 / 7)
    with pytest.raises(ValueError, match="no metric 'loss'; there are share"):
        bootstrap(scores, "loss")
    with pytest.raises(ValueError, match="same examples"):
        paired_bootstrap(scores, Counted(right[:3], np.zeros((3, 1))), "share")
