"""Duplicates and leaks in a whole preparation: the same whoever works and however text is cut to shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepwell.data import DataConfig, prepare_text
from stepwell.data.prepare import PreparedText

STEPS = (
    {"kind": "duplicates", "paragraphs": True, "lines": True},
    {"kind": "near_duplicates", "threshold": 0.7},
    {"kind": "decontaminate", "action": "drop"},
)


@pytest.fixture
def sources(tmp_path: Path, small_text) -> tuple[str, ...]:
    """Files of texts of both languages; in each there are texts of the one before, whole, edited and in parts."""
    names = []
    before: list[str] = []
    for number in range(5):
        paragraphs = small_text("mixed", 15_000, seed=number).split("\n\n")
        texts = ["\n\n".join(paragraphs[start : start + 4]) for start in range(0, len(paragraphs), 4)]
        edited = [text.replace("\n\n", "\n\nThat is, ") for text in before[:20:4]]
        names.append(str(tmp_path / f"{number}.jsonl"))
        lines = [json.dumps({"text": text}) + "\n" for text in [*texts, *before[1:20:4], *edited]]
        Path(names[-1]).write_text("".join(lines), encoding="utf-8")
        before = texts
    return tuple(names)


def prepared(sources: tuple[str, ...], folder: Path, steps: Sequence[object], engine: str = "serial") -> PreparedText:
    return prepare_text(DataConfig(sources=sources, steps=steps), folder, engine=engine, workers=2)


def check_same(one: PreparedText, other: PreparedText) -> None:
    assert [step.dropped for step in one.facts.steps] == [step.dropped for step in other.facts.steps]
    assert [step.findings for step in one.facts.steps] == [step.findings for step in other.facts.steps]
    for split in ("train", "validation", "test"):
        assert list(one.texts(split)) == list(other.texts(split))


def test_shards_change_nothing(tmp_path: Path, sources, monkeypatch) -> None:
    whole = prepared(sources, tmp_path / "whole", STEPS)
    monkeypatch.setattr("stepwell.data.pipeline.READ_TOGETHER_BYTES", 1)
    check_same(prepared(sources, tmp_path / "parts", STEPS), whole)
    dropped = {reason for step in whole.facts.steps for reason in step.dropped}
    assert {"same_document", "near_duplicate", "leak"} <= dropped
    assert whole.facts.steps[1].changed["repeated_paragraphs"] > 0


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, sources, monkeypatch) -> None:
    monkeypatch.setattr("stepwell.data.pipeline.READ_TOGETHER_BYTES", 1)
    alone = prepared(sources, tmp_path / "alone", STEPS[1:2])
    check_same(prepared(sources, tmp_path / "together", STEPS[1:2], "processes"), alone)
    assert alone.facts.steps[1].dropped["near_duplicate"] > 10
