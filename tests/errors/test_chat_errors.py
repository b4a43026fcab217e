"""Conversations that cannot be learned from: each is an error before the first step, or counted and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.errors import DataError
from stepwell.progress import Fact

ROLES = ("user", "assistant")


def said(*turns: str, first: int = 0) -> list[dict[str, str]]:
    return [{"role": ROLES[(n + first) % 2], "content": text} for n, text in enumerate(turns)]


@pytest.fixture
def write(tmp_path: Path, small_text: Callable[..., str]) -> Callable[..., Path]:
    """A table of good conversations and some that are made."""
    lines = [line for line in small_text("en", 60_000).split("\n") if line.strip()]

    def make(bad: Callable[[int, str], Any], bad_rows: int, good_rows: int = 300) -> Path:
        rows = [
            {"messages": said(f"{n}: {lines[n % len(lines)]}", lines[-(n % len(lines)) - 1])} for n in range(good_rows)
        ]
        rows += [bad(n, f"{n}: {lines[(7 * n) % len(lines)]}") for n in range(bad_rows)]
        path = tmp_path / "said.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        return path

    return make


def begin(path: Path, tmp_path: Path, *settings: str) -> list[str]:
    """Begin a run; what the audit says of it."""
    facts: list[str] = []
    small = ["tokenizer.vocab_size=320", "study.sample_tokens=2", "decoding.max_tokens=2", "study.resamples=100",
             "model.num_layers=1", "model.d_model=16", "model.num_heads=1", "model.num_kv_heads=1",
             "model.head_dim=16", "model.d_ff=16"]  # fmt: skip
    api.train(
        text=path,
        steps=1,
        out=tmp_path / "run",
        set=["task=chat", "data.deduplicate=false", *small, *settings],
        watch=lambda event: facts.append(event.text) if isinstance(event, Fact) else None,
    )
    return facts


BAD: dict[str, tuple[Callable[[int, str], Any], str]] = {
    "order": (lambda n, text: {"messages": said(text, "x", first=1)}, "roles out of order: the assistant begins"),
    "twice": (lambda n, text: {"messages": [*said(text), *said(text, "x")]}, "one speaks twice"),
    "role": (lambda n, text: {"messages": [{"role": "narrator", "content": text}]}, "unknown role 'narrator'"),
    "empty": (lambda n, text: {"messages": said(text, " ")}, "an empty answer"),
    "alone": (lambda n, text: {"messages": said(text)}, "no answer"),
    "strings": (lambda n, text: {"messages": [text, text]}, "without role and content"),
    "long": (lambda n, text: {"messages": said(text * 40, "x")}, "no room for an answer"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_many_bad_rows_are_an_error(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    bad, words = BAD[name]
    with pytest.raises(DataError, match="no examples of chat") as caught:
        begin(write(bad, 60), tmp_path, "task.max_tokens=64")
    assert words in str(caught.value)


def test_no_column_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"headline": f"a {n}", "body": "b"}) for n in range(50)), encoding="utf-8")
    with pytest.raises(DataError, match="no column for any part of an example") as caught:
        begin(path, tmp_path)
    assert "messages" in str(caught.value)
    with pytest.raises(DataError, match="no column for the messages"):
        begin(path, tmp_path, "task.messages=talk")


@pytest.mark.slow
def test_few_bad_rows_are_counted_and_named(write: Callable[..., Path], tmp_path: Path) -> None:
    facts = begin(write(BAD["order"][0], 2, 400), tmp_path)
    assert any("no examples (roles out of order: the assistant begins" in fact for fact in facts)
    assert any("of" in fact and "tokens count" in fact for fact in facts)


@pytest.mark.slow
def test_what_ends_with_the_user_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    facts = begin(write(lambda n, text: {"messages": said(text, "x", "and?")}, 60), tmp_path)
    assert any("ends with the user" in fact for fact in facts)


@pytest.mark.slow
def test_what_is_too_long_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    facts = begin(write(lambda n, text: {"messages": said(text, text * 30)}, 20), tmp_path, "task.max_tokens=304")
    assert any("are longer than task.max_tokens (304)" in fact for fact in facts)
    assert any("the end of" in fact and "is cut off" in fact for fact in facts)


@pytest.mark.slow
def test_a_model_that_could_never_stop_is_not_trained(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(lambda n, text: {"messages": said("?", text * 40)}, 300, good_rows=0)
    with pytest.raises(DataError, match="no end is learned"):
        begin(path, tmp_path, "task.max_tokens=32")
