"""Questions that cannot be learned from: each message says what, got, wanted and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.errors import StepwellError, UsageError
from stepwell.progress import Fact
from stepwell.tasks import Answering, QuestionAnsweringConfig

pytestmark = pytest.mark.slow  # most of them prepare a text


def rows(count: int = 300, **changed: Any) -> list[dict[str, Any]]:
    """Questions, three about each text; a function of the row's number for what is changed."""
    found = []
    for number in range(count):
        text = (
            f"The boat number {number // 3} is by the river, the lamp is by the gate, and nobody has seen the map. " * 2
        )
        row = {"question": f"Where is the lamp, {number}?", "context": text, "answers": ["by the gate"]}
        found.append(row | {name: value(number, row) for name, value in changed.items()})
    return found


def write(path: Path, several: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in several), encoding="utf-8")
    return path


def prepared(folder: Path, several: Sequence[Mapping[str, Any]], *settings: str) -> list[str]:
    """What is said while rows are prepared."""
    told: list[str] = []
    api.prepare(
        data=write(folder / "rows.jsonl", several),
        out=folder / "run",
        set=["task=question_answering", "tokenizer.vocab_size=400", *settings],
        watch=lambda event: told.append(event.text) if isinstance(event, Fact) else None,
    )
    return told


def message(folder: Path, several: Sequence[Mapping[str, Any]], *settings: str) -> str:
    with pytest.raises(StepwellError) as caught:
        prepared(folder, several, *settings)
    return str(caught.value)


def test_good_rows_are_prepared(tmp_path: Path) -> None:
    assert not [line for line in prepared(tmp_path, rows()) if "stands" in line or "no examples" in line]


@pytest.mark.parametrize("mode", ["extractive", "generative"])
def test_not_one_question_has_an_answer(tmp_path: Path, mode: str) -> None:
    told = message(tmp_path, rows(answers=lambda number, row: []), f"task.mode={mode}")
    assert "not one question has an answer" in told
    assert "task.answers" in told


def test_answers_stand_nowhere_in_their_context(tmp_path: Path) -> None:
    told = message(tmp_path, rows(answers=lambda number, row: ["on the moon"] if number % 4 == 0 else ["by the gate"]))
    assert "stand nowhere in their context" in told
    assert "Where is the lamp" in told
    assert "task.mode=generative" in told


def test_a_few_answers_that_stand_nowhere_are_counted(tmp_path: Path) -> None:
    told = prepared(tmp_path, rows(answers=lambda number, row: ["on the moon"] if number == 1 else ["by the gate"]))
    assert [line for line in told if "1 of" in line and "no right answer stands in the context" in line]


def test_empty_contexts(tmp_path: Path) -> None:
    told = message(tmp_path, rows(context=lambda number, row: " " if number % 10 == 0 else row["context"]))
    assert "empty context" in told


def test_a_question_longer_than_the_window_is_counted_and_named(tmp_path: Path) -> None:
    many = rows(question=lambda number, row: "where? " * 200 if number % 50 == 0 else row["question"])
    told = prepared(tmp_path, many, "task.max_tokens=64")
    assert [line for line in told if "longer than task.max_tokens" in line and "where? where?" in line]


def test_no_such_column(tmp_path: Path) -> None:
    several = [{"question": row["question"], "context": row["context"]} for row in rows()]
    told = message(tmp_path, several)
    assert "no column for the answers" in told
    assert "task.answers=NAME" in told


def test_the_same_context_in_two_files(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", rows(question=lambda number, row: f"What is by the gate, {number}?")[:30])
    told = message(tmp_path, rows(), f"data.validation=[{own}]")
    assert "validation: has the same context as training examples" in told


def test_questions_about_one_text_go_to_one_split(tmp_path: Path) -> None:
    prepared(tmp_path, rows())
    (folder,) = (tmp_path / "run" / "data").glob("text-*/")
    contexts = {
        split: {json.loads(line)["context"] for line in (folder / f"{split}.columns.jsonl").read_text().splitlines()}
        for split in ("train", "validation", "test")
    }
    assert not contexts["train"] & (contexts["validation"] | contexts["test"])
    assert not contexts["validation"] & contexts["test"]
    counts = {split: len((folder / f"{split}.columns.jsonl").read_text().splitlines()) for split in contexts}
    assert sum(counts.values()) == 300  # rows that share a context are not taken for the same text
    assert all(counts[split] == 3 * len(contexts[split]) for split in contexts)


def test_what_is_asked_must_have_both_parts() -> None:
    task = Answering(QuestionAnsweringConfig())
    with pytest.raises(UsageError, match="several parts"):
        task.document("where is the lamp?")
    with pytest.raises(UsageError, match="has no context"):
        task.document({"question": "where is the lamp?"})
    assert task.document({"query": "q", "passage": "p"}).columns["context"] == "p"


def test_answers_that_cannot_be_read(tmp_path: Path) -> None:
    told = message(tmp_path, rows(answers=lambda number, row: {"text": ["by the gate"], "answer_start": [1, 2]}))
    assert "task.answers: cannot be read" in told


def test_what_is_asked_is_text_and_nothing_to_read_has_no_answer(small_text: Callable[..., str]) -> None:
    from stepwell.inference import SamplingParams, answer_many
    from stepwell.models import MODELS, TaskHeadConfig, build_model
    from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

    tokenizer = train_tokenizer([small_text("en", 5_000)], ByteBPEConfig(vocab_size=280))
    shape = MODELS["decoder"].sized(1, vocab_size=tokenizer.vocab_size, max_seq_len=64)
    head = TaskHeadConfig(num_outputs=2, pooling="each")
    model = build_model(shape.model_copy(update={"task_head": head}), 0)
    task = QuestionAnsweringConfig(max_tokens=32, max_answer_tokens=4)

    def answered(**asked: Any) -> list[Any]:
        return answer_many(model, tokenizer, task, [asked], SamplingParams(n=3))[0]

    assert [one.text for one in answered(question="who?", context=" \n")] == [""]
    assert [one.text for one in answered(question="", context="the miller")] == [""]
    long = answered(question="who? " * 50, context="the miller by the river " * 20)
    assert len({one.text for one in long}) == 3
    with pytest.raises(UsageError, match="its context is no text"):
        answered(question="who?", context=["the miller"])
