"""Writing for transformers: what is opened there is what was trained here, and what cannot be is refused by name."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.errors import CheckpointError, DiskError, UsageError
from stepwell.export import export_hf, huggingface
from stepwell.models import DecoderConfig, LanguageModel, RecurrentConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 280, "max_seq_len": 64, "num_layers": 2, "d_model": 32, "num_heads": 4, "num_kv_heads": 2,
         "head_dim": 8, "d_ff": 40}  # fmt: skip
GATED = {"gated": True, "activation": "silu"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))


def lively(config: Any) -> LanguageModel:
    """A model in which every weight matters."""
    torch.manual_seed(0)
    model = build_model(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.2)
    return model


def saved(folder: Path, tokenizer: Tokenizer, provenance: dict[str, Any] | None = None, **fields: Any) -> Path:
    model = lively(DecoderConfig(**{**SIZES, "vocab_size": tokenizer.vocab_size, **fields}))
    save_checkpoint(folder, model, tokenizer, provenance=provenance or {})
    return folder


OWN = {
    "the default": ({}, "ApertusForCausalLM"),
    "tied": ({"tie_embeddings": True}, "ApertusForCausalLM"),
    "gated": (GATED, "Qwen3ForCausalLM"),
    "gated, no QK-norm": ({**GATED, "qk_norm": "none", "embedding_norm": False}, "LlamaForCausalLM"),
    "grown like GPT-2": (
        {"num_kv_heads": 4, "qk_norm": "none", "embedding_norm": False, "positions": {"kind": "learned"},
         "norm": {"kind": "layer"}, "qkv_bias": True, "out_bias": True, "mlp_bias": True, "activation": "gelu_tanh"},
        "GPT2LMHeadModel",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "architecture"), OWN.values(), ids=OWN)
def test_models_of_our_own_find_their_class(fields, architecture, tmp_path, tokenizer) -> None:
    path = saved(tmp_path / "c", tokenizer, **fields)
    written = export_hf(path, tmp_path / "out")
    assert written["architecture"] == architecture
    assert written["parity"]["ratio"] < 1e-5
    assert written["parity"]["greedy_equal"] == written["parity"]["num_greedy"] > 30
    folds = load_checkpoint(path).model.config.embedding_norm
    assert any("folded" in note for note in written["notes"]) == folds


def test_transformers_reads_and_writes_the_same_text(tmp_path, tokenizer) -> None:
    """From the same prompt as text to the same continuation as text."""
    model = load_checkpoint(saved(tmp_path / "c", tokenizer)).model
    export_hf(tmp_path / "c", tmp_path / "out", parity=False)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = "a well <|endoftext|> 井"
    read = their_tokenizer(prompt, return_tensors="pt")
    ours = [tokenizer.bos_id, *tokenizer.encode(prompt).tolist()]
    assert read["input_ids"][0].tolist() == ours, "the begin token stands before, and text never spells it"
    continued = theirs.generate(**read, max_new_tokens=12, do_sample=False, eos_token_id=None)[0].tolist()
    state, tokens = model.start(1), torch.tensor([ours])
    with torch.inference_mode():
        for _ in range(12):
            ours.append(int(model.extend(state, tokens).argmax()))
            tokens = torch.tensor([ours[-1:]])
    assert continued == ours
    assert their_tokenizer.decode(ours[1:]) == tokenizer.decode(ours[1:]) or not tokenizer.is_lossless


def test_parts_open_as_one(tmp_path, tokenizer) -> None:
    path = saved(tmp_path / "c", tokenizer, **GATED)
    whole = export_hf(path, tmp_path / "whole", parity=False)
    parts = export_hf(path, tmp_path / "parts", shard_bytes=20_000)
    assert parts["parity"]["ratio"] < 1e-5
    files = sorted(file.name for file in (tmp_path / "parts").glob("*.safetensors"))
    assert len(files) > 2
    assert files == [f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)]
    index = json.loads((tmp_path / "parts" / "model.safetensors.index.json").read_text())
    one = load_file(tmp_path / "whole" / "model.safetensors")
    several = {name: tensor for file in files for name, tensor in load_file(tmp_path / "parts" / file).items()}
    assert index["weight_map"].keys() == several.keys() == one.keys()
    assert all(torch.equal(one[name], several[name]) for name in one)
    assert index["metadata"]["total_size"] == whole["bytes"] == sum(t.nbytes for t in one.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_smaller_precision_is_measured_as_it_is(dtype, tmp_path, tokenizer) -> None:
    written = export_hf(saved(tmp_path / "c", tokenizer), tmp_path / "out", dtype=dtype)
    assert {str(t.dtype) for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {f"torch.{dtype}"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype == written["dtype"]
    assert written["parity"]["ratio"] < 1e-5


def test_no_class_for_a_kind(tmp_path, tokenizer) -> None:
    config = RecurrentConfig(kind="lstm", vocab_size=280, max_seq_len=16, num_layers=1, d_model=8, d_embedding=8)
    save_checkpoint(tmp_path / "c", build_model(config), tokenizer, provenance={})
    with pytest.raises(CheckpointError, match=r"model\.kind lstm") as caught:
        export_hf(tmp_path / "c", tmp_path / "out")
    assert "decoder" in str(caught.value.wanted)
    assert not (tmp_path / "out").exists()


REFUSED = {
    "neither gated nor QK-norm": ({"qk_norm": "none"}, "gated is false"),
    "biases where Apertus has none": ({"mlp_bias": True}, "mlp_bias"),
    "sinks": ({"sinks": True}, "sinks"),
    "ALiBi": ({"positions": {"kind": "alibi"}, **GATED}, "positions"),
}


@pytest.mark.parametrize(("fields", "named"), REFUSED.values(), ids=REFUSED)
def test_what_no_class_computes_is_refused_by_name(fields, named, tmp_path, tokenizer) -> None:
    with pytest.raises(CheckpointError, match="no class of transformers") as caught:
        export_hf(saved(tmp_path / "c", tokenizer, **fields), tmp_path / "out")
    assert named in str(caught.value.got)
    assert "recipe" in str(caught.value.do)
    assert not (tmp_path / "out").exists()


def test_a_difference_leaves_nothing_behind(tmp_path, tokenizer, monkeypatch) -> None:
    """transformers computes from other weights than were written: the export fails, and the folder is gone."""
    path = saved(tmp_path / "c", tokenizer)
    opened = huggingface.load_reference

    def differs(*arguments: Any, **others: Any) -> Any:
        reference = opened(*arguments, **others)
        with torch.no_grad():
            reference.lm_head.weight.mul_(1.01)
        return reference

    monkeypatch.setattr(huggingface, "load_reference", differs)
    with pytest.raises(CheckpointError, match="does not compute what transformers computes"):
        export_hf(path, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["c"]
    assert export_hf(path, tmp_path / "out", parity=False)["parity"] == {"not_measured": "as asked for"}


def test_a_model_too_large_to_compare_is_written_and_says_so(tmp_path, tokenizer, monkeypatch) -> None:
    monkeypatch.setattr("stepwell.checkpoints.parity.available_memory", lambda: 1000)
    why = export_hf(saved(tmp_path / "c", tokenizer), tmp_path / "out")["parity"]["not_measured"]
    assert "memory" in why


def test_what_is_there_is_not_overwritten(tmp_path, tokenizer) -> None:
    path = saved(tmp_path / "c", tokenizer)
    with pytest.raises(UsageError, match="not empty"):
        export_hf(path, path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        export_hf(path, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert export_hf(path, tmp_path / "empty", parity=False)["bytes"]
    with pytest.raises(UsageError, match="unknown precision"):
        export_hf(path, tmp_path / "other", dtype="float8")


def test_a_full_disk_leaves_nothing_behind(tmp_path, tokenizer, monkeypatch) -> None:
    from safetensors import SafetensorError

    path = saved(tmp_path / "c", tokenizer)

    def fails(*arguments: Any, **others: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(huggingface, "save_file", fails)
    with pytest.raises(DiskError, match="the disk is full"):
        export_hf(path, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_others_may_read_the_weights(tmp_path, tokenizer) -> None:
    export_hf(saved(tmp_path / "c", tokenizer), tmp_path / "out", parity=False)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "out").iterdir()}
    assert len(modes) == 1


def head_of(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


@pytest.mark.slow
def test_the_card_of_a_run_says_what_the_run_knows(trained_run, tmp_path) -> None:
    """A `train` has facts; metrics come from the result of a `run`."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    interval = {"value": 2.345678, "low": 2.3, "high": 2.4}
    result = {"validation": {"bits_per_byte": interval}, "test": None, "seconds": 75.0,
              "baselines": [{"name": "kneser_ney_5", "bits_per_byte": 1.9}]}  # fmt: skip
    (run / "result.json").write_text(json.dumps(result))
    export_hf(run, tmp_path / "out", parity=False)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert head_of(card) == {"language": ["zh", "en"], "library_name": "transformers",
                             "pipeline_tag": "text-generation", "tags": ["stepwell"]} | {
        "language": head_of(card)["language"]}  # fmt: skip
    assert set(head_of(card)["language"]) == {"zh", "en"}
    for known in ("20 steps", "text.txt", "2.346", "2.3 to 2.4", "kneser_ney_5", "1 m 15 s", "400 tokens",
                  "unknown: you choose", "AutoModelForCausalLM.from_pretrained('out')"):  # fmt: skip
        assert known in card, known


