"""What was said of examples is remembered, and tables of errors say what scikit-learn and a count by hand say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from stepwell.data import Document
from stepwell.evaluation import (
    ClassificationScores,
    LanguageModelingScores,
    RegressionScores,
    TaggingScores,
    answer_rows,
    error_report,
)
from stepwell.evaluation.errors.report import calibration_bins
from stepwell.evaluation.errors.rows import MOST_CHARACTERS, plain
from stepwell.evaluation.measuring.classifying import labels_said, score_labels
from stepwell.evaluation.measuring.writing import TranslatedScores
from stepwell.runs import to_json
from stepwell.tasks import (
    ChatConfig,
    ClassificationConfig,
    LanguageModelingConfig,
    PreferenceConfig,
    QuestionAnsweringConfig,
    RetrievalConfig,
    TaggingConfig,
    TranslationConfig,
)

LABELS = ("体育", "财经", "科技")


def classified(count: int = 60, seed: int = 0) -> tuple[Any, list[Document], ClassificationConfig, np.ndarray]:
    """Texts of three labels, of which a model finds most."""
    draw = np.random.default_rng(seed)
    right = draw.integers(0, 3, count)
    told = draw.dirichlet(np.ones(3), count) + 0.6 * np.eye(3)[right]
    told /= told.sum(1, keepdims=True)
    task = ClassificationConfig(problem="single", labels=LABELS)
    documents = [
        Document(f"{'标题' if n % 2 else 'A headline of some length '}{n}", "news.jsonl", columns={"label": LABELS[at]})
        for n, at in enumerate(right.tolist())
    ]
    return score_labels(told, right, task).saying(labels_said(told, task)), documents, task, told


def report_of(scores: Any, documents: list[Document], task: Any, metric: str) -> dict[str, Any]:
    return error_report(scores, answer_rows(scores, documents, task), documents, task, metric)


def test_what_was_said_goes_with_its_examples_and_is_not_summed() -> None:
    scores = RegressionScores.of([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    told = scores.saying([{"answer": n} for n in "abc"])
    assert [one["answer"] for one in told.take([2, 0]).said] == ["c", "a"]
    assert [one["answer"] for one in told.take(np.array([False, True, False])).said] == ["b"]
    assert not told.take([]).said
    assert not scores.said
    assert scores.take([0]).said == ()
    np.testing.assert_array_equal(told.columns, scores.columns)
    assert "said" not in told.arrays()


def test_what_was_said_must_be_of_as_many_examples() -> None:
    with pytest.raises(ValueError, match="2 examples, not of 1"):
        RegressionScores.of([1.0, 2.0], [1.0, 1.0]).saying([{"answer": 1}])


def test_rows_of_classification() -> None:
    scores, documents, task, told = classified()
    rows = answer_rows(scores, documents, task)
    assert [row["number"] for row in rows] == list(range(60))
    assert [row["true"] for row in rows] == [document.columns["label"] for document in documents]
    assert [row["answer"] for row in rows] == [LABELS[at] for at in told.argmax(1)]
    np.testing.assert_allclose([row["probability"] for row in rows], told.max(1), atol=1e-6)
    np.testing.assert_allclose([row["values"]["loss"] for row in rows], scores.nats, atol=1e-6)


def test_tables_of_classes_are_those_of_scikit_learn() -> None:
    scores, documents, task, told = classified()
    report = report_of(scores, documents, task, "accuracy")
    true = [document.columns["label"] for document in documents]
    guess = [LABELS[at] for at in told.argmax(1)]
    assert report["confusion"] == {
        "labels": list(LABELS),
        "counts": confusion_matrix(true, guess, labels=LABELS).tolist(),
    }
    wanted = precision_recall_fscore_support(true, guess, labels=LABELS)
    for name, column in zip(("precision", "recall", "f1"), wanted[:3], strict=True):
        np.testing.assert_allclose([row[name]["value"] for row in report["classes"]], column)
    assert sum(pair["count"] for pair in report["confused"]) == sum(a != b for a, b in zip(true, guess, strict=True))
    assert report["confused"][0]["count"] == max(pair["count"] for pair in report["confused"])


def test_worst_examples_are_those_of_most_loss_and_the_drawn_are_others() -> None:
    scores, documents, task, _ = classified()
    report = report_of(scores, documents, task, "accuracy")
    worst = [row["number"] for row in report["worst"]]
    assert worst == np.argsort(-scores.nats, kind="stable")[: len(worst)].tolist()
    assert not set(worst) & {row["number"] for row in report["drawn"]}
    assert report["drawn"]


def test_parts_of_the_data_hold_all_examples() -> None:
    scores, documents, task, _ = classified()
    parts = report_of(scores, documents, task, "accuracy")["slices"]
    assert set(parts) == {"length", "language"}  # there is one source
    assert {one["key"] for one in parts["language"]} == {"en", "zh"}
    for several in parts.values():
        assert sum(one["num_examples"] for one in several) == len(documents)
        whole = sum(one["num_examples"] * one["value"] for one in several) / len(documents)
        assert whole == pytest.approx(scores.exact.mean())


def test_one_language_is_no_part() -> None:
    scores, documents, task, _ = classified()
    english = [Document(f"a plain English headline of some length, {n}", "a", columns=one.columns)
               for n, one in enumerate(documents)]  # fmt: skip
    english[0] = Document("12345", "a", columns=english[0].columns)
    assert "language" not in report_of(scores, english, task, "accuracy")["slices"]


def test_calibration_bins() -> None:
    found = calibration_bins([0.95, 0.91, 0.55, 1.0, 0.0], [True, False, True, True, False])
    assert [(one["low"], one["count"]) for one in found] == [(0.0, 1), (0.5, 1), (0.9, 3)]
    assert found[-1]["confidence"] == pytest.approx((0.95 + 0.91 + 1.0) / 3)
    assert found[-1]["accuracy"] == pytest.approx(2 / 3)


def test_several_labels_have_no_confusion_but_calibration() -> None:
    task = ClassificationConfig(problem="multiple", labels=LABELS)
    told = np.array([[0.9, 0.2, 0.6], [0.1, 0.8, 0.3]])
    right = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    scores = score_labels(told, right, task).saying(labels_said(told, task))
    documents = [Document("一", "a", columns={"label": ["体育"]}), Document("二", "a", columns={"label": ["财经"]})]
    report = report_of(scores, documents, task, "micro_f1")
    assert "confusion" not in report
    assert sum(one["count"] for one in report["calibration"]) == 6
    assert [row["true"] for row in sorted(report["worst"], key=lambda row: row["number"])] == ["体育", "财经"]


def test_numbers() -> None:
    task = ClassificationConfig(problem="number", center=3.0, spread=2.0)
    told, right = np.array([[1.0], [5.0]]), np.array([-1.0, 0.0], np.float32)
    scores = score_labels(told, right, task).saying(labels_said(told, task))
    documents = [Document("one", "a", columns={"label": 1.0}), Document("two", "a", columns={"label": 3.0})]
    report = report_of(scores, documents, task, "mean_squared_error")
    assert [(row["true"], row["answer"]) for row in report["worst"]] == [("3.0", 5.0), ("1.0", 1.0)]
    assert "classes" not in report


def test_tags() -> None:
    task = TaggingConfig(tags=("O", "B-LOC", "I-LOC", "B-PER"), scheme="BIO")
    right = [["B-LOC", "I-LOC", "O"], ["B-PER", "O", "O"]]
    guess = [["B-LOC", "I-LOC", "O"], ["O", "B-LOC", "O"]]
    documents = [
        Document("北京市", "a", columns={"words": list("北京市"), "tag": right[0]}),
        Document("王先生", "a", columns={"words": list("王先生"), "tag": right[1]}),
    ]
    nats = np.array([0.1, 2.0])
    scores = TaggingScores.of(guess, right, types=["LOC", "PER"], nats=nats).saying([{"answer": g} for g in guess])
    report = report_of(scores, documents, task, "span_f1")
    assert {row["name"]: row["true_count"] for row in report["classes"]} == {"LOC": 1, "PER": 1}
    assert {(pair["true"], pair["chosen"]) for pair in report["confused"]} == {("PER", ""), ("", "LOC")}
    worst = report["worst"][0]
    assert (worst["words"], worst["true"], worst["answer"]) == (list("王先生"), right[1], guess[1])
    assert worst["gaps"] == ["", "", ""]
    assert report["scheme"]


def test_questions_show_the_passage_around_the_answer() -> None:
    from stepwell.evaluation import AnswerScores

    scores = AnswerScores.of(["", "Rome"], [["Paris"], ["Rome"]], language="en").saying(
        [{"answer": ""}, {"answer": "Rome"}]
    )
    context = "x" * 500 + " Paris " + "y" * 500 + " Rome"
    documents = [
        Document(f"Where?\n{context}", "a", columns={"question": "Where?", "context": context, "answers": [answer]})
        for answer in ("Paris", "Rome")
    ]
    worst = report_of(scores, documents, QuestionAnsweringConfig(), "f1")["worst"][0]
    assert (worst["text"], worst["true"], worst["answer"]) == ("Where?", "Paris", "")
    assert "x Paris y" in worst["context"]
    assert len(worst["context"]) < 220
    assert worst["characters"] == len(context)


def test_texts_that_are_written() -> None:
    task = TranslationConfig(target_language="en")
    wanted, written = ["a cat sits here", "the dog runs away"], ["a cat sits here", "no"]
    from stepwell.evaluation import TranslationScores

    of_texts = TranslationScores.of(written, [[one] for one in wanted], "en")
    beside = {name: np.ones(2) for name in ("nats", "tokens", "correct", "stopped", "texts")}
    scores = TranslatedScores(**of_texts.arrays(), **beside).saying([{"answer": one} for one in written])
    documents = [
        Document(f"猫\n{target}", "a", columns={"source": source, "target": target})
        for source, target in zip(("猫坐在这里", "狗跑了"), wanted, strict=True)
    ]
    report = report_of(scores, documents, task, "bleu")
    assert [row["answer"] for row in report["worst"]] == ["no", "a cat sits here"]
    assert [row["text"] for row in report["worst"]] == ["狗跑了", "猫坐在这里"]  # the source alone
    assert report["lengths"]["ratio"] == pytest.approx((15 + 2) / (15 + 17))
    assert report["ranked_by"] == "chrf"


def test_conversations_that_were_answered_come_first() -> None:
    from stepwell.evaluation import ChatScores

    scores = ChatScores.of(
        np.array([9.0, 2.0]), np.array([3.0, 2.0]), stopped=[None, True], well_formed=[None, True]
    ).saying([{}, {"answer": "Hi!"}])
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello to you"}]
    documents = [Document("x", "a", columns={"messages": turns})] * 2
    report = report_of(scores, documents, ChatConfig(), "loss")
    assert [row["number"] for row in report["worst"]] == [1]
    assert (report["worst"][0]["text"], report["worst"][0]["true"]) == ("Hello", "Hello to you")


def test_preferences_show_both_answers() -> None:
    from stepwell.evaluation import PreferenceScores

    scores = PreferenceScores.of([1.0, 0.0], [0.0, 1.0], [0.3, 1.3])
    columns = {"instruction": "Why?", "chosen": "Because.", "rejected": [{"role": "assistant", "content": "No."}]}
    documents = [Document("Why?", "a", columns=columns)] * 2
    worst = report_of(scores, documents, PreferenceConfig(), "preference_accuracy")["worst"][0]
    assert (worst["text"], worst["true"], worst["worse"]) == ("Why?", "Because.", "No.")
    assert worst["values"] == {"loss": 1.3, "margin": -1.0}


def test_searches_show_what_should_be_found_and_the_worst_rank_first() -> None:
    from stepwell.evaluation import RetrievalScores

    scores = RetrievalScores.of([[1], [4]])
    documents = [Document(f"{n}", "a", columns={"query": f"query {n}", "document": f"document {n}"}) for n in range(2)]
    report = report_of(scores, documents, RetrievalConfig(), "mrr_at_10")
    assert [row["values"]["mrr_at_10"] for row in report["worst"]] == [0.25, 1.0]
    assert (report["worst"][0]["text"], report["worst"][0]["true"]) == ("query 1", "document 1")
    assert report["num_answered"] == 0


def test_plain_text_has_no_examples() -> None:
    ones = np.ones(2)
    scores = LanguageModelingScores(ones, ones.astype(int), ones.astype(int), ones)
    documents = [Document("a", "a"), Document("b", "b")]
    assert answer_rows(scores, documents, LanguageModelingConfig()) == []


def test_scores_of_something_else_than_documents_have_no_rows() -> None:
    scores, documents, task, _ = classified()
    assert answer_rows(scores, documents[1:], task) == []
    report = error_report(scores, [], documents, task, "accuracy")
    assert report["classes"]
    assert "worst" not in report


def test_rows_are_short_and_json() -> None:
    scores, documents, task, _ = classified(3)
    long = [Document("长" * 5000, "a", columns=one.columns) for one in documents]
    rows = answer_rows(scores, long, task)
    assert all(len(row["text"]) == MOST_CHARACTERS + 1 for row in rows)
    assert len(to_json(error_report(scores, rows, long, task, "accuracy"))) < 60_000


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, ""),
        ("a", "a"),
        (3, "3"),
        (["", "b", "c"], "b"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "y"),
        ({"text": ["z"], "answer_start": [0]}, "z"),
        ([], ""),
        ({}, ""),
    ],
)
def test_values_of_columns_as_text(value: Any, wanted: str) -> None:
    assert plain(value) == wanted


def test_classification_scores_without_words_still_have_tables() -> None:
    scores = ClassificationScores.of([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    task = ClassificationConfig(problem="single", labels=("a", "b"))
    report = error_report(scores, [], [], task, "accuracy")
    assert report["confusion"]["counts"] == [[1, 1], [0, 0]]
    assert "calibration" not in report
