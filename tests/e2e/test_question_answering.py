"""Questions from a table to answers: a small world that a model must learn to look things up in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell import api

SMALL = ["model.num_layers=1", "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=2", "model.head_dim=16",
         "model.d_ff=64", "model.max_seq_len=64", "study.resamples=100", "task=question_answering"]  # fmt: skip

WORDS = {
    "en": {
        "who": ["Anna", "Paul", "Mary", "Tom", "Lena", "the miller", "a sailor"],
        "what": ["a lamp", "the red boat", "two coins", "a letter", "the old map"],
        "where": ["Rome", "the market", "Oslo", "a garden", "New York"],
    },
    "zh": {
        "who": ["王芳", "老渔夫", "小姑娘", "陈伟", "木匠"],
        "what": ["一盏灯", "一条小船", "七封信", "旧地图"],
        "where": ["上海", "河边", "花园", "集市上"],
    },
}
ASKED = {
    "en": {"who": "Who found it?", "what": "What was found?", "where": "Where was that?"},
    "zh": {"who": "谁找到的？", "what": "找到了什么？", "where": "在哪里？"},
}


def told(rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
    """A sentence among others, and what it says; now and then it does not say where."""
    chosen = {name: rng.choice(several) for name, several in WORDS[language].items()}
    if rng.random() < 0.4:
        del chosen["where"]
    number = rng.randint(10, 99)
    if language == "en":
        place = f" in {chosen['where']}" if "where" in chosen else ""
        return f"It was day {number}. Then {chosen['who']} found {chosen['what']}{place}. It rained.", chosen
    place = f"在{chosen['where']}" if "where" in chosen else ""
    return f"第{number}天。后来{chosen['who']}{place}找到了{chosen['what']}。下雨了。", chosen


def rows(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Every question about each text, as SQuAD writes them."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        text, right = told(rng, language)
        for name, question in ASKED[language].items():
            texts = [right[name]] if name in right else []
            answers = {"text": texts, "answer_start": [text.index(one) for one in texts]}
            found.append({"question": question, "context": text, "answers": answers})
    return found


def write(path: Path, several: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in several), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_answers_are_found_measured_and_asked(
    tmp_path: Path, stepwell: Callable[..., Any], language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "told.jsonl", rows(language, 400, 1))
    vocabulary = [] if language == "zh" else ["tokenizer.vocab_size=400"]
    windows = ["task.max_tokens=28", "task.stride_tokens=5"]  # texts are read in two windows or more
    api.train(data=data, steps=150, out=tmp_path / "run", set=[*SMALL, *vocabulary, *windows])

    held = write(tmp_path / "held.jsonl", rows(language, 30, 99))
    measured = api.evaluate(tmp_path / "run", held)
    assert (measured["task"], measured["num_examples"]) == ("question_answering", 90)
    values = {name: one["value"] for name, one in measured["metrics"].items()}
    assert values["exact_match"] > 0.9
    assert values["f1"] >= values["exact_match"]
    assert values["no_answer_accuracy"] > 0.8

    text, right = told(random.Random(5), language)
    assert "where" in right
    asked = [{"question": question, "context": text} for question in ASKED[language].values()]
    answers = api.predict(tmp_path / "run", asked)
    assert [some[0].text for some in answers] == list(right.values())
    for (answer,) in answers:
        (place,) = answer.found
        assert text[place["start"] : place["end"]] == place["text"] == answer.text
        assert 0.2 < place["probability"] <= 1
    (row,) = api.answer_rows(tmp_path / "run", asked[:1])
    likely = answers[0][0].found[0]["probability"]
    assert row == {**asked[0], "answers": [right["who"]], "probability": pytest.approx(likely)}
    (several,) = api.predict(tmp_path / "run", asked[:1], {"n": 4})
    probabilities = [one.found[0]["probability"] for one in several if one.found]
    assert several[0].text == right["who"]
    assert len({one.text for one in several}) == 4
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 1 + 1e-6

    written = write(tmp_path / "asked.jsonl", asked)
    said = json.loads(stepwell("predict", tmp_path / "run", "--input", written, "--json").out)
    assert [one["text"] for one in said["completions"]] == list(right.values())
    shown = stepwell("predict", tmp_path / "run", "--input", written).out.splitlines()
    starts = [text.index(one) for one in right.values()]
    assert all(
        f"{one}  " in line and f"characters {start} to {start + len(one)}" in line
        for one, start, line in zip(right.values(), starts, shown, strict=True)
    )


@pytest.mark.slow
def test_a_model_that_was_trained_before_and_one_that_writes(tmp_path: Path) -> None:
    data = write(tmp_path / "told.jsonl", rows("en", 150, 2))
    plain = tmp_path / "plain.txt"
    plain.write_text("\n\n".join(row["context"] for row in rows("en", 600, 3)), encoding="utf-8")
    sizes = [one for one in SMALL if not one.startswith("task")]
    api.train(
        text=plain, steps=2, out=tmp_path / "encoder", set=[*sizes, "model.kind=encoder", "tokenizer.vocab_size=400"]
    )
    begun = api.train(
        data=data,
        steps=2,
        out=tmp_path / "tuned",
        set=["task=question_answering", f"init_from={tmp_path / 'encoder'}", "study.resamples=100"],
    )
    assert begun["metric"] == "f1"
    for kind in ("encoder_decoder", "decoder"):
        out = tmp_path / kind
        api.train(
            data=data, steps=2, out=out, set=[*SMALL, "task.mode=generative", f"model.kind={kind}",
                                              "tokenizer.vocab_size=400"],
        )  # fmt: skip
        ((said,),) = api.predict(out, {"question": "Who found it?", "context": "Tom found a lamp."}, {"max_tokens": 5})
        assert isinstance(said.text, str)
        measured = api.evaluate(out, write(tmp_path / "held.jsonl", rows("en", 4, 9)))
        assert {"exact_match", "f1", "no_answer_accuracy", "loss"} <= set(measured["metrics"])
