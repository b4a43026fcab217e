"""Metrics of pairs, and how far a model is from its reference."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.evaluation import DivergenceScores, PreferenceScores, bootstrap, paired_bootstrap, summarize


def test_by_hand_and_a_tie_is_not_right() -> None:
    scores = PreferenceScores.of([1.0, 2.0, 0.0], [0.0, 2.0, 3.0], loss=[0.1, 0.2, 0.6])
    found = {name: one.value for name, one in summarize(scores).items()}
    assert found == pytest.approx({"preference_accuracy": 1 / 3, "margin": -2 / 3, "loss": 0.3})


def test_a_loss_that_was_not_measured_is_not_told() -> None:
    scores = PreferenceScores.of([1.0, 2.0], [0.0, 3.0])
    assert set(summarize(scores)) == {"preference_accuracy", "margin"}
    assert np.isnan(bootstrap(scores, "loss").value)
    assert bootstrap(scores, "loss").low is None


def test_two_models_are_compared_on_the_same_pairs() -> None:
    good, bad = PreferenceScores.of([1.0] * 9, [0.0] * 9), PreferenceScores.of([0.0] * 9, [1.0] * 9)
    assert paired_bootstrap(good, bad, "preference_accuracy").low == 1


def test_on_its_own_samples_the_estimates_are_the_divergence() -> None:
    draw = np.random.default_rng(0)
    model, reference = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    texts = [draw.choice(3, size=200, p=model) for _ in range(300)]
    scores = DivergenceScores.of([np.log(model[text]) for text in texts], [np.log(reference[text]) for text in texts])
    exact = float((model * np.log(model / reference)).sum())
    for metric in ("kl", "log_ratio"):
        assert bootstrap(scores, metric, resamples=1).value == pytest.approx(exact, rel=0.02)
    drawn = [bootstrap(scores, metric) for metric in ("kl", "log_ratio")]
    widths = [one.high - one.low for one in drawn if one.high is not None and one.low is not None]
    assert widths[0] < widths[1]  # what k3 is for


def test_k3_is_never_negative_and_0_only_where_nothing_moved() -> None:
    draw = np.random.default_rng(1)
    before = [-draw.exponential(2, size=length) for length in (4, 0, 7)]
    after = [-draw.exponential(2, size=length) for length in (4, 0, 7)]
    assert (DivergenceScores.of(after, before).k3[[0, 2]] > 0).all()
    same = DivergenceScores.of(before, before)
    assert {name: one.value for name, one in summarize(same).items()} == {"kl": 0, "log_ratio": 0}
    plain = sum((np.exp(one - other) - 1 - (one - other)).sum() for one, other in zip(before, after, strict=True))
    assert bootstrap(DivergenceScores.of(after, before), "kl").value == pytest.approx(plain / 11)


def test_a_token_that_became_impossible_leaves_a_number() -> None:
    assert np.isfinite(bootstrap(DivergenceScores.of([[-5000.0], [-1.0]], [[-1.0], [-1.0]]), "kl").value)


def test_texts_without_tokens_say_nothing() -> None:
    assert summarize(DivergenceScores.of([[], []], [[], []])) == {}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: PreferenceScores.of([1.0], [1.0, 2.0]), "as many scores"),
        (lambda: PreferenceScores.of([1.0], [1.0], loss=[1.0, 2.0]), "as many scores"),
        (lambda: PreferenceScores.of([np.nan], [1.0]), "not finite"),
        (lambda: PreferenceScores.of([np.inf], [1.0]), "not finite"),
        (lambda: DivergenceScores.of([[1.0]], [[1.0, 2.0]]), "text 0: log-probabilities of the same tokens"),
        (lambda: DivergenceScores.of([[0.0], [-np.inf]], [[0.0], [-1.0]]), "text 1: a log-probability is not finite"),
        (lambda: DivergenceScores.of([[1.0]], []), "zip"),
    ],
)
def test_what_does_not_fit_is_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
