"""Bad settings and lists of the step `augment` say what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.config import build
from stepwell.data import DataConfig
from stepwell.data.documents import Document
from stepwell.data.steps.augmentation.augment import Augment
from stepwell.data.steps.augmentation.augment_config import AugmentConfig
from stepwell.data.steps.step import Surroundings
from stepwell.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "methods"),
        ({"methods": []}, "methods"),
        ({"methods": ["shuffle"]}, "dropout"),
        ({"methods": [{"kind": "dropout", "ratio": 0}]}, "ratio"),
        ({"methods": ["swap"], "rate": -1}, "rate"),
        ({"methods": ["synonyms"]}, "path"),
        ({"methods": [{"kind": "back_translation", "there": "a", "back": "b", "prompt_there": "x"}]}, "{text}"),
        ({"methods": [{"kind": "generation", "checkpoint": "a", "prompt": "x"}]}, "{beginning}"),
        ({"methods": [{"kind": "generation", "checkpoint": "a", "prompt": "{text.__class__}"}]}, "only names"),
        ({"methods": [{"kind": "generation", "checkpoint": "a", "prompt": "{text"}]}, "prompt"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(DataConfig, {"sources": ["a"], "steps": [{"kind": "augment", **settings}]}, where="test")
    assert words in str(error.value)


def test_made_before_the_split_is_refused() -> None:
    steps = [{"kind": "augment", "methods": ["swap"]}, "protect"]
    with pytest.raises(ConfigError, match="protect before augment"):
        build(DataConfig, {"sources": ["a"], "steps": steps}, where="test")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tsv", "big\n", "line 1"),
        ("a.tsv", "big\tlarge\nsmall\t \n", "line 2"),
        ("a.tsv", "big\tBIG\n", "line 1"),
        ("a.tsv", "\n", "no synonyms"),
        ("a.jsonl", '{"word": "big"}\n', "line 1"),
        ("a.jsonl", '{"word": "big", "synonyms": "large"}\n', "line 1"),
        ("a.jsonl", "big\tlarge\n", "line 1"),
        ("a.tsv", None, "cannot be read"),
    ],
)
def test_a_list_of_synonyms_that_cannot_be_used(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    config = build(AugmentConfig, {"methods": [{"kind": "synonyms", "path": str(tmp_path / name)}]}, where="test")
    with pytest.raises(DataError, match=words):
        Augment(config, Surroundings())


def test_models_that_cannot_be_asked() -> None:
    method = {"kind": "generation", "checkpoint": "a", "prompt": "{label}: {beginning}"}
    config = build(AugmentConfig, {"methods": [method]}, where="test")
    with pytest.raises(DataError, match="generation needs a model"):
        Augment(config, Surroundings())
    document = Document("one two three", "a", split="train")
    with pytest.raises(DataError, match="no column label"):
        Augment(config, Surroundings(open_model=lambda path: lambda prompts: prompts)).apply([document])
    with pytest.raises(DataError, match="0 texts"):
        Augment(config, Surroundings(open_model=lambda path: lambda prompts: [])).apply(
            [document.with_columns({"label": 1})]
        )
