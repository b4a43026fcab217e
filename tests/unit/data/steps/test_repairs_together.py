"""Cleaning, boilerplate, languages and columns in one preparation: the same whoever does it, and accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepwell.data import DataConfig, prepare_text
from stepwell.data.engines import Engine
from stepwell.data.prepare import PreparedText

FRENCH = "Les gens du village viennent chaque matin au puits pour chercher de l'eau et parler du temps qu'il fait."
NAMES = ["Marie", "Jean", "Pierre", "Louise", "Claire", "Paul", "Jeanne", "Henri", "Lucie", "Marcel", "Odile", "Gaston"]
STEPS: list[Any] = [
    "clean",
    "boilerplate",
    {"kind": "language", "keep": ["en", "zh"], "paragraphs": True},
    {"kind": "annotate", "content_words": True},
]


@pytest.fixture
def folder(tmp_path: Path, small_text: Any) -> Path:
    """Pages in two languages with planted faults, in two files."""
    path = tmp_path / "pages"
    path.mkdir()
    for language in ("en", "zh"):
        bodies = small_text(language, 60_000).strip().split("\n\n")
        with (path / f"{language}.jsonl").open("w", encoding="utf-8") as file:
            for number, body in enumerate(bodies):
                text = f"Home | News\n{body}\n{body[::-1]}" if number % 3 == 0 else body
                if number % 5 == 0:
                    text = text.encode().decode("latin-1")
                if number % 7 == 0:
                    text = f"{text}\n{FRENCH} {NAMES[number % len(NAMES)]}"  # no line is boilerplate
                if number % 50 == 1:
                    text = FRENCH
                file.write(json.dumps({"text": text}) + "\n")
    return path


def prepare(folder: Path, into: Path, engine: Engine) -> PreparedText:
    config = DataConfig.model_validate({"sources": [str(folder)], "steps": STEPS, "deduplicate": False})
    return prepare_text(config, into, engine=engine, workers=2)


def test_planted_faults_are_gone(folder: Path, tmp_path: Path) -> None:
    prepared = prepare(folder, tmp_path / "out", "serial")
    texts = list(prepared.texts("train"))
    assert not any("Home | News" in text or FRENCH in text or "â" in text or "å" in text for text in texts)
    steps = {step.kind: step for step in prepared.facts.steps}
    assert steps["clean"].changed["mojibake"] > 20
    assert steps["boilerplate"].findings["line: home | news"] > 50
    assert set(steps["language"].dropped) <= {"other_language", "unclear_language"}  # letters backwards are no language
    assert steps["language"].dropped["other_language"] >= 5
    assert steps["language"].changed["paragraphs"] > 20
    columns = prepared.columns("train")
    assert {one["language"] for one in columns} == {"en", "zh"}
    assert all(set(one["words"]) for one in columns)
    assert all("的" not in one["content_words"] for one in columns)


@pytest.mark.slow
def test_the_same_in_several_processes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.data.pipeline.READ_TOGETHER_BYTES", 1)  # a shard for each file
    alone = prepare(folder, tmp_path / "alone", "serial")
    together = prepare(folder, tmp_path / "together", "processes")
    assert list(together.texts("train")) == list(alone.texts("train"))
    assert together.columns("train") == alone.columns("train")
    assert [step.findings for step in together.facts.steps] == [step.findings for step in alone.facts.steps]
