"""What libraries know of a text stands beside it, and the text stays."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepwell.data.documents import Document
from stepwell.data.steps.annotation import annotate
from stepwell.data.steps.annotation.annotate import Annotate, AnnotateConfig, is_chinese
from stepwell.data.steps.annotation.stop_words import CHINESE, ENGLISH
from stepwell.data.steps.step import Outcome, Surroundings
from stepwell.errors import DataError

ENGLISH_TEXT = "The old well isn’t far from New York, said Tom."
CHINESE_TEXT = "王小明在北京大学的图书馆读书，他买了iPhone。"


def do(*texts: str, **settings: Any) -> Outcome:
    return Annotate(AnnotateConfig(**settings), Surroundings()).apply([Document(text, "s") for text in texts])


def columns(text: str, **settings: Any) -> dict[str, Any]:
    outcome = do(text, **settings)
    assert outcome.kept[0].text == text
    return dict(outcome.kept[0].columns)


def test_words() -> None:
    outcome = do(ENGLISH_TEXT, CHINESE_TEXT, "...")
    assert [one.columns["words"] for one in outcome.kept] == [
        ["The", "old", "well", "isn’t", "far", "from", "New", "York", "said", "Tom"],
        ["王小明", "在", "北京大学", "的", "图书馆", "读书", "他", "买", "了", "iPhone"],
        [],
    ]
    assert outcome.findings == {"words": 20}
    assert columns(ENGLISH_TEXT, words=False) == {}


def test_chinese_parts_of_speech_and_names() -> None:
    found = columns(CHINESE_TEXT, parts_of_speech=True, entities=True)
    assert len(found["words"]) == len(found["parts_of_speech"])
    assert dict(zip(found["words"], found["parts_of_speech"], strict=True))["读书"] == "n"
    assert [(CHINESE_TEXT[start:end], kind) for start, end, kind in found["entities"]] == [
        ("王小明", "PERSON"),
        ("北京大学", "ORG"),
    ]


def test_text_without_a_model_is_counted() -> None:
    outcome = do(ENGLISH_TEXT, CHINESE_TEXT, parts_of_speech=True)
    assert "parts_of_speech" not in outcome.kept[0].columns
    assert outcome.findings["documents_without_a_model"] == 1


def test_content_words(tmp_path: Path) -> None:
    assert columns(ENGLISH_TEXT, words=False, content_words=True) == {
        "content_words": ["old", "well", "far", "new", "york", "said", "tom"]
    }
    assert columns(CHINESE_TEXT, words=False, content_words=True)["content_words"] == [
        "王小明", "北京大学", "图书馆", "读书", "买", "iphone"
    ]  # fmt: skip
    path = tmp_path / "stop.txt"
    path.write_text("\ufeffTom\n\n图书馆\n", encoding="utf-8")
    assert "tom" not in columns(ENGLISH_TEXT, content_words=True, stop_words=str(path))["content_words"]
    assert AnnotateConfig(stop_words=str(path)).reads() == (str(path),)


def test_stop_words_are_a_large_part_of_real_text(real_data: Callable[[str], Path]) -> None:
    for file, stop_words, column in (
        ("classification/news.en.jsonl.gz", ENGLISH, "text"),
        ("classification/sentiment.zh.jsonl.gz", CHINESE, "text"),
    ):
        lines = gzip.decompress(real_data(file).read_bytes()).decode().splitlines()[:200]
        found = [columns(json.loads(line)[column], content_words=True) for line in lines]
        words = sum(len(one["words"]) for one in found)
        content = sum(len(one["content_words"]) for one in found)
        assert 0.25 < 1 - content / words < 0.6
        assert not stop_words & {word for one in found for word in one["content_words"]}


def names_of_tests(texts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
    return [[(text.index("Tom"), text.index("Tom") + 3, "PERSON")] if "Tom" in text else [] for text in texts]


def wrong_names(texts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
    return [[(0, 10_000, "PERSON")] for _ in texts]


def test_a_function_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"find": names_of_tests, "wrong": wrong_names, "number": 3}
    made |= {"few": lambda texts: [], "odd": lambda texts: [["x"] for _ in texts]}
    monkeypatch.setitem(sys.modules, "my_names", SimpleNamespace(**made))
    assert columns(ENGLISH_TEXT, entities=True, function="my_names:find")["entities"] == [[43, 46, "PERSON"]]
    assert columns(CHINESE_TEXT, entities=True, function="my_names:find")["entities"] == []
    messages = {"wrong": "outside its text", "few": "for 0 texts", "odd": "no entity", "number": "no function"}
    for name, message in messages.items():
        with pytest.raises(DataError, match=message):
            do(ENGLISH_TEXT, entities=True, function=f"my_names:{name}")
    for path in ("my_names", "my_names:none", "nowhere_at_all:find", ":find"):
        with pytest.raises(DataError, match="no function"):
            do(ENGLISH_TEXT, entities=True, function=path)


@pytest.mark.slow
def test_a_pipeline_of_spacy(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    model = spacy.blank("en")
    model.add_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "New York"}])
    model.add_pipe("attribute_ruler").add(patterns=[[{"LOWER": "the"}]], attrs={"POS": "DET"})
    model.to_disk(tmp_path / "model")
    found = columns(ENGLISH_TEXT, parts_of_speech=True, entities=True, model=str(tmp_path / "model"))
    assert found["words"][:5] == ["The", "old", "well", "is", "n’t"]
    assert found["parts_of_speech"][:2] == ["DET", "X"]
    assert [(ENGLISH_TEXT[start:end], kind) for start, end, kind in found["entities"]] == [("New York", "GPE")]
    spacy.blank("zh").to_disk(tmp_path / "zh")
    by_letters = columns(CHINESE_TEXT, parts_of_speech=True, chinese_model=str(tmp_path / "zh"))
    assert by_letters["words"][:3] == ["王", "小", "明"]
    assert "parts_of_speech" not in by_letters


def test_chinese_is_told_from_the_rest() -> None:
    assert is_chinese(CHINESE_TEXT)
    assert is_chinese("买iPhone手机的人很多")
    assert not is_chinese(ENGLISH_TEXT)
    assert not is_chinese("東京の天気はどうですか")
    assert annotate.Annotate.place == "after_split"  # a cut would part a text from its words
