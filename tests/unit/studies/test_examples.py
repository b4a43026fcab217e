"""What a study finds out about examples before it trains: fields, findings, lengths, and the audit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepwell.data import Document, PreparedText, TokenSplit, prepare_text
from stepwell.errors import DataError
from stepwell.progress import Event, Fact
from stepwell.recipes import Draft, begin_draft
from stepwell.studies.examples import look_over, with_fields, with_findings, with_lengths
from stepwell.tasks import ClassificationConfig
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


def begun(*settings: str) -> Draft:
    return with_fields(begin_draft(assignments=["task=classification", "data.sources=[x]", *settings]))


def prepared(folder: Path, rows: list[dict[str, Any]], draft: Draft, monkeypatch: pytest.MonkeyPatch) -> PreparedText:
    from stepwell.config import build
    from stepwell.data import DataConfig

    monkeypatch.setattr("stepwell.data.prepare.SMALLEST_TRAIN_BYTES", 1)
    monkeypatch.setattr("stepwell.data.prepare.FEWEST_EXAMPLES", 1)
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    settings = {
        "sources": [str(path)],
        "fields": draft.get("data.fields"),
        "document_bytes": draft.get("data.document_bytes"),
    }
    return prepare_text(build(DataConfig, settings, where="test"), folder / "out")


def rows_of(lengths: list[int]) -> list[dict[str, Any]]:
    return [{"text": f"{n:04d}" + "x" * (length - 4), "label": "ab"[n % 2]} for n, length in enumerate(lengths)]


def test_the_data_section_knows_what_an_example_holds() -> None:
    draft = begun("task.label=topic")
    fields = draft.get("data.fields")
    assert fields["label"]["columns"] == ("topic",)
    assert fields["text"]["is_text"]
    assert "sentence" in fields["text"]["columns"]
    assert draft.get("data.document_bytes") == 1 << 24
    plain = begin_draft(assignments=["data.sources=[x]"])
    assert with_fields(plain) is plain


def test_what_the_text_tells_becomes_part_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = begun()
    text = prepared(tmp_path, rows_of([20] * 80), draft, monkeypatch)
    found = with_findings(draft, text)
    assert found.get("task.labels") == ("a", "b")
    assert found.get("task.problem") == "single"
    assert found.get("model.task_head.num_outputs") == 2
    assert found.get("training.objective.kind") == "labels"
    assert found.get("metric") == "accuracy"
    assert found.origins["task.labels"] == "derived: found in the training text"
    told = with_findings(begun("task.labels=[b,a]", "metric=macro_f1"), text)
    assert told.get("task.labels") == ["b", "a"]  # what the user says stays
    assert told.get("metric") == "macro_f1"


@pytest.mark.parametrize(
    ("lengths", "window"),
    [
        ([20] * 400, 32),  # 20 bytes and two marks, to a multiple of 16
        ([12] * 400, 16),
        ([30] * 200 + [100] + [30] * 199, 32),  # one in two hundred may be longer
        ([30] * 300 + [90] * 100, 96),
        ([30] * 300 + [5_000] * 100, 512),  # more is not looked for
    ],
)
def test_the_window_takes_nearly_all_examples_whole(
    lengths: list[int], window: int, tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = begun()
    text = prepared(tmp_path, rows_of(lengths), draft, monkeypatch)
    draft = with_lengths(with_findings(draft, text), text, tokenizer)
    assert draft.get("task.max_tokens") == window
    row = draft.get("model.max_seq_len")
    assert row >= window
    assert draft.get("training.row_tokens") == row
    said = begun("task.max_tokens=24")
    said = with_lengths(with_findings(said, text), text, tokenizer)
    assert said.get("task.max_tokens") == 24


def corpus_of(splits: dict[str, TokenSplit], facts: dict[str, Any] | None = None) -> Any:
    nothing = {"left_out": {}, "examples": 100, "shortened": 0, "left_out_tokens": 0, "longest": [], "remarks": {}}
    told = {name: {**nothing, **(facts or {}).get(name, {})} for name in ("train", "validation", "test")}
    tokens = SimpleNamespace(examples=told, split=lambda name: splits[name])
    text = SimpleNamespace(documents=lambda name: [Document(f"{name} {n}", "s") for n in range(3)])
    return SimpleNamespace(tokens=tokens, text=text)


def split_of(count: int = 4, weight: float | None = None) -> TokenSplit:
    aligned = {} if weight is None else {"weight": np.full(count * 3, weight, np.float32)}
    return TokenSplit(np.zeros(count * 3, np.int32), np.arange(0, 3 * count + 1, 3), np.ones(count, np.int64),
                      aligned=aligned, of_document={"label": np.zeros(count, np.int64)}, whole=True)  # fmt: skip


TASK = ClassificationConfig(problem="single", labels=("a", "b"), max_tokens=32)


def audit(splits: dict[str, TokenSplit] | None = None, facts: dict[str, Any] | None = None) -> list[str]:
    said: list[Event] = []
    whole = {"train": split_of(), "validation": split_of(), "test": split_of(), **(splits or {})}
    look_over(corpus_of(whole, facts), TASK, said.append)
    return [one.text for one in said if isinstance(one, Fact)]


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert audit() == []


def test_what_was_left_out_and_shortened_is_counted_and_named() -> None:
    facts = {
        "train": {
            "left_out": {"no label": 1},
            "shortened": 7,
            "left_out_tokens": 90,
            "longest": [(40, "a long one of which a part is left out, and its end too"), (3, "x")],
            "remarks": {"odd": 2},
        }
    }
    first, second, third = audit(facts=facts)
    assert first == "train: 1 of 101 documents are no examples (no label: 1)"
    assert second.startswith("train: 7 of 100 examples are longer than task.max_tokens (32); 90 tokens are left out")
    assert "'a long one of which a part is left out, ' (40)" in second
    assert third == "train: 2 of 100 examples: odd"


def test_more_than_one_in_a_hundred_left_out_is_an_error() -> None:
    audit(facts={"train": {"left_out": {"no label": 1}, "examples": 99}})
    with pytest.raises(DataError, match="too many documents are no examples of classification") as caught:
        audit(facts={"train": {"left_out": {"no label": 2}, "examples": 98}})
    assert caught.value.got == "2 of 100 (no label: 2)"


@pytest.mark.parametrize("name", ["train", "validation"])
def test_there_must_be_something_to_predict(name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: no examples of classification"):
        audit({name: split_of(0)})
    with pytest.raises(DataError, match=f"{name}: not one token counts"):
        audit({name: split_of(weight=0.0)})
    audit({name: split_of(weight=0.5)})
    audit({"test": split_of(0)})
