"""Training documents that a trained checkpoint writes: a beginning goes on, there and back, the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    assert [Path(one).name for one in config.reads()].count("manifest.json") >= 1
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
