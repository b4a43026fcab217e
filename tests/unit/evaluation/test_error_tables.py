"""The worst examples, confusions and parts of the data, by hand and beside plain counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from stepwell.errors import DataError
from stepwell.evaluation import (
    AnswerScores,
    ClassificationScores,
    LanguageModelingScores,
    TaggingScores,
    TranslationScores,
    bootstrap,
    bootstrap_each,
    class_table,
    confused_classes,
    confused_spans,
    confusion,
    f1_of,
    length_ranges,
    metric_of_each,
    slices,
    worst_examples,
)

CHANCES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
TRUE = np.array([0, 0, 1, 1])
SCORES = ClassificationScores.of(CHANCES, TRUE)


def test_a_metric_of_one_example_is_that_of_a_corpus_of_it() -> None:
    for name in SCORES.metrics:
        alone = [bootstrap(SCORES.take([row]), name).value for row in range(4)]
        np.testing.assert_allclose(metric_of_each(SCORES, name), alone)
    whole = TranslationScores.of(["a b c d e", "x"], ["a b c d f", "y"], "en")
    alone = [bootstrap(whole.take([row]), "bleu").value for row in range(2)]
    np.testing.assert_allclose(metric_of_each(whole, "bleu"), alone)


def test_the_worst_come_first_whichever_way_is_up() -> None:
    assert worst_examples(SCORES, "loss", 2) == [1, 2]
    assert worst_examples(SCORES, "accuracy", 3) == [1, 2, 0]
    assert worst_examples(SCORES, "loss", 99) == [1, 2, 3, 0]


def test_examples_that_say_nothing_are_not_the_worst() -> None:
    scores = AnswerScores.of(["", "灯", "桥"], [["灯"], [], ["桥"]])
    assert worst_examples(scores, "no_answer_accuracy") == [1]
    empty = LanguageModelingScores(np.array([0.0, 3.0]), np.array([0, 1]), np.array([0, 4]), np.array([0.0, 1.0]))
    assert worst_examples(empty, "loss") == [1]


def test_a_metric_that_is_not_there_or_knows_no_worse_is_refused() -> None:
    with pytest.raises(ValueError, match="no metric 'bleu'; there are accuracy"):
        worst_examples(SCORES, "bleu")
    from stepwell.evaluation import GenerationScores

    with pytest.raises(ValueError, match="neither high nor low"):
        worst_examples(GenerationScores.of(["a"]), "words")


def test_confusions_are_counted_and_the_commonest_comes_first() -> None:
    draw = np.random.default_rng(0)
    true, chosen = draw.integers(0, 4, 200), draw.integers(0, 4, 200)
    names = np.array(["财经", "体育", "games", "world"])
    found = confused_classes(list(names[true]), list(names[chosen]), 99, num_rows=3)
    table = confusion(true, chosen, 4)
    assert len(found) == 12
    assert [one.count for one in found] == sorted((one.count for one in found), reverse=True)
    for one in found:
        right, guess = (int(np.flatnonzero(names == name)[0]) for name in (one.true, one.chosen))
        assert one.count == table[right, guess]
        assert one.true_ratio == pytest.approx(table[right, guess] / table[right].sum())
        assert list(one.rows) == list(np.flatnonzero((true == right) & (chosen == guess))[:3])
    assert len(confused_classes(list(names[true]), list(names[chosen]), 2)) == 2
    assert confused_classes(["a"], ["a"]) == []
    with pytest.raises(ValueError):
        confused_classes(["a"], [])


def test_spans_of_another_type_missed_and_made_up() -> None:
    true = [["B-name", "I-name", "O", "B-place"], ["O", "B-place"], ["B-place", "O"]]
    chosen = [["B-song", "I-song", "O", "B-place"], ["B-name", "O"], ["O", "O"]]
    found = [(one.true, one.chosen, one.count, one.rows) for one in confused_spans(true, chosen)]
    assert found == [("place", "", 2, (1, 2)), ("", "name", 1, (1,)), ("name", "song", 1, (0,))]
    assert confused_spans(true, chosen)[0].true_ratio == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="'x'"):
        confused_spans([["x"]], [["O"]])


def test_each_class_has_its_row() -> None:
    draw = np.random.default_rng(0)
    true, chances = draw.integers(0, 3, 80), draw.dirichlet(np.ones(4), 80)
    scores = ClassificationScores.of(chances, true)
    rows = class_table(scores, ["财经", "体育", "games", "nothing"])
    chosen = chances.argmax(1)
    expected = precision_recall_fscore_support(true, chosen, labels=range(4), zero_division=0)
    for row, *values in zip(rows, *expected, strict=True):
        assert (row.precision.value, row.recall.value, row.f1.value, row.true_count) == pytest.approx(tuple(values))
        assert row.f1.low is not None
        assert row.f1.high is not None
        assert row.f1.low <= row.f1.value <= row.f1.high
    assert [row.chosen_count for row in rows] == list(np.bincount(chosen, minlength=4))
    alone = scores.totals(scores.columns.sum(0))
    assert [row.f1 for row in rows] == bootstrap_each(scores, f1_of)
    assert [row.f1.value for row in rows] == list(f1_of(alone))
    assert class_table(scores.take([0]), list("abcd"))[0].f1.low is None
    with pytest.raises(ValueError, match="a name for each of 4 classes, not 1"):
        class_table(scores, ["a"])
    with pytest.raises(ValueError, match="no examples"):
        class_table(scores.take([]), list("abcd"))


def test_types_of_spans_have_their_rows() -> None:
    rows = class_table(TaggingScores.of([["B-a", "O"]], [["B-a", "B-b"]]), ["a", "b"])
    assert [(row.name, row.true_count, row.chosen_count, row.f1.value) for row in rows] == [
        ("a", 1, 1, 1),
        ("b", 1, 0, 0),
    ]
    assert class_table(TaggingScores.of([["O"]], [["O"]]), []) == []


def test_each_part_has_the_metrics_of_its_examples() -> None:
    found = slices(SCORES, ["zh", "en", "zh", "zh"], ["accuracy"])
    assert [(one.key, one.num_examples) for one in found] == [("en", 1), ("zh", 3)]
    assert found[0].metrics["accuracy"].value == 0
    assert found[0].metrics["accuracy"].low is None  # one example says nothing of how sure that is
    assert found[1].metrics == {"accuracy": bootstrap(SCORES.take([0, 2, 3]), "accuracy")}
    assert set(slices(SCORES, ["zh"] * 4)[0].metrics) == set(SCORES.metrics)
    with pytest.raises(ValueError, match="a key for each of 4 examples, not 1"):
        slices(SCORES, ["zh"])


def test_a_part_leaves_out_what_it_says_nothing_about() -> None:
    scores = AnswerScores.of(["", "灯"], [[], ["灯"]])
    without, with_answer = slices(scores, ["without", "with"])[::-1], slices(scores, ["without", "with"])[0]
    assert "no_answer_accuracy" in without[0].metrics
    assert "no_answer_accuracy" not in with_answer.metrics


def test_ranges_of_lengths_are_quartiles_in_which_equal_lengths_stay_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, 1000)
    ranges = length_ranges(lengths)
    assert all(low <= length <= high for length, (low, high) in zip(lengths, ranges, strict=True))
    kinds = sorted(set(ranges))
    assert len(kinds) == 4
    assert all(one[1] < other[0] for one, other in itertools.pairwise(kinds))
    assert all(abs(ranges.count(kind) - 250) < 15 for kind in kinds)
    assert [one.key for one in slices(SCORES, length_ranges([9, 1, 5, 3]), ["loss"])] == [
        (1, 1),
        (3, 3),
        (5, 5),
        (9, 9),
    ]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([], []), ([3], [(3, 3)]), ([2] * 5, [(2, 2)] * 5), ([1, 1, 1, 8], [(1, 1), (1, 1), (1, 1), (8, 8)])],
)
def test_ranges_of_few_or_equal_lengths(lengths: list[int], expected: list[tuple[int, int]]) -> None:
    assert length_ranges(lengths) == expected
