"""Fields of an example: which column holds what, and what the text of an example is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepwell.data import DataConfig, Document, FieldConfig, prepare_text, read_documents, text_of
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.hub import HubInput
from stepwell.data.inputs.reading import Reading, Text
from stepwell.errors import DataError

FIELDS = {
    "text": FieldConfig(columns=("text", "review"), is_text=True, kept=False),
    "label": FieldConfig(columns=("label", "类别"), is_answer=True),
    "hint": FieldConfig(columns=("hint",), needed=False),
}
ROWS = [{"Review ": "好看", "类别": "a", "stars": 5}, {"Review ": "bad one", "类别": "b", "stars": 1}]


@pytest.fixture(autouse=True)
def little_text_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.data.prepare.SMALLEST_TRAIN_BYTES", 1)
    monkeypatch.setattr("stepwell.data.prepare.FEWEST_EXAMPLES", 1)


def reading(fields: Any = FIELDS, columns: tuple[str, ...] = (), report: Any = print) -> Reading:
    return Reading(None, "replace", report, columns, fields=fields)


def write(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
    return path


def read(path: Path, **how: Any) -> list[Text]:
    return list(FileInput.found("", path).read(reading(**how)))


KINDS = pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])


@KINDS
def test_columns_are_found_by_any_of_their_names(tmp_path: Path, kind: str) -> None:
    """Capitals and blanks around a name do not count; what a table lacks is None; what was asked for comes too."""
    texts = read(write(tmp_path, kind, ROWS), columns=("stars",))
    assert [text.blocks for text in texts] == [("好看",), ("bad one",)]
    stars = ["5", "1"] if kind in ("csv", "tsv") else [5, 1]
    assert [dict(text.columns) for text in texts] == [
        {"label": label, "hint": None, "stars": one} for label, one in zip("ab", stars, strict=True)
    ]


@KINDS
def test_the_first_name_that_is_there_is_taken(tmp_path: Path, kind: str) -> None:
    rows = [{"review": "second choice", "text": "first choice", "类别": "z", "label": "a"}]
    (text,) = read(write(tmp_path, kind, rows))
    assert (text.blocks, text.columns["label"]) == (("first choice",), "a")


@KINDS
def test_a_needed_field_without_a_column(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, kind, [{"text": "x", "stars": 3}]))
    told = caught.value
    assert told.what.endswith("no column for the label of an example")
    assert told.got == "columns text, stars"
    assert told.wanted == "one named label or 类别"
    assert told.do == "--set task.label=NAME"


@pytest.mark.slow
def test_fields_of_a_dataset(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write(tmp_path, "jsonl", ROWS).rename(tmp_path / "train.jsonl")
    texts = list(HubInput(f"hf://{tmp_path}").read(reading()))
    assert [(text.blocks, dict(text.columns)) for text in texts] == [
        (("好看",), {"label": "a", "hint": None}),
        (("bad one",), {"label": "b", "hint": None}),
    ]


def test_values_keep_their_kind(tmp_path: Path) -> None:
    rows = [
        {"text": "x", "label": ["a", "b"]},
        {"text": "y", "label": 2.5},
        {"text": "z", "label": {"k": [1]}},
        {"text": "w", "label": None},
    ]
    assert [text.columns["label"] for text in read(write(tmp_path, "jsonl", rows))] == [
        ["a", "b"],
        2.5,
        {"k": [1]},
        None,
    ]


def test_rows_without_text_are_counted(tmp_path: Path) -> None:
    said: list[str] = []
    rows = [{"text": one, "label": "a"} for one in ("x", "", "   ", None, "y")]
    texts = read(write(tmp_path, "jsonl", rows), report=said.append)
    assert [text.blocks for text in texts] == [("x",), ("y",)]
    assert [one.split(": ", 1)[1] for one in said] == ["3 of 5 rows hold no text; skipped"]


def test_an_example_of_several_parts(tmp_path: Path) -> None:
    """What is_text says makes the text, with a blank line between; one part may be missing where it is not needed."""
    fields = {
        "question": FieldConfig(columns=("question",), is_text=True),
        "passage": FieldConfig(columns=("passage",), is_text=True, needed=False),
    }
    rows = [{"question": "谁？", "passage": "他。"}, {"question": "who?", "passage": None}]
    first, second = read(write(tmp_path, "jsonl", rows), fields=fields)
    assert (first.blocks, dict(first.columns)) == (("谁？\n\n他。",), {"question": "谁？", "passage": "他。"})
    assert second.blocks == ("who?",)
    fields = {name: field.model_copy(update={"needed": False}) for name, field in fields.items()}
    with pytest.raises(DataError, match="no column for any part of an example") as caught:
        read(write(tmp_path, "jsonl", [{"other": "x"}]), fields=fields)
    assert caught.value.wanted == "some of question, passage"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["a", "b"], "a b"),
        (["我", "们", "。"], "我们。"),
        (["我们", "去"], "我们 去"),
        ([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}], "hi\nyes"),
        ([{"from": "human", "value": "你好"}], "你好"),
        ({"text": ["x", "y"]}, "x y"),
        ({"id": 3}, ""),
        (None, ""),
        (7, ""),
    ],
)
def test_what_a_value_says(value: Any, text: str) -> None:
    assert text_of([value]) == text


def test_what_says_nothing_leaves_no_blank_line() -> None:
    assert text_of(["a", "", None, "  ", "b"]) == "a\n\nb"


def test_plain_text_where_examples_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text("A novel about a well.\n" * 50, encoding="utf-8")
    for read_all in (
        lambda config: list(read_documents(config)),
        lambda config: prepare_text(config, tmp_path / "out"),
    ):
        with pytest.raises(DataError) as caught:
            read_all(DataConfig(sources=(str(tmp_path / "novel.txt"),), fields=FIELDS))
        assert caught.value.what.endswith("is text, and examples are wanted")
        assert "column for label" in str(caught.value)


def test_examples_go_whole_through_the_pipeline(tmp_path: Path) -> None:
    """Cleaning and splitting lose no value and mix none up: each text keeps the label of its row."""
    rows = [{"text": f"text {n}  \r\n and a line of 井 {n * 7}", "label": f"label {n}"} for n in range(120)]
    config = DataConfig(sources=(str(write(tmp_path, "jsonl", rows)),), fields=FIELDS)
    text = prepare_text(config, tmp_path / "out")
    found: dict[str, str] = {}
    for split in ("train", "validation", "test"):
        documents = list(text.documents(split))
        assert [one.columns for one in documents] == text.columns(split)
        found |= {one.text: one.columns["label"] for one in documents}
    assert found == {row["text"].replace("\r\n", "\n"): row["label"] for row in rows}
    assert len(list(text.documents("validation"))) > 3


def test_a_field_of_a_group_keeps_its_examples_together(tmp_path: Path) -> None:
    fields = {
        "text": FieldConfig(columns=("text",), is_text=True, kept=False),
        "passage": FieldConfig(columns=("passage",), is_group=True),
    }
    rows = [{"text": f"question {n}", "passage": f"passage {n % 30}"} for n in range(300)]
    text = prepare_text(DataConfig(sources=(str(write(tmp_path, "jsonl", rows)),), fields=fields), tmp_path / "out")
    groups = {split: {one["passage"] for one in text.columns(split)} for split in ("train", "validation", "test")}
    assert not groups["train"] & groups["validation"]
    assert not groups["train"] & groups["test"]
    assert sum(map(len, groups.values())) == 30
    assert Document("x", "s", columns={"passage": "p"}).group_digest("passage") != b""
