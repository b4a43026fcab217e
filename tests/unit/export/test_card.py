"""The model card of a task: what it is for, every metric, the simple models, and what is not in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepwell.checkpoints import Loaded
from stepwell.export.card import model_card
from stepwell.models import EncoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 280, "max_seq_len": 64, "num_layers": 1, "d_model": 16, "num_heads": 2, "num_kv_heads": 2,
    "head_dim": 8, "d_ff": 16,
}  # fmt: skip
RESULT: dict[str, Any] = {
    "task": "classification", "metric": "macro_f1", "seconds": 75.0, "test": None,
    "validation": {"macro_f1": {"value": 0.81234, "low": 0.8, "high": 0.83},
                   "calibration_error": {"value": None, "low": None, "high": None}},
    "baselines": [{"name": "majority", "macro_f1": 0.1, "accuracy": 0.2}, {"name": "other"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))


def card_of(root: Path, tokenizer: Tokenizer, task: dict[str, Any], *, head: bool = True) -> str:
    (root / "best").mkdir(parents=True)
    (root / "run.json").write_text("{}")
    (root / "result.json").write_text(json.dumps(RESULT))
    config = EncoderConfig(**SIZES, **({"task_head": {"num_outputs": 3}} if head else {}))
    loaded = Loaded(build_model(config), tokenizer, {"task": task}, root / "best", None)
    return model_card(root / "best", loaded, name="mine", auto_class="AutoModelForMaskedLM")


def test_the_card_of_a_classifier(tmp_path: Path, tokenizer: Tokenizer) -> None:
    task = {"kind": "classification", "decision": {"members": ["model", "linear_of_pieces"]}}
    card = card_of(tmp_path / "run", tokenizer, task)
    for known in ("A model for classification (encoder)", "| validation | macro f1 | 0.8123 | 0.8 to 0.83 |",
                  "macro f1 of majority | 0.1", "model and linear of pieces", "the trained model alone",
                  "The head that gives its answers is not in this folder"):  # fmt: skip
        assert known in card, known
    assert "of other" not in card
    assert "calibration" not in card  # it was not measured
    assert "continues text" not in card
    assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == "fill-mask"  # what the folder can do


def test_the_card_of_a_model_that_answers_alone(tmp_path: Path, tokenizer: Tokenizer) -> None:
    card = card_of(tmp_path / "run", tokenizer, {"kind": "retrieval", "decision": {"members": ["model"]}}, head=False)
    assert "answers come from" not in card
    assert "not in this folder" not in card
    assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == "feature-extraction"
