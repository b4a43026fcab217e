"""What steps ask a trained checkpoint for: training documents that it writes, and vectors of texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.checkpoints import resolve_checkpoint
from stepwell.config import build
from stepwell.data.documents import Document
from stepwell.data.steps.augmentation.augment import Augment
from stepwell.data.steps.augmentation.augment_config import AugmentConfig
from stepwell.data.steps.step import Surroundings
from stepwell.studies.making import open_text_maker


@pytest.mark.slow
def test_a_checkpoint_writes_more_training_documents(trained_run: Path, small_text) -> None:
    texts = [paragraph for paragraph in small_text("mixed", 3_000, seed=5).split("\n\n") if paragraph.strip()][:8]
    documents = [Document(text, "a", split="train", columns={"label": n}) for n, text in enumerate(texts)]
    documents.append(Document(texts[0] + "!", "a", split="validation"))
    methods = [
        {"kind": "generation", "checkpoint": str(trained_run), "stop": None},
        {"kind": "back_translation", "there": str(trained_run), "back": str(trained_run)},
    ]
    config = build(AugmentConfig, {"methods": methods, "rate": 2}, where="test")
    assert set(config.models()) == {str(trained_run)}
    outcome = Augment(config, Surroundings(0, open_text_maker)).apply(documents)
    made = [one for one in outcome.kept if "augmented" in one.columns]
    assert {one.columns["augmented"] for one in made} == {"generation", "back_translation"}
    assert outcome.kept[-1] == documents[-1]
    for one in made:
        original = documents[one.columns["label"]]
        assert one.text.strip()
        assert one.text != original.text
        if one.columns["augmented"] == "generation":
            assert one.text[:4] == original.text[:4]
    assert Augment(config, Surroundings(0, open_text_maker)).apply(documents[2:5]).kept == [
        one for one in outcome.kept if one.columns.get("label") in (2, 3, 4)
    ]


@pytest.mark.slow
def test_prepare_asks_models_whoever_works_and_knows_them_by_their_weights(
    stepwell: Callable[..., Any], trained_run: Path, small_text, tmp_path: Path
) -> None:
    model, rows = tmp_path / "model", [{"text": one} for one in small_text("mixed", 60_000, seed=3).split("\n\n")]
    shutil.copytree(resolve_checkpoint(trained_run), model)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, [*rows[:60], *rows])), encoding="utf-8")
    same_words = {"kind": "semantic_duplicates", "model": str(model), "threshold": 0.999}
    more = {"kind": "augment", "rate": 0.05, "methods": [{"kind": "generation", "checkpoint": str(model)}]}
    words = ["prepare", "--text", tmp_path / "rows.jsonl", "--json", "--out"]
    settings = ["--set", "tokenizer.vocab_size=300", f"data.steps={json.dumps([same_words, more])}"]
    found = []
    for engine in ("serial", "processes"):
        ran = stepwell(*words, tmp_path / engine, *settings, "--engine", engine)
        assert ran.code == 0, ran.err
        result = json.loads(ran.out)
        steps = [{**one, "seconds": 0, "bytes_per_second": 0} for one in result["steps"]]
        found.append((Path(result["text"]).name, steps, result["tokenizer"]))
    assert found[0] == found[1]
    dropped, made = (next(one for one in found[0][1] if one["kind"] == kind["kind"]) for kind in (same_words, more))
    assert dropped["dropped"]["says_the_same"] >= 60
    assert made["documents_out"] > made["documents_in"]

    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    (model / "manifest.json").write_text(json.dumps(manifest, indent=4), encoding="utf-8")
    again = json.loads(stepwell(*words, tmp_path / "serial", *settings).out)
    assert Path(again["text"]).name != found[0][0]
    shutil.rmtree(model)
    gone = stepwell(*words, tmp_path / "serial", *settings)
    assert gone.code != 0
    assert f"{model}: no such folder" in gone.err
