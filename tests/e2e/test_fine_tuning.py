"""The ways of fine-tuning through the real verbs: an adapter that is trained, handed on and merged; a student."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stepwell import api
from stepwell.checkpoints import load_checkpoint
from stepwell.errors import CheckpointError, ConfigError

SHAPE = ["num_layers=1", "d_model=16", "num_heads=2", "num_kv_heads=2", "head_dim=8", "d_ff=32", "max_seq_len=32"]
# what a class of transformers has too
PLAIN = ["activation=silu", "gated=true", "qk_norm=none", "embedding_norm=false", "logit_softcap=null"]
TINY = ["tokenizer.vocab_size=300", "study.sample_tokens=5", *(f"model.{one}" for one in [*SHAPE, *PLAIN])]

pytestmark = pytest.mark.slow


@pytest.fixture
def base(tmp_path: Path, small_text: Callable[..., str]) -> tuple[Path, Path]:
    text = tmp_path / "text.txt"
    text.write_text(small_text("en", 40_000), encoding="utf-8")
    api.train(text=text, steps=12, out=tmp_path / "base", set=TINY)
    return text, tmp_path / "base"


def logits(path: Path) -> torch.Tensor:
    with torch.no_grad():
        return load_checkpoint(path).model(torch.arange(16)[None])


def test_an_adapter_is_trained_handed_on_and_merged(base: Any, stepwell: Callable[..., Any], tmp_path: Path) -> None:
    text, begun = base
    settings = [f"init_from={begun}", "training.adapter={kind: lora, rank: 2, dora: true}", "study.sample_tokens=5"]
    api.train(text=text, steps=6, out=tmp_path / "tuned", set=settings)
    shown = stepwell("export", str(tmp_path / "tuned"), str(tmp_path / "peft"), "--to", "peft")
    assert shown.code == 0, shown.err
    assert "PeftModel.from_pretrained" in shown.out
    merged = stepwell("merge", str(begun), str(tmp_path / "whole"), "--adapter", str(tmp_path / "peft"))
    assert merged.code == 0, merged.err
    assert "(lora," in merged.out
    half = stepwell("merge", str(begun), str(tmp_path / "half"), "--adapter", f"{tmp_path / 'tuned'}=0.5", "--json")
    assert json.loads(half.out)["adapters"][0]["weight"] == 0.5
    torch.testing.assert_close(logits(tmp_path / "whole"), logits(tmp_path / "tuned"), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(tmp_path / "half"), logits(tmp_path / "tuned"), atol=1e-6)
    plain = stepwell("export", str(begun), str(tmp_path / "x"), "--to", "peft")
    assert plain.code != 0
    assert "holds no adapter" in plain.err


@pytest.mark.parametrize("kind", ["bottleneck", "prefix"])
def test_what_cannot_be_merged_predicts_from_its_run(base: Any, tmp_path: Path, kind: str) -> None:
    text, begun = base
    settings = [f"init_from={begun}", f"training.adapter.kind={kind}", "study.sample_tokens=5"]
    api.train(text=text, steps=6, out=tmp_path / "tuned", set=settings)
    assert api.predict(tmp_path / "tuned", "the ", {"max_tokens": 5})[0][0].text
    recipe = yaml.safe_load((tmp_path / "tuned" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["training"]["adapter"]["kind"] == kind
    with pytest.raises(CheckpointError, match="only a part of it"):
        api.train(text=text, steps=2, out=tmp_path / "x", set=[f"init_from={tmp_path / 'tuned'}"])


def test_a_student_of_another_size_learns_from_its_teacher(base: Any, tmp_path: Path) -> None:
    text, teacher = base
    learning = f"training.objective={{kind: distillation, teacher: {teacher}, hidden_states: {{layers: all}}}}"
    small = [*(f"model.{one}" for one in [*SHAPE, "d_model=8"]), "study.sample_tokens=5", learning]
    same = [f"tokenizer={{kind: pretrained, path: {teacher}}}"]
    found = api.train(text=text, steps=6, out=tmp_path / "student", set=[*small, *same])
    assert found["value"] > 0
    other = ["tokenizer.vocab_size=280"]
    with pytest.raises(ConfigError, match="another tokenizer than the student"):
        api.train(text=text, steps=6, out=tmp_path / "other", set=[*small, *other])


def test_frozen_parts_and_a_rate_for_each_layer(base: Any, tmp_path: Path) -> None:
    text, begun = base
    settings = ["training.freeze=[embedding, mlp]", "training.layer_decay=0.9", "study.sample_tokens=5"]
    api.train(text=text, steps=6, out=tmp_path / "tuned", set=[f"init_from={begun}", *settings])
    before, after = (load_checkpoint(one).model.tensors() for one in (begun, tmp_path / "tuned"))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(".mlp." in name or name.startswith("embedding") for name in changed)
    with pytest.raises(ConfigError, match="init_from"):
        api.train(text=text, steps=6, out=tmp_path / "x", set=[*TINY, *settings])