def test_the_card_of_a_bare_checkpoint_says_what_is_unknown(tmp_path, tokenizer) -> None:
    export_hf(saved(tmp_path / "c", tokenizer), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "unknown: this checkpoint does not say" in card
    assert "has not measured it" in card
    assert "greedy tokens" in card


def test_the_three_lines_of_a_card_work(tmp_path, tokenizer, monkeypatch) -> None:
    export_hf(saved(tmp_path / "c", tokenizer), tmp_path / "out", parity=False)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    program = card.split("```python\n")[1].split("```")[0]
    assert len(program.splitlines()) == 3
    monkeypatch.chdir(tmp_path)
    exec(program, {})


def test_how_a_run_decodes_best_is_handed_on(tmp_path, tokenizer) -> None:
    found = {"temperature": 0.7, "top_k": 40, "top_p": None, "repetition_penalty": 1.2}
    export_hf(saved(tmp_path / "c", tokenizer, {"decoding": found}), tmp_path / "out", parity=False)
    config = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    assert (config.do_sample, config.temperature, config.top_k, config.repetition_penalty) == (True, 0.7, 40, 1.2)
    assert config.eos_token_id == tokenizer.eos_id
    export_hf(saved(tmp_path / "d", tokenizer, {"decoding": {"temperature": 0.0}}), tmp_path / "greedy", parity=False)
    assert transformers.GenerationConfig.from_pretrained(tmp_path / "greedy").do_sample is False


def test_what_two_languages_need_is_said(tmp_path, tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_str(tokenizer._backend.to_str())
    writes = tokenizers.Tokenizer.from_str(tokenizer._backend.to_str())
    both = Tokenizer(backend, tokenizer.roles, target=Tokenizer(writes, tokenizer.roles))
    notes = export_hf(saved(tmp_path / "c", both, **GATED), tmp_path / "out", parity=False)["notes"]
    assert any("source.spm" in note for note in notes)
    assert not list((tmp_path / "out").glob("tokenizer_*s.json")), "nothing that only stepwell reads"
    assert not (tmp_path / "out" / "tokenizer_target.json").exists()


def test_only_models_that_tell_segments_apart_are_given_them(tmp_path, tokenizer) -> None:
    export_hf(saved(tmp_path / "c", tokenizer), tmp_path / "out", parity=False)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("a well")
    assert set(read) == {"input_ids", "attention_mask"}
