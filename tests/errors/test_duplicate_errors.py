"""Duplicates and leaks: what a person is told when benchmarks, settings or the disk are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepwell.config import build
from stepwell.data import DataConfig, prepare_text
from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.near_duplicates import NearDuplicates, NearDuplicatesConfig
from stepwell.data.steps.step import Surroundings
from stepwell.errors import ConfigError, DataError, DiskError


def rows(path: Path, texts: list[str], column: str = "text") -> str:
    path.write_text("".join(json.dumps({column: text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


@pytest.fixture
def corpus(tmp_path: Path, small_text) -> str:
    return rows(tmp_path / "corpus.jsonl", small_text("mixed", 60_000).split("\n\n"))


def failure(corpus: str, tmp_path: Path, **settings: object) -> DataError:
    config = DataConfig(sources=(corpus,), steps=[{"kind": "decontaminate", **settings}])
    with pytest.raises(DataError) as caught:
        prepare_text(config, tmp_path / "out")
    return caught.value


def test_a_leak_is_an_error_until_the_recipe_says_otherwise(tmp_path: Path, corpus: str) -> None:
    line = json.loads(Path(corpus).read_text(encoding="utf-8").splitlines()[3])["text"]
    leaked = "There are a few words before it. " + line
    benchmark = rows(tmp_path / "quiz.jsonl", [leaked, "something else"], "question")
    settings = {"benchmarks": benchmark, "benchmark_column": "question"}
    error = failure(corpus, tmp_path, **settings)
    assert error.what == "training text holds text that the model will be judged by"
    assert f"1 of 2 in {benchmark}" in error.got
    assert line.split()[0] in error.got
    assert "data.steps.decontaminate.action=drop" in error.do
    step = {"kind": "decontaminate", "action": "drop", **settings}
    facts = prepare_text(DataConfig(sources=(corpus,), steps=[step]), tmp_path / "out").facts.steps[-1]
    assert facts.dropped == {"leak": facts.findings["leaking_documents"]}
    assert facts.findings["held_out"][benchmark]["leaked_documents"] == 1


def test_a_benchmark_that_is_not_there(tmp_path: Path, corpus: str) -> None:
    error = failure(corpus, tmp_path, benchmarks=str(tmp_path / "quizz.jsonl"))
    assert error.what == f"{tmp_path}/quizz.jsonl: no such file"


def test_a_benchmark_column_that_is_not_there(tmp_path: Path, corpus: str) -> None:
    benchmark = rows(tmp_path / "quiz.jsonl", ["a question"], "question")
    error = failure(corpus, tmp_path, benchmarks=benchmark, benchmark_column="querstion")
    assert "querstion" in error.what
    assert "question" in str(error)


def test_another_text_of_a_benchmark_is_another_package(tmp_path: Path, corpus: str) -> None:
    benchmark = rows(tmp_path / "quiz.txt", ["nothing of the kind"])
    step = {"kind": "decontaminate", "benchmarks": benchmark, "action": "report"}
    config = DataConfig(sources=(corpus,), steps=[step])
    before = prepare_text(config, tmp_path / "out")
    assert prepare_text(config, tmp_path / "out").path == before.path
    rows(tmp_path / "quiz.txt", ["nothing of another kind"])
    assert prepare_text(config, tmp_path / "out").path != before.path


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({"kind": "near_duplicates", "threshold": 0.3}, "threshold"),
        ({"kind": "near_duplicates", "threshold": 1.5}, "threshold"),
        ({"kind": "near_duplicates", "words": 0}, "words"),
        ({"kind": "duplicates", "min_bytes": -1}, "min_bytes"),
        ({"kind": "duplicates", "sentences": True}, "sentences"),
        ({"kind": "decontaminate", "action": "ignore"}, "action"),
        ({"kind": "decontaminate", "least_ngrams": 0}, "least_ngrams"),
    ],
)
def test_settings_that_mean_nothing(step: dict, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(DataConfig, {"sources": ["x"], "steps": [step]}, where="recipe")
    assert field in str(caught.value)


def test_leaks_cannot_be_looked_for_before_the_splits_are_known() -> None:
    with pytest.raises(ConfigError, match="near_duplicates before decontaminate"):
        build(DataConfig, {"sources": ["x"], "steps": ["decontaminate", "near_duplicates"]}, where="recipe")


def test_no_room_for_what_is_compared(monkeypatch) -> None:
    step = NearDuplicates(NearDuplicatesConfig(), Surroundings())
    look = step.look([Document("one two three four five six", "corpus")])

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stepwell.data.steps.duplicates.near_duplicates._Spilled.take", full)
    with pytest.raises(DiskError) as caught:
        step.join([look])
    assert "No space left" in caught.value.got
    assert "TMPDIR" in caught.value.do
