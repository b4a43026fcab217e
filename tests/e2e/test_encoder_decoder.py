"""An encoder-decoder through the same commands as any other: trained on running text or on damaged text, and asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.checkpoints import load_checkpoint
from stepwell.inference import SamplingParams, generate

SMALL = ["model.kind=encoder_decoder", "tokenizer.vocab_size=500", "model.num_layers=1", "model.num_encoder_layers=1",
         "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=2", "model.head_dim=16", "model.d_ff=64",
         "model.max_seq_len=64", "study.sample_tokens=10", "study.validation_bytes=5000",
         "study.watch_bytes=2000"]  # fmt: skip


def train(folder: Path, text: str, *more: str) -> Path:
    (folder / "text.txt").write_text(text, encoding="utf-8")
    api.train(text=folder / "text.txt", steps=40, out=folder / "run", set=[*SMALL, *more])
    return folder / "run"


def measured(run: Path, kind: str, name: str) -> list[Any]:
    lines = [json.loads(line) for line in (run / "rounds/01/metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if line.get("kind") == kind]


@pytest.mark.slow
def test_running_text_is_learned_and_gone_on_with(tmp_path, small_text):
    run = train(tmp_path, small_text("mixed", 60_000))
    bits = measured(run, "evaluation", "bits_per_byte")
    assert bits[-1] < 0.9 * bits[0]
    assert load_checkpoint(run).model.config.chunk_len == 32
    (completion,) = api.predict(run, "the miller", {"max_tokens": 60, "seed": 1})[0]
    assert len(completion.token_ids) > 32 or completion.finish_reason == "stop"  # across the end of a chunk
    scored = api.score(run, "the miller carried the lantern by the river." * 5)
    assert len(scored["tokens"]) > 64
    assert 0 < scored["bits_per_byte"] < 8


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "tokens"), [("span_corruption", "<|span_0|>"), ("denoising", "<|mask|>")])
def test_damaged_text_is_mended(tmp_path, small_text, objective, tokens):
    """Planning gives the tokenizer what the objective hides text behind; the model can be asked to turn a source."""
    run = train(tmp_path, small_text("en", 60_000), f"training.objective.kind={objective}", "model.prompt=source")
    losses = measured(run, "step", "loss")
    assert losses[-1] < 0.9 * losses[0]
    loaded = load_checkpoint(run)
    assert loaded.tokenizer.token_id(tokens) in loaded.tokenizer.special_ids
    assert loaded.model.reads_source
    (completion,) = generate(loaded.model, loaded.tokenizer, "the miller", SamplingParams(temperature=0, max_tokens=20))
    assert 1 <= len(completion.token_ids) <= 20
