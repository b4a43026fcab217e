"""Runs with each kind of tokenizer, and with one that is there already or grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell import api
from stepwell.checkpoints import load_checkpoint

SMALL = ["study.sample_tokens=20"]


def bits_per_byte(path: Path, text: Path) -> float:
    return float(api.evaluate(path, text)["metrics"]["bits_per_byte"]["value"])


@pytest.mark.slow
def test_a_run_goes_on_with_more_tokens(trained_run, small_text, tmp_path):
    """By recipe: the vocabulary grows at the beginning, and training brings the new tokens in."""
    (tmp_path / "new.txt").write_text(small_text("zh", 40_000, seed=5), encoding="utf-8")
    base = {"text": tmp_path / "new.txt", "out": tmp_path / "run", "steps": 40}
    more = ["tokenizer.kind=pretrained", "tokenizer.extend_tokens=50"]
    api.train(**base, set=[f"init_from={trained_run}", *more, *SMALL])
    made = load_checkpoint(tmp_path / "run")
    assert made.tokenizer.vocab_size == made.model.config.vocab_size == 450
    assert bits_per_byte(tmp_path / "run", tmp_path / "new.txt") < bits_per_byte(trained_run, tmp_path / "new.txt")


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 30])
def test_a_new_model_with_a_tokenizer_that_is_there(trained_run, small_text, tmp_path, more):
    """The tokenizer of a run is taken over, perhaps extended; the model begins anew."""
    (tmp_path / "new.txt").write_text(small_text("zh", 40_000, seed=5), encoding="utf-8")
    taken = ["tokenizer.kind=pretrained", f"tokenizer.path={trained_run}", f"tokenizer.extend_tokens={more}"]
    small = ["model.num_layers=1", "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=1", "model.d_ff=32"]
    api.train(
        text=tmp_path / "new.txt", out=tmp_path / "run", steps=5, set=[*taken, *small, "model.head_dim=16", *SMALL]
    )
    made = load_checkpoint(tmp_path / "run")
    assert made.tokenizer.vocab_size == made.model.config.vocab_size == 400 + more
    assert (made.tokenizer.fingerprint == load_checkpoint(trained_run).tokenizer.fingerprint) == (more == 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "character", "word"])
def test_a_run_with_each_kind_and_its_repetition(kind, small_text, tmp_path):
    (tmp_path / "text.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    small = ["model.num_layers=1", "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=1", "model.d_ff=32"]
    settings = [f"tokenizer.kind={kind}", *small, "model.head_dim=16", *SMALL]
    api.train(text=tmp_path / "text.txt", out=tmp_path / "run", steps=5, set=settings)
    api.train(recipe=tmp_path / "run" / "recipe.yaml", out=tmp_path / "again", steps=5)
    one, other = load_checkpoint(tmp_path / "run"), load_checkpoint(tmp_path / "again")
    assert one.tokenizer.vocab_size == other.tokenizer.vocab_size == one.model.config.vocab_size
