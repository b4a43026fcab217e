"""Where a round begins: fresh weights, word vectors, a checkpoint; and the round that only counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stepwell import api
from stepwell.checkpoints import load_checkpoint
from stepwell.errors import CheckpointError, ConfigError, DataError
from stepwell.runs import read_lines

SHAPE = ["num_layers=1", "d_model=16", "num_heads=2", "num_kv_heads=2", "head_dim=8", "d_ff=32", "max_seq_len=32"]
TINY = ["tokenizer.vocab_size=300", "study.sample_tokens=5", *(f"model.{one}" for one in SHAPE)]


@pytest.fixture
def text(tmp_path, small_text) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(small_text("en", 40_000), encoding="utf-8")
    return path


def weights(run: Path, name: str = "best") -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "rounds/01/checkpoints" / name).model.tensors()


@pytest.mark.slow
def test_a_run_goes_on_from_a_checkpoint_with_its_tokenizer_and_model(text, tmp_path):
    first = api.train(text=text, steps=12, out=tmp_path / "first", set=TINY)
    settings = [f"init_from={tmp_path / 'first'}", "training.optimizer.learning_rate=1e-9", "study.sample_tokens=5"]
    second = api.train(text=text, steps=2, out=tmp_path / "second", set=settings)
    before, after = (load_checkpoint(tmp_path / name) for name in ("first", "second"))
    assert after.model.config == before.model.config
    assert after.tokenizer.fingerprint == before.tokenizer.fingerprint
    for name, tensor in before.model.tensors().items():
        torch.testing.assert_close(after.model.tensors()[name], tensor, atol=1e-6, rtol=0)
    assert second["value"] == pytest.approx(first["value"], rel=1e-3)


@pytest.mark.slow
def test_lora_over_the_weights_of_a_checkpoint(text, tmp_path):
    api.train(text=text, steps=12, out=tmp_path / "first", set=TINY)
    settings = [f"init_from={tmp_path / 'first'}", "training.adapter={kind: lora, rank: 2, targets: [qkv, up]}"]
    api.train(text=text, steps=6, out=tmp_path / "second", set=[*settings, "study.sample_tokens=5"])
    before, after = (load_checkpoint(tmp_path / name).model.tensors() for name in ("first", "second"))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"body.blocks.0.attention.qkv.weight", "body.blocks.0.mlp.up.weight"}
    recipe = (tmp_path / "second" / "recipe.yaml").read_text(encoding="utf-8")
    assert "LoRA wants ten times as much" in recipe
    assert "rank: 2" in recipe
    assert api.predict(tmp_path / "second", "the ", {"max_tokens": 5})[0][0].text


@pytest.mark.slow
def test_another_family_than_that_of_the_checkpoint_is_refused(text, tmp_path):
    api.train(text=text, steps=2, out=tmp_path / "first", set=TINY)
    with pytest.raises(ConfigError, match="not that of init_from"):
        api.train(text=text, steps=2, out=tmp_path / "b", set=[f"init_from={tmp_path / 'first'}", "model.kind=lstm"])
    with pytest.raises(ConfigError, match="num_layers"):
        api.train(text=text, steps=2, out=tmp_path / "c", set=[f"init_from={tmp_path / 'first'}", "model.num_layer=2"])
    with pytest.raises(CheckpointError, match="does not fit"):
        api.train(text=text, steps=2, out=tmp_path / "d", set=[f"init_from={tmp_path / 'first'}", "model.d_ff=64"])
    with pytest.raises(CheckpointError, match="no such"):
        api.train(text=text, steps=2, out=tmp_path / "e", set=[f"init_from={tmp_path / 'nowhere'}"])


@pytest.mark.slow
def test_embeddings_begin_from_word_vectors(text, tmp_path):
    vectors = tmp_path / "words.vec"
    rows = [" ".join([word, *(["0.5"] * 8 + ["-0.5"] * 8)]) for word in ("the", "and")]
    vectors.write_text("\n".join(["2 16", *rows]) + "\n", encoding="utf-8")
    still = ["training.optimizer.adamw_learning_rate=1e-9", "training.optimizer.learning_rate=1e-9"]
    run = tmp_path / "run"
    api.train(text=text, steps=2, out=run, set=[*TINY, *still, f"word_vectors={vectors}"])
    loaded = load_checkpoint(run)
    row = loaded.model.tensors()["embedding.weight"][int(loaded.tokenizer.encode(" the")[0])]
    assert bool((row[:8] > 0).all())
    assert bool((row[8:] < 0).all())
    assert float(row.detach().std()) == pytest.approx(0.02, rel=0.1)
    with pytest.raises(ConfigError, match=r"width|wide|channels"):
        api.train(text=text, steps=2, out=tmp_path / "wide", set=[*TINY, "model.d_model=24", f"word_vectors={vectors}"])
    with pytest.raises(DataError, match=r"nowhere\.vec"):
        api.train(text=text, steps=2, out=tmp_path / "no", set=[*TINY, f"word_vectors={tmp_path / 'nowhere.vec'}"])


def test_counting_is_a_round_of_one_step(text, tmp_path):
    run = tmp_path / "run"
    result = api.train(text=text, steps=5, out=run, set=["model.kind=ngram", "tokenizer.vocab_size=300"])
    assert result["steps"] == 1
    assert result["train_value"] < result["value"] < 4
    lines = read_lines(run / "rounds/01/metrics.jsonl")
    assert [line["kind"] for line in lines] == ["step", "evaluation"]
    assert "tables.4.keys" in weights(run) or any("keys" in name for name in weights(run))
    assert api.predict(run, "the ", {"max_tokens": 5})[0][0].text


@pytest.mark.slow
def test_the_loop_plays_a_counted_model_and_compares_with_a_trained_baseline(text, tmp_path):
    settings = ["model.kind=ngram", "tokenizer.vocab_size=300", "study.baselines=[kneser_ney_5, feed_forward]"]
    result = api.run(text=text, budget="60s", out=tmp_path / "run", set=settings)
    assert result["stopped_because"] == "nothing_left"
    names = [baseline["name"] for baseline in result["baselines"]]
    assert names == ["kneser_ney_5", "feed_forward"]
    assert all(0 < baseline["bits_per_byte"] < 8 for baseline in result["baselines"])
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "feed-forward" in page


def test_a_head_is_taken_over_for_the_same_task_alone(tmp_path):
    from stepwell.checkpoints import save_checkpoint
    from stepwell.models import MODELS, TaskHeadConfig, build_model
    from stepwell.studies.beginning import with_own_head
    from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

    tokenizer = train_tokenizer(["some text"], ByteBPEConfig(vocab_size=257))
    plain = MODELS["encoder"].sized(1, vocab_size=257, max_seq_len=32).model_copy(update={"mask_id": None})

    def model(outputs: int | None, seed: int):
        head = None if outputs is None else TaskHeadConfig(num_outputs=outputs, pooling="each")
        return build_model(plain.model_copy(update={"task_head": head}), seed)

    for kind, outputs, kept in (("question_answering", 2, True), ("tagging", 2, False), ("tagging", 3, False)):
        save_checkpoint(
            tmp_path / f"{kind}{outputs}", model(outputs, 1), tokenizer, provenance={"task": {"kind": kind}}
        )
        loaded, fresh = load_checkpoint(tmp_path / f"{kind}{outputs}"), model(2, 5)
        found = with_own_head(fresh, loaded, "question_answering")
        source = loaded.model if kept else fresh
        assert torch.equal(found["task_head.map.weight"], source.tensors()["task_head.map.weight"])
        fresh.load_tensors(found)
        assert torch.equal(fresh.tensors()["task_head.map.weight"], found["task_head.map.weight"])
    without = model(None, 3)  # plain text again
    without.load_tensors(with_own_head(without, loaded, "language_modeling"))
