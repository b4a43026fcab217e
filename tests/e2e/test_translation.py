"""Pairs from a table to translations: words of one language that are written in another, from back to front.

A model that only counts words, or that copies, cannot do it; both families of models learn it in a few hundred steps.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.errors import DataError, UsageError

ENGLISH = ["red", "blue", "green", "one", "two", "three", "well", "stair"]
CHINESE = ["红", "蓝", "绿", "一", "二", "三", "井", "梯"]
FRENCH = ["rouge", "bleu", "vert", "un", "deux", "trois", "puits", "escalier"]
SMALL = ["study.resamples=100", "training.global_batch_tokens=1024", "tokenizer.vocab_size=300",
         "training.optimizer.learning_rate=0.02", "training.optimizer.adamw_learning_rate=0.005",
         "model.d_model=48", "model.num_heads=3", "model.num_kv_heads=3", "model.head_dim=16", "model.d_ff=96",
         "model.num_layers=2", "model.dropout=0", "training.evaluate_every_steps=200"]  # fmt: skip


def write(path: Path, count: int, seed: int, words: list[str] = CHINESE) -> Path:
    """Rows, each once."""
    rng = random.Random(seed)
    rows = set()
    while len(rows) < count:
        numbers = [rng.randrange(len(ENGLISH)) for _ in range(rng.randint(2, 5))]
        source = " ".join(ENGLISH[n] for n in numbers)
        target = ("" if words is CHINESE else " ").join(words[n] for n in reversed(numbers))
        rows.add(json.dumps({"en": source, "zh" if words is CHINESE else "fr": target}, ensure_ascii=False))
    path.write_text("\n".join(sorted(rows)), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("family", ["encoder_decoder", pytest.param("decoder", marks=pytest.mark.proof)])
def test_pairs_are_learned_measured_and_asked(tmp_path: Path, stepwell: Any, family: str) -> None:
    data = write(tmp_path / "pairs.jsonl", 1500, 1)
    kind = [f"model.kind={family}", *(["model.num_encoder_layers=2"] if "encoder" in family else [])]
    api.train(text=data, task="translation", steps=180, out=tmp_path / "run", set=[*kind, *SMALL])

    held = write(tmp_path / "held.jsonl", 60, 99)
    measured = api.evaluate(tmp_path / "run", held)
    assert measured["task"] == "translation"
    assert "tok:zh" in measured["signatures"]["bleu"]  # found in the targets, and a part of the model
    values = {name: one["value"] for name, one in measured["metrics"].items()}
    assert values["bleu"] > 90
    assert values["chrf"] > 90
    assert values["ter"] < 10
    assert values["loss"] < 0.3  # label smoothing leaves some
    assert values["stop_ratio"] > 0.98  # the end is learned

    answers = api.predict(tmp_path / "run", ["red well", "two green stair"])
    assert [some[0].text for some in answers] == ["井红", "梯绿二"]
    assert all(some[0].finish_reason == "stop" for some in answers)
    best = api.predict(tmp_path / "run", {"en": "blue blue one"}, {"n": 2})[0]
    assert best[0].text == "一蓝蓝" != best[1].text

    found = stepwell("predict", str(tmp_path / "run"), "--prompt", "three stair")
    assert "梯三" in found.out

    written = tmp_path / "written.jsonl"
    stepwell("predict", str(tmp_path / "run"), "--input", str(held), "--rows", str(written))
    asked, rows = ([json.loads(line) for line in file.read_text("utf-8").splitlines()] for file in (held, written))
    assert [row["en"] for row in rows] == [row["en"] for row in asked]
    assert sum(row["zh"] == other["zh"] for row, other in zip(rows, asked, strict=True)) > 0.9 * len(rows)
    taught = api.train(text=written, task="translation", steps=2, out=tmp_path / "taught", set=[*kind, *SMALL])
    assert taught["steps"] == 2  # another model learns what this one wrote
    again = stepwell("predict", str(tmp_path / "run"), "--input", str(held), "--rows", str(written))
    assert again.code != 0
    assert "--rows" in again.err

    same = api.compare(tmp_path / "run", tmp_path / "run", held)
    assert same["metrics"]["bleu"]["difference"]["value"] == 0


@pytest.mark.slow
def test_a_run_chooses_its_search_and_shows_what_it_writes(tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", 900, 1, FRENCH)
    sizes = [*SMALL, "model.num_encoder_layers=2", "training.steps=60", "study.max_rounds=2"]
    result = api.run(data=data, task="translation", out=tmp_path / "run", set=sizes)
    assert result["metric"] == "bleu"
    assert (tmp_path / "run" / "report.html").exists()
    recipe = (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
    assert "target_language: fr" in recipe
    assert "kind: pairs" in recipe
    line = json.loads((tmp_path / "run" / "journal.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert len(line["samples"]) > 3
    assert all(one["text"] for one in line["samples"])


def test_source_without_target_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_text("\n".join(f'{{"source": "line {n}"}}' for n in range(3000)), encoding="utf-8")
    with pytest.raises(DataError, match="target"):
        api.train(text=tmp_path / "half.jsonl", task="translation", steps=2, out=tmp_path / "run")


@pytest.mark.parametrize(("value", "why"), [("null", "no target"), ('"  "', "empty target")])
def test_too_many_rows_without_a_target_are_an_error(tmp_path: Path, value: str, why: str) -> None:
    lines = [f'{{"source": "line number {n}", "target": {value if n % 10 == 0 else chr(34) + f"zeile {n}" + chr(34)}}}'
             for n in range(2000)]  # fmt: skip
    (tmp_path / "half.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="no examples") as caught:
        api.train(text=tmp_path / "half.jsonl", task="translation", steps=2, out=tmp_path / "run", set=SMALL)
    assert why in str(caught.value.got)


def test_a_family_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", 1500, 1)
    with pytest.raises(UsageError, match="learns no translation"):
        api.train(text=data, task="translation", steps=2, out=tmp_path / "run", set=["model.kind=encoder"])
