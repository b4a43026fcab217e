"""A masked model through the same commands as any other: trained, measured, asked to fill, to go on and to embed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepwell import api
from stepwell.checkpoints import load_checkpoint

pytestmark = pytest.mark.slow

SMALL = ["model.kind=encoder", "tokenizer.vocab_size=400", "model.num_layers=1", "model.d_model=32",
         "model.num_heads=2", "model.num_kv_heads=2", "model.head_dim=16", "model.d_ff=64", "model.max_seq_len=64",
         "study.sample_tokens=10", "study.validation_bytes=5000", "study.watch_bytes=2000"]  # fmt: skip


@pytest.fixture(scope="module")
def encoder_run(tmp_path_factory, small_text) -> Path:
    root = tmp_path_factory.mktemp("encoder")
    (root / "text.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    result = api.train(text=root / "text.txt", steps=40, out=root / "run", set=SMALL)
    assert result["scoring"] == "masked"
    assert result["tokens"] > 40 * 500  # of the text that was read, not of what was hidden in it
    return root / "run"


def test_training_gives_it_a_mask_and_teaches_it(encoder_run):
    loaded = load_checkpoint(encoder_run)
    assert loaded.tokenizer.mask_id == loaded.model.config.mask_id == 1
    lines = [json.loads(line) for line in (encoder_run / "rounds/01/metrics.jsonl").read_text().splitlines()]
    losses = [line["bits_per_byte"] for line in lines if line["kind"] == "evaluation"]
    assert losses[-1] < losses[0]


def test_a_mask_is_filled(stepwell, encoder_run):
    ran = stepwell("predict", encoder_run, "--prompt", "the miller <|mask|> the lantern", "--top-k", 3, "--json")
    (found,) = json.loads(ran.out)["completions"]
    assert ran.code == 0
    (candidates,) = found["candidates"]
    assert len(candidates) == 3
    assert found["text"] == f"the miller{candidates[0]['token']} the lantern"
    plain = stepwell("predict", encoder_run, "--prompt", "the miller <|mask|> the lantern")
    assert plain.out == found["text"] + "\n"


def test_prompts_with_and_without_a_mask_keep_their_order(encoder_run):
    prompts = ["the miller", "a <|mask|> boat", "the old"]
    first, second, third = api.predict(encoder_run, prompts, {"max_tokens": 4, "seed": 1, "n": 2})
    assert (len(first), len(second), len(third)) == (2, 1, 2)
    assert second[0].text.startswith("a")
    assert third == api.predict(encoder_run, "the old", {"max_tokens": 4, "seed": 1, "n": 2})[0]


def test_without_a_mask_it_goes_on(stepwell, encoder_run):
    ran = stepwell("predict", encoder_run, "--prompt", "the miller", "--max-tokens", 5, "--seed", 1)
    assert ran.out.startswith("the miller")
    assert len(ran.out) > len("the miller\n")


def test_its_numbers_are_said_to_be_others(stepwell, encoder_run, tmp_path, small_text):
    (tmp_path / "held.txt").write_text(small_text("en", 3000, seed=5), encoding="utf-8")
    result = json.loads(stepwell("evaluate", encoder_run, "--data", tmp_path / "held.txt", "--json").out)
    assert result["scoring"] == "masked"
    assert "masked models alone" in " ".join(
        stepwell("evaluate", encoder_run, "--data", tmp_path / "held.txt").out.split()
    )
    scored = api.score(encoder_run, "the miller carried the lantern")
    assert scored["scoring"] == "masked"
    assert len(scored["tokens"]) > 4


def test_texts_get_vectors(stepwell, encoder_run, tmp_path):
    ran = stepwell("embed", encoder_run, "--text", "the miller", "a wooden boat", "the miller", "--json")
    records = json.loads(ran.out)["embeddings"]
    assert [record["text"] for record in records] == ["the miller", "a wooden boat", "the miller"]
    assert len(records[0]["embedding"]) == 32
    assert records[0]["embedding"] == pytest.approx(records[2]["embedding"], abs=1e-6)
    (tmp_path / "texts.txt").write_text("the miller\na wooden boat\n", encoding="utf-8")
    table = stepwell("embed", encoder_run, "--input", tmp_path / "texts.txt").out
    assert "1 the miller" in table
    assert "1.00" in table


def test_embed_says_what_it_needs(stepwell, encoder_run):
    assert stepwell("embed", encoder_run).code == 2
    ran = stepwell("embed", encoder_run, "--text", "a", "--pooling", "pooler")
    assert ran.code != 0
    assert "no pooler" in ran.err


@pytest.mark.proof
def test_the_closed_loop_runs_with_it(stepwell, tmp_path, small_text):
    (tmp_path / "text.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    sets = ["--set", *SMALL, "study.max_rounds=2"]
    ran = stepwell(
        "run", "--text", tmp_path / "text.txt", "--budget", "40s", "--out", tmp_path / "run", *sets, "--json"
    )
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert result["scoring"] == "masked"
    assert result["baselines"] == []
    assert (tmp_path / "run" / "report.html").exists()
