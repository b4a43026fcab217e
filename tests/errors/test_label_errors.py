"""Labels that cannot be used: each message says what, got, wanted and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepwell.data import DataConfig, prepare_text
from stepwell.data.documents import Document
from stepwell.data.steps.balance.labels import Labels, LabelsConfig
from stepwell.data.steps.step import Surroundings
from stepwell.errors import DataError


def prepared(folder: Path, rows: list[dict], *, columns: tuple[str, ...] = ("label",), **settings: object) -> None:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    config = DataConfig(sources=(str(path),), columns=columns, steps=[{"kind": "labels", **settings}])
    prepare_text(config, folder / "out")


def rows(*labels: object, count: int = 300) -> list[dict]:
    """Rows whose labels go round."""
    return [
        {"text": f"row {number} " + "some words " * 10, "label": labels[number % len(labels)]}
        for number in range(count)
    ]


def message(folder: Path, *args: object, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        prepared(folder, *args, **settings)
    return str(caught.value)


def test_no_column_was_asked_for(tmp_path):
    told = message(tmp_path, rows("a", "b"), columns=())
    assert "no document has a label" in told
    assert "data.columns: [label]" in told


def test_the_named_column_is_not_there(tmp_path):
    told = message(tmp_path, rows("a", "b"), column="topic")
    assert "nothing in column topic" in told


def test_some_labels_are_missing(tmp_path):
    told = message(tmp_path, rows("a", "b", None))
    assert "100 of 300" in told
    assert "row 2 some" in told
    assert "missing: drop" in told


def test_one_class(tmp_path):
    assert "fewer than two classes" in message(tmp_path, rows("a"))


def test_too_few_examples(tmp_path):
    labelled = rows("a", count=298) + [
        {"text": f"other {number} " + "more words " * 9, "label": "b"} for number in range(2)
    ]
    told = message(tmp_path, labelled)
    assert "too few examples" in told
    assert "b " in told
    assert "noise: false" in told


def test_a_column_of_numbers_is_no_column_of_classes(tmp_path):
    told = message(tmp_path, [{**row, "label": number / 7} for number, row in enumerate(rows("a"))])
    assert "no classes" in told
    assert "column: ..." in told


def test_too_many_to_judge(tmp_path, monkeypatch):
    monkeypatch.setattr("stepwell.data.steps.balance.label_judging.JUDGED_CELLS", 500)
    assert "300 documents times 2 classes" in message(tmp_path, rows("a", "b"))
    monkeypatch.undo()
    prepared(tmp_path, rows("a", "b"), noise=False)


def test_several_labels_of_one_document(tmp_path):
    told = message(tmp_path, rows(["a", "b"]))
    assert "not one label" in told
    assert "list" in told


def test_labels_in_a_column_for_each_source():
    documents = [
        Document(f"text {number}", "made", split="train", columns={("label", "category")[number % 2]: "x"})
        for number in range(40)
    ]
    step = Labels(LabelsConfig(), Surroundings())
    with pytest.raises(DataError, match=r"(?s)in several columns.*category, label.*column: \.\.\."):
        step.join([step.look(documents)])
