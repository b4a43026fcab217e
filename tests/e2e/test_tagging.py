"""Tags from a table to answers: a small rule that a model must learn, in English and in Chinese."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from stepwell import api

SMALL = ["model.num_layers=1", "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=2", "model.head_dim=16",
         "model.d_ff=64", "model.max_seq_len=64", "model.task_head.ngrams.num_buckets=4096",
         "study.resamples=100"]  # fmt: skip

FAMILIES, FIRST, PLACES = "王李张刘陈", "伟芳娜敏静强磊", ["上海", "北京", "南京", "天津"]
NAMES = ["Anna", "Paul", "Mary", "Tom", "Lena", "Max", "Ida", "Noah"]
TOWNS = ["Paris", "Rome", "Oslo", "New York", "Cape Town", "Lima"]


def english(rng: random.Random) -> dict[str, Any]:
    """Who stands before `met` or behind it is a person, what follows `in` a place."""
    first, second = rng.sample(NAMES, 2)
    parts = [(first, "person"), ("met", ""), (second, "person"), ("in", ""), (rng.choice(TOWNS), "place")]
    parts += [
        (rng.choice(["today", "again", "at noon", "by chance", "for the first time", "yesterday evening"]), ""),
        (".", ""),
    ]
    return tagged([(part.split(), kind) for part, kind in parts])


def chinese(rng: random.Random) -> dict[str, Any]:
    person = rng.choice(FAMILIES) + "".join(rng.sample(FIRST, rng.randint(1, 2)))
    time = rng.choice(["昨天", "今天早上", "去年", "下午"])
    parts = [(time, ""), (person, "人名"), ("去了", ""), (rng.choice(PLACES), "地名"), (rng.choice(["。", "玩。"]), "")]
    return tagged([(list(part), kind) for part, kind in parts])


def tagged(parts: list[tuple[list[str], str]]) -> dict[str, Any]:
    tokens = [word for words, _ in parts for word in words]
    tags = [
        f"{'I' if number else 'B'}-{kind}" if kind else "O" for words, kind in parts for number in range(len(words))
    ]
    return {"tokens": tokens, "tags": tags}


def write(path: Path, make: Any, count: int, seed: int) -> Path:
    rng = random.Random(seed)
    rows = {json.dumps(make(rng), ensure_ascii=False) for _ in range(count)}
    path.write_text("\n".join(sorted(rows)), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_rule_is_learned_measured_and_asked(tmp_path: Path, stepwell: Any, language: str) -> None:
    make = english if language == "en" else chinese
    data = write(tmp_path / "names.jsonl", make, 1500, 1)
    vocabulary = [] if language == "zh" else ["tokenizer.vocab_size=400"]
    api.train(text=data, steps=80, out=tmp_path / "run", set=["task=tagging", *SMALL, *vocabulary])

    held = write(tmp_path / "held.jsonl", make, 60, 99)
    measured = api.evaluate(tmp_path / "run", held)
    assert measured["task"] == "tagging"
    assert measured["metrics"]["span_f1"]["value"] > 0.9
    assert measured["metrics"]["loss"]["value"] < 0.3

    text, spans = {
        "en": ("Lena met Paul in New York again.", [("person", "Lena"), ("person", "Paul"), ("place", "New York")]),
        "zh": ("今天早上王芳去了上海玩。", [("人名", "王芳"), ("地名", "上海")]),
    }[language]
    ((answer,),) = api.predict(tmp_path / "run", text)
    assert [(one["type"], one["text"]) for one in answer.found] == spans
    assert all(text[one["start"] : one["end"]] == one["text"] for one in answer.found)
    assert all(0 < one["probability"] <= 1 for one in answer.found)
    kind, word = spans[0]
    assert f"[{word} {kind}]" in answer.text
    shown = stepwell("predict", tmp_path / "run", "--prompt", text)
    assert shown.out.strip() == answer.text
    said = json.loads(stepwell("predict", tmp_path / "run", "--prompt", text, "--json").out)
    assert json.dumps(answer.found[0]["text"], ensure_ascii=False) in json.dumps(said, ensure_ascii=False)


@pytest.mark.slow
def test_parts_of_speech_are_told_word_by_word(tmp_path: Path) -> None:
    rng, kinds = (
        random.Random(3),
        {"DET": ["the", "a"], "NOUN": ["boat", "river", "lamp", "map"], "VERB": ["sees", "has"]},
    )
    rows = set()
    for _ in range(3000):
        tags = ["DET", "NOUN", "VERB", "DET", "NOUN", *rng.choice([[], ["VERB", "DET", "NOUN"]])]
        rows.add(json.dumps({"words": " ".join(rng.choice(kinds[tag]) for tag in tags), "pos_tags": " ".join(tags)}))
    (tmp_path / "pos.jsonl").write_text("\n".join(sorted(rows)), encoding="utf-8")
    settings = [*SMALL, "tokenizer.vocab_size=300"]
    result = api.train(text=tmp_path / "pos.jsonl", steps=40, out=tmp_path / "run", set=["task=tagging", *settings])
    assert result["metric"] == "token_accuracy"
    ((answer,),) = api.predict(tmp_path / "run", "a lamp has the map")
    assert answer.text == "a/DET lamp/NOUN has/VERB the/DET map/NOUN"
