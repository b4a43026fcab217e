"""Questions about texts: answers as tables write them, where they stand, and windows of long texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from stepwell.config import build
from stepwell.data import DataConfig, Document, read_documents
from stepwell.errors import ConfigError, DataError
from stepwell.tasks import (
    WHOLE_TEXT_BYTES,
    Answering,
    AnswerWriting,
    QuestionAnsweringConfig,
    build_task,
    likely_sentence,
    right_answers,
    usual_family,
)
from stepwell.tasks.answer_places import RightAnswer, answers_in, places_of
from stepwell.tasks.question_answering import BEGIN, CANDIDATE, END, spans_of_tokens, window_starts
from stepwell.tokenizers import ByteBPEConfig, CharacterConfig, Tokenizer, train_tokenizer

CONTEXT = "昨天老渔夫在河边画下了海边的地图。The miller painted a wooden boat by the river 😀."


@pytest.fixture(scope="module", params=["bytes", "characters"])
def tokenizer(request: pytest.FixtureRequest, small_text: Callable[..., str]) -> Tokenizer:
    config = ByteBPEConfig(vocab_size=600) if request.param == "bytes" else CharacterConfig(vocab_size=600)
    return train_tokenizer([small_text("mixed", 30_000)], config)


def asked(answers: Any, question: str = "谁?", context: str = CONTEXT) -> Document:
    return Document(context, "test", columns={"question": question, "context": context, "answers": answers})


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, []),
        ("", []),
        ([], []),
        ([None, " "], []),
        ("a boat ", [("a boat", None)]),
        (1998, [("1998", None)]),
        (["a", "b", "a"], [("a", None), ("b", None)]),
        ({"text": [], "answer_start": []}, []),
        ({"text": ["a", " b"], "answer_start": [3, 7]}, [("a", 3), ("b", 8)]),
        ({"text": "a", "answer_start": 3}, [("a", 3)]),
        ({"text": ["a"]}, [("a", None)]),
        ([{"text": "a", "answer_start": 2}], [("a", 2)]),
    ],
)
def test_answers_are_read_as_tables_write_them(value: Any, found: list[tuple[str, int | None]]) -> None:
    assert [tuple(one) for one in answers_in(value)] == found


@pytest.mark.parametrize(
    "value",
    [True, {"answer": "a"}, {"text": ["a"], "answer_start": [1, 2]}, ["a", 3], [{"answer": "x"}, "b"], ["a", ["b"]]],
)
def test_what_is_no_answer_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"task\.answers"):
        answers_in(value)


def test_an_answer_counts_wherever_it_stands_unless_its_place_is_told() -> None:
    text = "a boat, a gate, a boat"
    assert places_of(text, [RightAnswer("boat", None)]) == [(2, 6), (18, 22)]
    assert places_of(text, [RightAnswer("boat", 18)]) == [(18, 22)]
    assert places_of(text, [RightAnswer("boat", 16)]) == [(18, 22)]  # a place that is a little off
    assert places_of(text, [RightAnswer("ship", 2)]) == []
    assert places_of("aaa", [RightAnswer("aa", None)]) == [(0, 2), (1, 3)]


@pytest.mark.parametrize("answer", ["老渔夫", "海边的地图", "a wooden boat", "😀", "The miller", CONTEXT])
def test_the_marked_tokens_are_the_answer(tokenizer: Tokenizer, answer: str) -> None:
    task = Answering(QuestionAnsweringConfig(max_tokens=512))
    document = asked([answer])
    (read,), (made,) = task.read([document], tokenizer), task.make([document], tokenizer)
    (example,) = made
    assert not isinstance(example, str)
    marks = example.aligned["span"]
    first, last = (np.flatnonzero(marks & bit).item() - read.windows[0].begin for bit in (BEGIN, END))
    told = read.context[read.places[first, 0] : read.places[last, 1]]
    assert answer in told
    if example.remark:
        assert told.strip() != answer
    else:
        assert told.strip() == answer
    candidates = np.flatnonzero(marks & CANDIDATE)
    assert candidates.tolist() == list(range(read.windows[0].begin, len(example.token_ids) - 1))
    assert marks[-1] == 0
    assert example.token_ids[-1] == tokenizer.eos_id


def test_a_question_without_an_answer_points_at_the_end(tokenizer: Tokenizer) -> None:
    ((example,),) = Answering(QuestionAnsweringConfig(max_tokens=512)).make([asked([])], tokenizer)
    marks = example.aligned["span"]  # type: ignore[union-attr]
    assert marks[-2] == CANDIDATE | BEGIN | END
    assert not (marks[:-2] & (BEGIN | END)).any()


def test_an_answer_that_stands_nowhere_is_counted_and_not_learned_from(tokenizer: Tokenizer) -> None:
    ((example,),) = Answering(QuestionAnsweringConfig(max_tokens=512)).make([asked(["a sailor"])], tokenizer)
    assert example.of_document["weight"] == 0  # type: ignore[union-attr]
    assert "stands in the context" in example.remark  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"question": "谁?", "context": " ", "answers": []}, "empty context"),
        ({"question": "", "context": CONTEXT, "answers": []}, "empty question"),
        ({"question": None, "context": CONTEXT, "answers": []}, "no question"),
        ({"question": "谁?", "answers": []}, "no context"),
    ],
)
def test_what_cannot_be_asked_is_no_example(tokenizer: Tokenizer, columns: dict[str, Any], reason: str) -> None:
    document = Document("x", "test", columns=columns)
    for mode in ("extractive", "generative"):
        task = build_task(QuestionAnsweringConfig(mode=mode, max_tokens=64))  # type: ignore[arg-type]
        assert list(task.make([document], tokenizer)) == [reason]


def test_windows_hold_the_whole_text_and_overlap() -> None:
    assert window_starts(0, 10, None) == []
    assert window_starts(10, 10, None) == [0]
    assert window_starts(11, 10, None) == [0, 1]
    for count in range(1, 60):
        for stride in (None, 1, 3, 10, 99):
            starts = window_starts(count, 10, stride)
            assert starts == sorted(set(starts))
            assert starts[-1] + min(count, 10) == count
            assert set(range(count)) == {at for start in starts for at in range(start, min(count, start + 10))}


def test_each_window_has_the_answer_that_it_holds(tokenizer: Tokenizer) -> None:
    context = "．" * 40 + "一盏灯" + "．" * 40
    document = asked(["一盏灯"], context=context)
    task = Answering(QuestionAnsweringConfig(max_tokens=40, stride_tokens=7))
    (read,), (made,) = task.read([document], tokenizer), task.make([document], tokenizer)
    assert len(read.windows) == len(made) > 3
    seen = set()
    for window, example in zip(read.windows, made, strict=True):
        assert not isinstance(example, str)
        assert len(example.token_ids) <= 41
        marks = example.aligned["span"]
        first = int(np.flatnonzero(marks & BEGIN).item()) - window.begin
        if first == window.count:
            seen.add("nothing")
            continue
        last = int(np.flatnonzero(marks & END).item()) - window.begin
        stretch = read.places[window.first + first, 0], read.places[window.first + last, 1]
        seen.add(context[slice(*stretch)])
    assert seen == {"nothing", "一盏灯"}


def test_a_question_longer_than_the_window_is_cut_and_counted(tokenizer: Tokenizer) -> None:
    ((example, *more),) = Answering(QuestionAnsweringConfig(max_tokens=32)).make(
        [asked(["河边"], question="在哪里 " * 40)], tokenizer
    )
    assert len(example.token_ids) <= 33  # type: ignore[union-attr]
    assert example.left_out_tokens > 0  # type: ignore[union-attr]
    assert sum(one.left_out_tokens for one in more) == 0  # type: ignore[union-attr]


def test_tokens_of_stretches_are_those_that_touch_them() -> None:
    places = np.array([[0, 2], [2, 2], [2, 3], [3, 4], [3, 4], [6, 8]])
    for start in range(8):
        for end in range(start + 1, 9):
            touching = [n for n, (first, last) in enumerate(places.tolist()) if first < end and last > start]
            found = spans_of_tokens(places, [(start, end)])
            assert found == ([(touching[0], touching[-1])] if touching else [])


def test_a_written_answer_ends_and_none_is_an_end_alone(tokenizer: Tokenizer) -> None:
    task = build_task(QuestionAnsweringConfig(mode="generative", max_tokens=256))
    assert isinstance(task, AnswerWriting)
    for answers, written in ((["河边", "在河边"], "河边"), ([], "")):
        (example,) = task.make([asked(answers)], tokenizer)
        assert not isinstance(example, str)
        border = int(example.of_document["source_tokens"])
        assert tokenizer.decode(example.token_ids[border:-1].tolist()) == written
        assert example.token_ids[-1] == tokenizer.eos_id
        assert np.flatnonzero(example.aligned["weight"]).tolist() == list(range(border - 1, len(example.token_ids) - 1))


def test_a_template_says_where_question_and_text_stand() -> None:
    task = AnswerWriting(QuestionAnsweringConfig(template="T: {context}\nQ: {question}\nA:"))
    before, source, after, ends = task.prompt(asked([], "who?", "a text"))
    assert (before + source + after, ends) == ("T: a text\nQ: who?\nA:", False)
    with pytest.raises(ConfigError, match="each once"):
        build(QuestionAnsweringConfig, {"template": "{question}"}, where="task")


def test_the_sentence_that_is_most_like_the_question() -> None:
    text = "The gate is old. A sailor sold the boat in May! 老渔夫在河边。小姑娘画下了海边的地图。"
    assert likely_sentence("Who sold the boat?", text) == "A sailor sold the boat in May!"
    assert likely_sentence("谁画下了地图？", text) == "小姑娘画下了海边的地图。"
    assert likely_sentence("xyz", text) == "The gate is old."
    assert likely_sentence("xyz", "") == ""


def test_what_model_suits_depends_on_the_mode() -> None:
    assert usual_family({"kind": "question_answering"}) == "encoder"
    assert usual_family({"kind": "question_answering", "mode": "generative"}) == "encoder_decoder"
    assert usual_family({"kind": "question_answering", "mode": "guessing"}) is None
    assert usual_family({"kind": "juggling"}) is None
    assert usual_family(None) is None


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_tables_of_squad_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    answers = [{"text": ["老渔夫"], "answer_start": [2]}, {"text": [], "answer_start": []}]
    rows = [
        {"id": str(number), "title": "t", "context": CONTEXT, "question": f"谁{number}?", "answers": one}
        for number, one in enumerate(answers)
    ]
    path = tmp_path / f"squad.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    task = Answering(QuestionAnsweringConfig())
    config = DataConfig(sources=(str(path),), fields=task.fields(), document_bytes=WHOLE_TEXT_BYTES)
    found = list(read_documents(config))
    assert [one.text for one in found] == [f"谁{number}?\n\n{CONTEXT}" for number in range(2)]
    assert [right_answers(one) for one in found] == [[RightAnswer("老渔夫", 2)], []]
    assert found[0].group_digest("context") == found[1].group_digest("context")
    assert found[0].digest != found[1].digest
