"""Labelled text that cannot be learned from: each message says what, got, wanted and what to do, before any step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepwell import api
from stepwell.data import DataConfig, Document, read_documents, tokenize_documents
from stepwell.errors import ConfigError, DataError, StepwellError, UsageError
from stepwell.progress import Event, Fact
from stepwell.recipes import begin_draft
from stepwell.studies.examples import _look_for_leaks
from stepwell.tasks import Classification, ClassificationConfig
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

Row = dict[str, Any]


def rows(count: int = 60, label: Callable[[int], Any] = lambda n: "ab"[n % 2], **more: Any) -> list[Row]:
    return [{"text": f"row {n} 第{n}行 of this table", "label": label(n), **more} for n in range(count)]


def write(folder: Path, table: list[Row], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table), encoding="utf-8")
    return path


def told(folder: Path, data: Path, *settings: str, kind: type[StepwellError] = DataError) -> str:
    """What `prepare` says, which reads, finds out about the labels, and looks the examples over."""
    with pytest.raises(kind) as caught:
        api.prepare(text=data, out=folder / "run", set=["task=classification", "tokenizer.vocab_size=300", *settings])
    return str(caught.value)


def test_too_few_examples(tmp_path: Path) -> None:
    """They are counted; how short they are does not matter."""
    said = told(tmp_path, write(tmp_path, rows(12)))
    assert "too little text to train on" in said
    assert "at least 20 training examples and one validation document" in said


def test_one_class_only(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows(label=lambda n: "好")))
    assert "task.label: one class only" in said
    assert "got: 好" in said
    assert "two or more labels" in said


def test_no_label_at_all(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows(label=lambda n: None)))
    assert "one class only" in said
    assert "no label at all" in said


def test_a_class_with_one_example(tmp_path: Path) -> None:
    table = [*rows(), {"text": "the only one of its kind", "label": "rare"}]
    # Wherever it falls it cannot be learned and judged: alone in training, or not in training at all.
    said = told(tmp_path, write(tmp_path, table))
    assert "rare" in said
    assert "too few examples" in said or "training text has not" in said
    assert "leave" in said


def test_two_classes_with_one_example_in_training(tmp_path: Path) -> None:
    train = write(tmp_path, [*rows(), {"text": "one of them", "label": "x"}, {"text": "the other", "label": "y"}])
    held = write(tmp_path, [{"text": f"held {n}", "label": "ab"[n % 2]} for n in range(9)], "held.jsonl")
    said = told(tmp_path, train, f"data.validation=[{held}]", "data.test_ratio=0")
    assert "labels have too few examples to learn from" in said
    assert "x (1), y (1)" in said
    assert "task.fewest=1" in said


@pytest.mark.parametrize(
    ("label", "kinds"),
    [
        (lambda n: 1 if n % 2 else "good", ["a number (1)", "text ('good')"]),
        (lambda n: ["a"] if n % 2 else "a", ["a list (['a'])", "text ('a')"]),
        (lambda n: 2.5 if n % 2 else ["b"], ["a number (2.5)", "a list (['b'])"]),
    ],
)
def test_labels_of_several_kinds(tmp_path: Path, label: Callable[[int], Any], kinds: list[str]) -> None:
    said = told(tmp_path, write(tmp_path, rows(label=label)))
    assert "labels of several kinds" in said
    assert all(kind in said for kind in kinds)
    assert "task.problem=single" in said


def test_numbers_that_are_all_the_same(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows(label=lambda n: 2.5)))
    assert "one number only" in said


def test_a_word_among_numbers(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows(label=lambda n: "many" if n == 7 else 1.5 * n)), "task.problem=number")
    assert "is no number" in said
    assert "'many'" in said


def test_several_labels_where_one_is_wanted(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows(label=lambda n: ["a", "b"])), "task.problem=single")
    assert "several labels of one text" in said
    assert "task.problem=multiple" in said
    said = told(tmp_path, write(tmp_path, rows()), "task.problem=multiple")
    assert "is no list of labels" in said


@pytest.mark.parametrize("text", ["", "   ", None])
def test_empty_texts_are_counted(tmp_path: Path, text: str | None) -> None:
    data = write(tmp_path, [*rows(), *({"text": text, "label": "a"} for _ in range(3))])
    said: list[Event] = []
    api.prepare(
        text=data, out=tmp_path / "run", set=["task=classification", "tokenizer.vocab_size=300"], watch=said.append
    )
    facts = [one.text for one in said if isinstance(one, Fact)]
    assert any("3 of 63 rows hold no text; skipped" in one for one in facts)


def test_nothing_but_empty_texts(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, [{"text": "", "label": "a"}] * 9))
    assert "empty" in said
    assert "9 of 9 rows hold no text" in said


def test_texts_past_the_window_are_counted_and_named(tmp_path: Path) -> None:
    long = [{"text": f"{n} is a long one " + "井" * 300, "label": "a"} for n in range(9)]
    data = write(tmp_path, [*rows(), *long])
    said: list[Event] = []
    settings = ["task=classification", "tokenizer.vocab_size=300", "task.max_tokens=32"]
    api.prepare(text=data, out=tmp_path / "run", set=settings, watch=said.append)
    facts = [one.text for one in said if isinstance(one, Fact) and one.warning]
    (one,) = [fact for fact in facts if fact.startswith("train:") and "longer than task.max_tokens (32)" in fact]
    assert "tokens are left out, most of" in one
    assert "is a long one" in one


def test_missing_labels_are_counted_and_too_many_are_an_error(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows(label=lambda n: None if n % 5 == 0 else "ab"[n % 2])))
    assert "too many documents are no examples of classification" in said
    assert "no label" in said
    assert "at most 1%" in said
    few: list[Event] = []
    data = write(tmp_path, rows(400, label=lambda n: "" if n == 7 else "ab"[n % 2]))
    settings = ["task=classification", "tokenizer.vocab_size=300"]
    api.prepare(text=data, out=tmp_path / "few", set=settings, watch=few.append)
    assert any(isinstance(one, Fact) and "documents are no examples (no label: 1)" in one.text for one in few)


def test_a_label_that_training_text_has_not(tmp_path: Path) -> None:
    held = write(tmp_path, [{"text": f"held {n}", "label": "abc"[n % 3]} for n in range(9)], "held.jsonl")
    said = told(tmp_path, write(tmp_path, rows()), f"data.validation=[{held}]", "data.test_ratio=0")
    assert "held-out text has labels that training text has not" in said
    assert "got: c" in said


def test_a_label_that_a_finished_model_does_not_know() -> None:
    """Where a model is measured on other text."""
    task = Classification(ClassificationConfig(problem="single", labels=("a", "b")))
    several = Classification(ClassificationConfig(problem="multiple", labels=("a", "b")))
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    for maker, label in ((task, "c"), (several, ["a", "c"])):
        with pytest.raises(DataError, match="a label that the model does not know") as caught:
            tokenize_documents([Document("x", "s", columns={"label": label})], tokenizer, maker)
        assert (caught.value.got, caught.value.wanted) == ("c", "a, b")


@pytest.mark.parametrize("missing", ["label", "text"])
def test_a_missing_column_names_those_that_are_there(tmp_path: Path, missing: str) -> None:
    table = [{(f"my {name}" if name == missing else name): value for name, value in row.items()} for row in rows()]
    said = told(tmp_path, write(tmp_path, table))
    assert f"no column for the {missing} of an example" in said
    assert f"my {missing}" in said
    assert f"--set task.{missing}=NAME" in said
    api.prepare(text=write(tmp_path, table), out=tmp_path / "run",
                set=["task=classification", "tokenizer.vocab_size=300", f"task.{missing}=my {missing}"])  # fmt: skip


def test_a_column_that_was_named_and_is_not_there(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows()), "task.label=topic")
    assert "no column for the label of an example" in said
    assert "wanted: one named topic" in said


@pytest.mark.parametrize("name", ["novel.txt", "page.md"])
def test_plain_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("A novel, 一部小说。\n" * 90, encoding="utf-8")
    said = told(tmp_path, tmp_path / name)
    assert "is text, and examples are wanted" in said
    assert "a table (JSON Lines, CSV, parquet) with a column for label" in said


def test_a_text_in_two_files_stands_in_one_split(tmp_path: Path) -> None:
    """Whether texts that come twice are dropped or not: what is held out is not learned from."""
    table = rows()
    held = write(tmp_path, [{"text": f"held {n}", "label": "ab"[n % 2]} for n in range(9)] + table[:2], "held.jsonl")
    for drop in ("true", "false"):
        settings = [f"data.validation=[{held}]", "data.test_ratio=0", f"data.deduplicate={drop}"]
        done = api.prepare(text=write(tmp_path, table), out=tmp_path / drop,
                           set=["task=classification", "tokenizer.vocab_size=300", *settings])  # fmt: skip
        splits = {name: one["documents"] for name, one in done["data"]["splits"].items()}
        assert splits == {"train": 58, "validation": 11, "test": 0}


@pytest.mark.parametrize("name", ["validation", "test"])
def test_splits_that_leak(name: str) -> None:
    """Where a step or a group has brought a text into two splits all the same."""
    splits = {"train": ["a text", "another one"], "validation": ["held out"], "test": ["the last"]}
    splits[name] = [*splits[name], "another one "]

    def documents(split: str) -> list[Document]:
        return [Document(text, "s") for text in splits[split]]

    corpus: Any = SimpleNamespace(text=SimpleNamespace(documents=documents))
    with pytest.raises(DataError) as caught:
        _look_for_leaks(corpus)
    said = str(caught.value)
    assert f"{name}: has texts that are learned from" in said
    assert "got: 1, such as 'another one'" in said
    assert "data.deduplicate=true" in said


def test_an_unknown_problem_and_an_unknown_task(tmp_path: Path) -> None:
    said = told(tmp_path, write(tmp_path, rows()), "task.problem=both", kind=UsageError)
    assert "task" in said
    assert "problem" in said
    with pytest.raises((UsageError, ConfigError), match="task"):
        begin_draft(assignments=["task=clasification", "data.sources=[x]"])


def test_a_table_that_is_measured_lacks_the_label(tmp_path: Path) -> None:
    fields = {name: field.model_dump() for name, field in Classification(ClassificationConfig()).fields().items()}
    data = write(tmp_path, [{"text": "x", "colour": "a"}])
    with pytest.raises(DataError, match="no column for the label") as caught:
        list(read_documents(DataConfig(sources=(str(data),), fields=fields)))
    assert caught.value.got == "columns text, colour"
