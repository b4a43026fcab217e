"""Metrics of a language model, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.evaluation import METRICS, LanguageModelingScores, Totals, bootstrap, summarize

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
    many = METRICS[metric].compute(Totals.of(columns))
    assert many.shape == (5,)
    np.testing.assert_allclose(many, [METRICS[metric].compute(Totals.of(row)) for row in columns])


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


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        LanguageModelingScores(SCORES.nats, SCORES.tokens[:1], SCORES.bytes, SCORES.correct)
