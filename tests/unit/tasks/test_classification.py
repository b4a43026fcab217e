"""Labels of texts: what they say about themselves, the examples that are made of them, and what is asked."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepwell.data import DataConfig, Document, read_documents
from stepwell.errors import DataError, UsageError
from stepwell.tasks import Classification, ClassificationConfig
from stepwell.tasks.classification import number_of, problem_of
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


class Rows:
    """Prepared text of which only the labels matter."""

    def __init__(self, train: list[Any], validation: list[Any] | None = None, test: list[Any] | None = None) -> None:
        self.splits = {"train": train, "validation": validation or [], "test": test or []}

    facts = SimpleNamespace(languages={"en": 1.0})

    def each_columns(self, split: str) -> list[dict[str, Any]]:
        return [{"label": value} for value in self.splits[split]]


def found(rows: Rows, **settings: Any) -> dict[str, Any]:
    return {name: value for name, (value, _) in Classification(ClassificationConfig(**settings)).find(rows).items()}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["a", "b"], "single"),
        (["时政", "财经"], "single"),
        ([1, 2, 3], "single"),
        ([1.0, 2.0], "single"),  # whole numbers that a table with an empty cell has made fractions of
        ([True, False], "single"),
        ([1, 2.5], "number"),
        (["0.5", "2"], "number"),  # a table of comma-separated values holds text alone
        (["0", "1"], "single"),
        (["0.5", "nan"], "single"),
        (["1.5", "x"], "single"),
        ([["a"], []], "multiple"),
        ([], "single"),
    ],
)
def test_what_labels_say_about_themselves(labels: list[Any], problem: str) -> None:
    assert problem_of(labels) == problem


def test_one_label_of_a_set() -> None:
    said = found(Rows(["b", "a", " b ", "a"], ["a"]))
    assert said == {"problem": "single", "labels": ("a", "b"), "cut": "pieces"}
    assert found(Rows([1.0, 2.0, 1, 2]))["labels"] == ("1", "2")
    assert found(Rows(["a", "b", "a", "b"]), labels=("b", "a"))["labels"] == ("b", "a")


def test_several_labels() -> None:
    said = found(Rows([["x", "y"], ["x"], [], ["y", "z"], ["z"]]))
    assert said == {"problem": "multiple", "labels": ("x", "y", "z"), "cut": "pieces"}
    rows = Rows(["财经", "体育", "财经", "体育"])
    rows.facts = SimpleNamespace(languages={"zh": 0.9, "en": 0.1})
    assert found(rows) == {"problem": "single", "labels": ("体育", "财经"), "cut": "characters"}


@pytest.mark.parametrize("labels", [[1.5, 2.5, 4.0], ["1.5", "2.5", "4.0"]])
def test_numbers(labels: list[Any]) -> None:
    said = found(Rows(labels))
    assert said["problem"] == "number"
    assert said["center"] == pytest.approx(np.mean([1.5, 2.5, 4.0]))
    assert said["spread"] == pytest.approx(np.std([1.5, 2.5, 4.0]), abs=1e-6)


def test_blank_labels_are_none_and_are_counted(tokenizer: Tokenizer) -> None:
    """An empty cell of a table is no class of its own."""
    assert found(Rows(["a", "", "b", "  ", "a", "b", None]))["labels"] == ("a", "b")
    task = Classification(ClassificationConfig(problem="single", labels=("a", "b")))
    documents = [Document("x", "s", columns={"label": value}) for value in ("a", "", None, "  ", "b")]
    made = task.make(documents, tokenizer)
    assert [one if isinstance(one, str) else int(one.of_document["label"]) for one in made] == [
        0, "no label", "no label", "no label", 1
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "value", "wanted"),
    [
        ({"problem": "single", "labels": ("a", "b", "c")}, "c", np.int64(2)),
        ({"problem": "single", "labels": ("1", "2")}, 2.0, np.int64(1)),
        ({"problem": "multiple", "labels": ("a", "b", "c")}, ["c", "a"], np.array([1, 0, 1], np.float32)),
        ({"problem": "multiple", "labels": ("a", "b", "c")}, [], np.zeros(3, np.float32)),
        ({"problem": "number", "center": 3.0, "spread": 2.0}, "7", np.float32(2.0)),
    ],
)
def test_labels_as_a_model_learns_them(settings: Any, value: Any, wanted: Any, tokenizer: Tokenizer) -> None:
    (made,) = Classification(ClassificationConfig(**settings)).make(
        [Document("井", "s", columns={"label": value})], tokenizer
    )
    assert not isinstance(made, str)
    label = made.of_document["label"]
    assert np.array_equal(label, wanted)
    assert np.asarray(label).dtype == np.asarray(wanted).dtype
    assert made.token_ids.tolist() == [0, *tokenizer.encode("井").tolist(), 0, 0]
    assert made.of_document["weight"] == 1


def test_too_long_texts_are_shortened_and_counted(tokenizer: Tokenizer) -> None:
    task = Classification(ClassificationConfig(problem="single", labels=("a", "b"), max_tokens=10))
    texts = ["x" * n for n in (7, 8, 9, 30)]
    made = task.make([Document(text, "s", columns={"label": "a"}) for text in texts], tokenizer)
    assert [one.left_out_tokens for one in made if not isinstance(one, str)] == [0, 0, 1, 22]
    assert [len(one.token_ids) - 1 for one in made if not isinstance(one, str)] == [9, 10, 10, 10]
    read = task.read([Document(text, "s") for text in texts], tokenizer)
    for (ids, _), one in zip(read, made, strict=True):  # who asks is read as training text was
        assert not isinstance(one, str)
        assert ids.tolist() == one.token_ids[:-1].tolist()


def test_weights_of_texts_go_with_them(tokenizer: Tokenizer) -> None:
    task = Classification(ClassificationConfig(problem="single", labels=("a", "b")))
    (made,) = task.make([Document("x", "s", columns={"label": "a", "weight": 2.5})], tokenizer)
    assert not isinstance(made, str)
    assert made.of_document["weight"] == np.float32(2.5)


def test_what_is_asked() -> None:
    task = Classification(ClassificationConfig(problem="single", labels=("a", "b")))
    assert task.document("谁？").text == "谁？"
    assert task.document({"Review": "good"}).text == "good"
    assert task.document({"text": "a", "title": "b"}).text == "a"
    with pytest.raises(UsageError, match="has no text"):
        task.document({"txt": "good"})


def test_a_text_is_read_as_training_text_was(tmp_path: Path) -> None:
    """Line ends, Unicode form, and blanks at its end: a model must not see another text where it is asked."""
    written = "\n  caf\u0065\u0301 \r\n 第一 \ufeff行  \r\n\r\n"
    fields = {name: one.model_dump() for name, one in Classification(ClassificationConfig()).fields().items()}
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": written, "label": "a"}), encoding="utf-8")
    (read,) = read_documents(DataConfig(sources=(str(tmp_path / "rows.jsonl"),), fields=fields))
    assert Classification(ClassificationConfig()).document(written).text == read.text
    assert read.text != written


def test_the_decision_is_no_part_of_what_examples_are_made_of() -> None:
    config = ClassificationConfig(problem="single", labels=("a", "b"))
    other = config.model_copy(update={"decision": config.decision.model_copy(update={"temperature": 2.0})})
    assert Classification(config).key == Classification(other).key
    assert Classification(config).key != Classification(config.model_copy(update={"labels": ("b", "a")})).key


@pytest.mark.parametrize(
    ("problem", "outputs", "loss", "metric"),
    [
        ("single", 3, "cross_entropy", "accuracy"),
        ("multiple", 3, "binary_cross_entropy", "micro_f1"),
        ("number", 1, "mean_squared_error", "mean_squared_error"),
    ],
)
def test_what_model_and_training_must_be(problem: Any, outputs: int, loss: str, metric: str) -> None:
    task = Classification(ClassificationConfig(problem=problem, labels=("a", "b", "c")))
    needs = {path: value for path, (value, _) in task.needs().items()}
    assert needs["model.task_head.num_outputs"] == outputs
    assert needs["training.objective.loss"] == loss
    assert needs["training.objective.kind"] == "labels"
    assert task.metric == metric


def test_what_is_no_number() -> None:
    with pytest.raises(DataError, match="is no number"):
        number_of("many")
