"""How sure a value is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from stepwell.evaluation import LanguageModelingScores, Metric, Scores, bootstrap, intervals, paired_bootstrap
from stepwell.evaluation.scores.metrics import share


def made_up(num: int, seed: int = 0, nats_per_byte: float = 1.0) -> LanguageModelingScores:
    rng = np.random.default_rng(seed)
    num_bytes = rng.integers(200, 2000, num)
    return LanguageModelingScores(
        nats=num_bytes * rng.normal(nats_per_byte, 0.2, num),
        tokens=num_bytes // 4,
        bytes=num_bytes,
        correct=(num_bytes // 10).astype(float),
    )


def shifted(scores: LanguageModelingScores, by: float, noise: float = 0.0) -> LanguageModelingScores:
    """The same documents, each better by so many nats a byte, more or less."""
    rng = np.random.default_rng(1)
    nats = scores.nats - scores.bytes * (by + rng.normal(0, noise, len(scores)))
    return LanguageModelingScores(nats, scores.tokens, scores.bytes, scores.correct)


def test_the_interval_is_that_of_a_plain_bootstrap():
    scores = made_up(60)
    rng = np.random.default_rng(5)
    values = []
    for _ in range(4000):
        rows = rng.integers(0, 60, 60)
        values.append(scores.nats[rows].sum() / scores.bytes[rows].sum() / np.log(2))
    interval = bootstrap(scores, "bits_per_byte", resamples=4000)
    assert interval.low is not None
    assert interval.high is not None
    assert [interval.low, interval.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.005)
    assert interval.low < interval.value < interval.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        interval = bootstrap(made_up(80, seed), "bits_per_byte", resamples=300)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 1 / np.log(2) <= interval.high
    assert 178 <= covered <= 199


def test_a_seed_decides_and_chunks_do_not(monkeypatch):
    scores = made_up(50)
    once = bootstrap(scores, "loss", seed=1)
    assert bootstrap(scores, "loss", seed=1) == once
    assert bootstrap(scores, "loss", seed=2) != once
    monkeypatch.setattr(intervals, "COUNTS_AT_ONCE", 50 * 7)
    cut = bootstrap(scores, "loss", seed=1)  # a product of other rows may add up in another order
    assert (cut.value, cut.low, cut.high) == pytest.approx((once.value, once.low, once.high), rel=1e-12)


def test_pairs_see_what_single_intervals_cannot():
    first = made_up(60)
    second = shifted(first, by=0.01, noise=0.01)
    alone = bootstrap(first, "bits_per_byte"), bootstrap(second, "bits_per_byte")
    assert alone[1].high > alone[0].low  # the intervals overlap
    gain = paired_bootstrap(first, second, "bits_per_byte")
    assert gain.value == pytest.approx(alone[0].value - alone[1].value)
    assert 0 < gain.low < gain.value < gain.high


def test_no_difference_is_not_seen():
    first = made_up(60)
    gain = paired_bootstrap(first, shifted(first, by=0.0, noise=0.05), "bits_per_byte")
    assert gain.low < 0 < gain.high
    same = paired_bootstrap(first, first, "perplexity")
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_pairs_must_be_the_same_documents():
    with pytest.raises(ValueError, match="same documents"):
        paired_bootstrap(made_up(10), made_up(11), "loss")
    with pytest.raises(ValueError, match="same documents"):
        paired_bootstrap(made_up(10), made_up(10, seed=1), "loss")


def test_other_tokenizers_compare_by_the_byte_only():
    first = made_up(10)
    second = LanguageModelingScores(first.nats, first.tokens // 2, first.bytes, first.correct)
    assert paired_bootstrap(first, second, "bits_per_byte").value == 0
    with pytest.raises(ValueError, match="one tokenizer"):
        paired_bootstrap(first, second, "perplexity")


def test_one_document_has_a_value_but_no_interval():
    one = made_up(1)
    interval = bootstrap(one, "loss")
    assert interval.value == pytest.approx(float(one.nats[0] / one.tokens[0]))
    assert (interval.low, interval.high) == (None, None)
    pair = paired_bootstrap(one, one, "loss")
    assert (pair.value, pair.low, pair.high) == (0, None, None)


def test_no_document_and_no_such_metric():
    with pytest.raises(ValueError, match="no examples"):
        bootstrap(made_up(0), "loss")
    with pytest.raises(ValueError, match="there are bits_per_byte"):
        bootstrap(made_up(3), "bits")


@dataclass(frozen=True)
class Some(Scores):
    """A number that only some examples have."""

    number: np.ndarray
    there: np.ndarray


def test_drawn_sets_that_say_nothing_are_not_counted(monkeypatch):
    mean = Metric(lambda totals: share(totals.number, totals.there), higher_is_better=True, unit="", per="example")
    monkeypatch.setattr(Some, "metrics", {"mean": mean})
    scores = Some(np.array([1.0, 3.0, 0, 0, 0]), np.array([1, 1, 0, 0, 0]))
    found = bootstrap(scores, "mean", seed=3)
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, 5, 5) for _ in range(4000))
    plain = [scores.number[rows].sum() / scores.there[rows].sum() for rows in drawn if scores.there[rows].any()]
    assert len(plain) < 3900
    assert (found.low, found.value, found.high) == (np.quantile(plain, 0.025), 2, np.quantile(plain, 0.975))
    gain = paired_bootstrap(scores, Some(scores.number * 0.5, scores.there), "mean")
    assert (gain.low, gain.value, gain.high) == (0.5, 1, 1.5)
