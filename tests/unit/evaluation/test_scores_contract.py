"""What every class of scores keeps to, whatever it measures."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import stepwell.evaluation
from stepwell.evaluation import (
    AnswerScores,
    ChatScores,
    ClassificationScores,
    DivergenceScores,
    FoundAnswerScores,
    GenerationScores,
    JudgedScores,
    LanguageModelingScores,
    PreferenceScores,
    PreferredScores,
    RegressionScores,
    RetrievalScores,
    RewardedScores,
    Scores,
    SearchedScores,
    SimilarityScores,
    SummarizedScores,
    SummaryScores,
    TaggingScores,
    TranslatedScores,
    TranslationScores,
    WrittenAnswerScores,
    WrittenScores,
    bootstrap,
    metric_of_each,
    paired_bootstrap,
    summarize,
)

TOLD = {
    "nats": np.array([9.0, 4.0, 7.0, 1.0]),
    "tokens": np.array([3.0, 1, 4, 2]),
    "correct": np.array([1.0, 1, 4, 0]),
    "stopped": np.array([1.0, 1, 0, 1]),
    "texts": np.ones(4),
}
"""How a model told four right texts."""

TAGS = [["B-x", "I-x", "O"], ["O"], ["B-y", "B-x"], []]

# Of each class, a few examples; among them the empty, the wholly right, the wholly wrong.
EXAMPLES: list[Scores] = [
    AnswerScores.of(["灯", "", "the boat", ""], [["灯", "桥"], [], ["boats"], ["灯"]]),
    ChatScores.of(
        [3.0, 0.0, 2.0, 1.0], [2, 0, 5, 1], stopped=[True, None, False, True], well_formed=[None, True, None, False]
    ),
    ClassificationScores.of([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.4, 0.6, 0], [1, 0, 0]], [0, 1, 0, 1]),
    DivergenceScores.of([[-1.0, -2.0], [], [-0.5], [-3.0]], [[-1.5, -2.0], [], [-0.1], [-3.0]]),
    FoundAnswerScores(
        **AnswerScores.of(["灯", "", "the boat", ""], [["灯", "桥"], [], ["boats"], ["灯"]]).arrays(),
        nats=np.array([0.5, 0.1, 4.0, 0.0]),
        windows=np.array([1.0, 2, 1, 0]),
    ),
    GenerationScores.of(["灯灯灯灯灯", "", "a b c a b c a b", "x"]),
    JudgedScores(np.ones(4), np.array([1.0, 0.0, 0.5, 0.25]), np.array([True, True, True, False])),
    LanguageModelingScores(
        np.array([9.0, 4.0, 7.0, 1.0]), np.array([3, 2, 4, 1]), np.array([9, 5, 8, 3]), np.array([1.0, 0, 4, 1])
    ),
    PreferenceScores.of([1.0, 2.0, 0.0, 5.0], [0.0, 2.0, 3.0, 1.0], [0.1, 0.4, 0.9, 0.2]),
    PreferredScores(
        np.ones(4),
        np.array([True, False, True, True]),
        np.array([1.0, -2.0, 0.5, 3.0]),
        np.ones(4, bool),
        np.array([0.1, 0.9, 0.4, 0.0]),
        np.array([4, 0, 2, 5]),
        np.array([0.5, 0.0, -0.2, 1.0]),
        np.array([0.1, 0.0, 0.3, 0.2]),
    ),
    RegressionScores.of([1.0, 2.0, 4.0, 1.0], [1.5, 2.0, 3.0, 1.0]),
    RetrievalScores.of([[1], [3, None], [None], [11, 2]], [[1], [2, 1], [1], [1, 3]]),
    RewardedScores(
        np.array([4, 0, 2, 5]),
        np.array([0.5, 0.0, -0.2, 1.0]),
        np.array([0.1, 0.0, 0.3, 0.2]),
        np.ones(4),
        np.array([1.0, -2.0, 0.0, 0.5]),
        np.array([1.0, 0.0, 0.0, 1.0]),
    ),
    SearchedScores(
        np.ones(4), np.eye(4), np.array([1.0, 0, 0.5, 0]), np.array([1.0, 0, 0.25, 0]), np.ones(4), np.full(4, 9.0)
    ),
    SimilarityScores.of([0.9, 0.1, 0.5, 0.4], [1.0, 0.0, 0.3, 0.6]),
    SummaryScores.of(["a boat", "", "灯在河边", "x"], ["the boat", "a", "灯在桥边", "y"]),
    SummarizedScores(**SummaryScores.of(["a boat", "", "灯", "x"], ["the boat", "a", "灯", "y"]).arrays(), **TOLD),
    TaggingScores.of([["B-x", "I-x", "O"], ["B-y"], ["B-x", "B-x"], []], TAGS, nats=np.array([0.5, 2.0, 1.0, 0.0])),
    TranslationScores.of(["a b c d e", "", "x y z w", "q"], ["a b c d f", "a", "x y z w", "r"], "en"),
    TranslatedScores(
        **TranslationScores.of(["a b c d e", "", "x y z w", "q"], ["a b c d f", "a", "x y z w", "r"], "en").arrays(),
        **TOLD,
    ),
    WrittenAnswerScores(
        **AnswerScores.of(["灯", "", "the boat", ""], [["灯", "桥"], [], ["boats"], ["灯"]]).arrays(),
        nats=np.array([9.0, 4.0, 7.0, 1.0]),
        tokens=np.array([3.0, 1, 4, 2]),
        correct=np.array([1.0, 1, 4, 0]),
        stopped=np.array([1.0, 1, 0, 1]),
        texts=np.ones(4),
    ),
    WrittenScores(
        np.array([9.0, 4.0, 7.0, 1.0]),
        np.array([3, 2, 4, 1]),
        np.array([9, 5, 8, 3]),
        np.array([1.0, 0, 4, 1]),
        np.ones(4),
        *(
            np.array([[4, 3, 2], [5, 4, 3], [6, 5, 4], [3, 2, 1]]),
            np.array([[3, 3, 2], [5, 4, 3], [2, 3, 4], [1, 1, 1]]),
        ),
        np.array([0.1, 0.0, 0.5, 0.2]),
        *(
            np.array([[4, 3, 2], [5, 4, 3], [6, 5, 4], [3, 2, 1]]),
            np.array([[4, 3, 2], [5, 4, 3], [6, 5, 4], [3, 2, 1]]),
        ),
        np.zeros(4),
    ),
]
NAMES = [type(scores).__name__ for scores in EXAMPLES]


@pytest.fixture(params=EXAMPLES, ids=NAMES)
def scores(request: pytest.FixtureRequest) -> Scores:
    found: Scores = request.param
    return found


def test_every_class_is_here() -> None:
    there = [getattr(stepwell.evaluation, name) for name in stepwell.evaluation.__all__]
    classes = {one for one in there if inspect.isclass(one) and issubclass(one, Scores) and one is not Scores}
    assert {type(scores) for scores in EXAMPLES} == classes


def test_the_page_names_each_class_and_each_metric(project: Path) -> None:
    page = (project / "docs" / "metrics.md").read_text(encoding="utf-8")
    sections = page.split("\n## ")
    for found in EXAMPLES:
        name = type(found).__name__
        here = [section for section in sections if f"`{name}`" in section.partition("\n")[0]]
        assert len(here) == 1, name
        assert [metric for metric in found.metrics if f"`{metric}`" not in here[0]] == [], name
    named = {
        name for cell in re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert named == {metric for found in EXAMPLES for metric in found.metrics}


def test_metrics_have_names_units_and_a_value(scores: Scores) -> None:
    assert scores.metrics
    for name, metric in scores.metrics.items():
        assert name.isidentifier()
        assert metric.unit
        assert metric.higher_is_better in (True, False, None)
    found = summarize(scores)
    assert set(found) == set(scores.metrics)
    for name, one in found.items():
        assert one.low is not None, name
        assert one.high is not None, name
        assert np.isfinite([one.low, one.value, one.high]).all(), name
        assert one.low <= one.value <= one.high, name


def test_of_many_corpora_a_metric_is_that_of_each(scores: Scores) -> None:
    draws = np.random.default_rng(0).integers(0, len(scores), (12, len(scores)))
    sums = np.stack([scores.columns[rows].sum(0) for rows in draws])
    for name, metric in scores.metrics.items():
        many = metric.compute(scores.totals(sums))
        each = [bootstrap(scores.take(rows), name, resamples=1).value for rows in draws]
        np.testing.assert_allclose(many, each, rtol=1e-9, atol=1e-9, err_msg=name)


def test_no_example_and_no_corpus_gives_a_warning(scores: Scores) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in scores.metrics:
            assert metric_of_each(scores, name).shape == (len(scores),)
            assert paired_bootstrap(scores, scores, name).value == 0
        for row in range(len(scores)):
            alone = scores.take([row])
            for one in summarize(alone).values():
                assert np.isfinite(one.value)
                assert one.low is None
    with pytest.raises(ValueError, match="no examples"):
        summarize(scores.take([]))


def test_examples_of_other_number_do_not_compare(scores: Scores) -> None:
    for name in scores.metrics:
        with pytest.raises(ValueError, match="paired bootstrap needs"):
            paired_bootstrap(scores, scores.take([0, 1]), name)


def test_some_examples_are_scores_too(scores: Scores) -> None:
    part = scores.take([2, 0])
    assert type(part) is type(scores)
    np.testing.assert_array_equal(part.columns, scores.columns[[2, 0]])
    np.testing.assert_array_equal(scores.take(np.array([True, False, True, False])).columns, scores.columns[[0, 2]])
