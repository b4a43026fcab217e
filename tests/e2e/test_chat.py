"""Conversations from a table to answers: a small rule over two turns, and models that are compared by a judge."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.checkpoints import load_checkpoint

pytestmark = pytest.mark.slow

WORDS = {
    "en": ["red", "blue", "green", "one", "two", "three", "cat", "dog", "sun", "moon"],
    "zh": list("红蓝绿一二三猫狗日月"),
}
ASKED = {"en": ("say {} then {} {}", "now the other way"), "zh": ("先说{}，再说{}，{}", "反过来说")}
SMALL = ["tokenizer.vocab_size=320", "model.num_layers=2", "model.d_model=64", "model.num_heads=2",
         "model.num_kv_heads=2", "model.head_dim=32", "model.d_ff=128", "training.global_batch_tokens=2048",
         "data.deduplicate=false", "study.resamples=100", "training.evaluate_every_steps=200"]  # fmt: skip
GREEDY = {"temperature": 0}


def conversation(language: str, first: str, second: str, number: int) -> list[dict[str, str]]:
    """Two words are said as they come, and then the other way round."""
    begin, turn = ASKED[language]
    return [
        {"role": "user", "content": begin.format(first, second, number)},
        {"role": "assistant", "content": f"{first} {second}"},
        {"role": "user", "content": turn},
        {"role": "assistant", "content": f"{second} {first}"},
    ]


def write(path: Path, language: str, count: int, seed: int) -> Path:
    rng, rows = random.Random(seed), []
    for _ in range(count):
        first, second = rng.sample(WORDS[language], 2)
        said = conversation(language, first, second, rng.randrange(1000))
        rows.append({"conversations": [{"from": one["role"], "value": one["content"]} for one in said]})
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def longer(messages: Any, first: str, second: str) -> str:
    """A judge that likes many words."""
    return "tie" if len(first) == len(second) else "a" if len(first) > len(second) else "b"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_rule_is_learned_measured_and_asked(tmp_path: Path, stepwell: Callable[..., Any], language: str) -> None:
    data, run = write(tmp_path / "said.jsonl", language, 2500, 1), tmp_path / "run"
    api.train(text=data, steps=110, out=run, set=["task=chat", *SMALL])
    first, second = WORDS[language][:2]
    said = conversation(language, first, second, 7)

    assert api.predict(run, said[0]["content"], GREEDY)[0][0].text == f"{first} {second}"
    (one,) = api.predict(run, said[:3], GREEDY)[0]
    assert (one.text, one.finish_reason) == (f"{second} {first}", "stop")
    assert [some[0].text for some in api.predict(run, [{"messages": said}, {"messages": said[:1]}], GREEDY)] == [
        f"{second} {first}",
        f"{first} {second}",
    ]
    streamed = list(api.stream(run, said[:3], GREEDY))
    assert "".join(piece.text for piece in streamed) == f"{second} {first}"
    shown = stepwell("predict", run, "--prompt", said[0]["content"], "--temperature", "0")
    assert shown.out.strip() == f"{first} {second}"

    held = write(tmp_path / "held.jsonl", language, 60, 99)
    measured = api.evaluate(run, held)
    values = {name: metric["value"] for name, metric in measured["metrics"].items()}
    assert measured["task"] == "chat"
    assert values["loss"] < 0.05
    assert (values["stop_rate"], values["format_rate"]) == (1, 1)


def test_a_tuned_model_beside_its_base(
    tmp_path: Path, small_text: Callable[..., str], stepwell: Callable[..., Any]
) -> None:
    """A model of plain text has no template: it gets one, is measured as a chat model, and learns to stop."""
    (tmp_path / "text.txt").write_text(small_text("en", 40_000), encoding="utf-8")
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    api.train(text=tmp_path / "text.txt", steps=20, out=base, set=SMALL)
    data = write(tmp_path / "said.jsonl", "en", 1500, 2)
    settings = ["task=chat", f"init_from={base}", "training.optimizer.learning_rate=0.01", "study.resamples=100",
                "data.deduplicate=false", "training.adapter={kind: lora, rank: 8}",
                "training.adapter.targets=[qkv, out, up, down]"]  # fmt: skip
    api.train(text=data, steps=60, out=tuned, set=settings)
    loaded = load_checkpoint(tuned)
    assert loaded.tokenizer.chat_template is not None
    assert loaded.tokenizer.vocab_size == load_checkpoint(base).tokenizer.vocab_size

    held = write(tmp_path / "held.jsonl", "en", 40, 98)
    before = api.evaluate(base, held, task="chat")["metrics"]
    compared = api.compare(tuned, base, held, judge=longer)
    loss = compared["metrics"]["loss"]
    assert loss["better"] == "first"
    assert loss["second"]["value"] == pytest.approx(before["loss"]["value"])
    judged = compared["judged"]
    assert (judged["judge"], judged["num_examples"]) == ("longer", 20)
    assert 0 <= judged["win_rate"]["value"] <= 1
    assert judged["judge_agreement"]["value"] == 1

    shown = stepwell("compare", tuned, base, "--data", held, "--judge", tuned)
    assert shown.code == 0, shown.err
    assert "the first wins" in shown.out
    refused = stepwell("compare", tuned, base, "--data", held, "--judge", "no_such_module:judge")
    assert refused.code != 0
    assert "no function no_such_module:judge" in refused.err


def test_ways_of_asking_and_drawing_are_tried(tmp_path: Path, small_text: Callable[..., str]) -> None:
    """`generation` is plain text that is judged by what is written of it."""
    (tmp_path / "text.txt").write_text(small_text("en", 60_000), encoding="utf-8")
    settings = ["task={kind: generation, texts: 8}", *SMALL]
    result = api.train(text=tmp_path / "text.txt", steps=40, out=tmp_path / "run", set=settings)
    assert (result["task"], result["metric"]) == ("generation", "bits_per_byte")
    plain = api.train(text=tmp_path / "text.txt", steps=40, out=tmp_path / "plain", set=SMALL)
    assert plain["value"] == result["value"], "training is that of language modelling, to the bit"
    measured = api.evaluate(tmp_path / "run", tmp_path / "text.txt")["metrics"]
    assert {"bits_per_byte", "distinct_1_within", "distinct_2_within", "distinct_3_within"} <= measured.keys()
    assert 0 <= measured["variety_gap"]["value"] <= 1
    assert api.predict(tmp_path / "run", "the old ", {"max_tokens": 5})[0][0].text


def test_a_budget_is_planned_for_long_conversations(tmp_path: Path) -> None:
    """Speed is measured on rows that take the longest example, and so is the batch."""
    rng = random.Random(3)
    rows = [
        {"messages": [{"role": "user", "content": f"count {number}"},
                      {"role": "assistant", "content": " ".join(rng.choices(WORDS["en"], k=700))}]}
        for number in range(120)
    ]  # fmt: skip
    data = tmp_path / "said.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    planned = api.plan(text=data, budget="1m", out=tmp_path / "run", set=["task={kind: chat, max_tokens: 1200}"])
    assert planned["training"]["row_tokens"] == 1200
    assert planned["training"]["global_batch_tokens"] >= 1200
    assert planned["model"]["max_seq_len"] == 1200
