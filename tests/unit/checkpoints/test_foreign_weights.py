"""A foreign model that fits becomes a checkpoint; of one that does not, everything that is wrong is told at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import save_tiny, tiny

from stepwell.checkpoints import import_model, import_weights, importing, load_checkpoint, parity, read_foreign
from stepwell.errors import CheckpointError, UsageError
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

pytest.importorskip("transformers")

Change = Callable[[dict[str, torch.Tensor]], None]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    return {name: save_tiny(tiny(name), root / name.replace(" ", "-"), tokenizer)
            for name in ("llama", "gpt2", "llama scaled")}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path, originals: dict[str, Path]) -> Callable[..., Path]:
    """A function from a name, a change of its tensors and of its config to a folder."""

    def make(name: str = "llama", change: Change | None = None, **config: Any) -> Path:
        folder = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for file in originals[name].iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        if change is not None:
            tensors = load_file(folder / "model.safetensors")
            change(tensors)
            save_file(tensors, folder / "model.safetensors")
        if config:
            said = json.loads((folder / "config.json").read_text()) | config
            (folder / "config.json").write_text(json.dumps(said))
        return folder

    return make


def read(folder: Path) -> Any:
    return import_weights(read_foreign(str(folder)))


def test_a_checkpoint_holds_what_is_needed_to_give_it_back(source, tmp_path, tokenizer) -> None:
    folder = source()
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6, "top_p": 0.95}')
    imported = read(folder)
    imported.save(tmp_path / "ours")
    loaded = load_checkpoint(tmp_path / "ours")
    about = loaded.provenance["source"]
    assert about["config"] == json.loads((folder / "config.json").read_text())
    assert (about["name"], about["model_type"], about["dtype"]) == (str(folder), "llama", "float32")
    assert list(about["sha256"]) == ["model.safetensors"]
    assert loaded.provenance["decoding"] == {"temperature": 0.6, "top_p": 0.95}
    assert loaded.tokenizer.encode("a well").tolist() == tokenizer.encode("a well").tolist()
    assert loaded.model.config == imported.skeleton.config
    assert {p.device.type for p in imported.skeleton.parameters()} == {"meta"}, "no number is made to be thrown away"


def test_a_model_that_talks_draws_as_is_usual_where_its_makers_do_not_say_how(source) -> None:
    folder = source()
    assert read(folder).provenance["decoding"] == {}
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    assert read(folder).provenance["decoding"] == {"temperature": 0.7, "top_p": 0.9}
    (folder / "generation_config.json").write_text('{"do_sample": true, "top_k": 20}')
    assert read(folder).provenance["decoding"] == {"top_k": 20}


def test_all_that_does_not_fit_is_told_at_once(source) -> None:
    def break_it(tensors: dict[str, torch.Tensor]) -> None:
        for layer in range(2):
            del tensors[f"model.layers.{layer}.self_attn.k_proj.weight"]
            tensors[f"model.layers.{layer}.self_attn.sinks"] = torch.zeros(4)
        tensors["model.norm.weight"] = torch.zeros(31)
        tensors["lm_head.weight"] = torch.zeros(300, 32, dtype=torch.int32)

    folder = source(change=break_it)
    with pytest.raises(CheckpointError, match="the weights do not fit its config") as caught:
        read(folder)
    told = str(caught.value.got)
    for named in (
        "2 tensors missing: ", "model.layers.0.self_attn.k_proj.weight", "model.layers.1.self_attn.k_proj.weight",
        "2 tensors not known: ", "model.layers.0.self_attn.sinks", "model.layers.1.self_attn.sinks",
        "1 tensor of another shape: model.norm.weight (31,), wanted (32,)",
        "1 tensor not in float32, float16 or bfloat16: lm_head.weight",
    ):  # fmt: skip
        assert named in told, named
    assert caught.value.what.startswith(str(folder))


def test_a_config_that_does_not_fit_its_weights(source) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(source(num_hidden_layers=3, intermediate_size=40))
    told = str(caught.value.got)
    assert told.count("model.layers.2.") == 9
    assert "model.layers.0.mlp.gate_proj.weight (48, 32), wanted (40, 32)" in told


def test_shapes_are_compared_before_a_weight_is_read(source, monkeypatch) -> None:
    foreign = read_foreign(str(source(num_hidden_layers=3)))
    monkeypatch.setattr(type(foreign.tensors), "__getitem__", lambda *_: pytest.fail("a weight was read"))
    with pytest.raises(CheckpointError, match="do not fit"):
        import_weights(foreign)


def test_heads_that_do_not_divide(source) -> None:
    folder = source(num_key_value_heads=3)
    with pytest.raises(CheckpointError) as caught:
        read(folder)
    assert caught.value.what.startswith(str(folder))
    assert "num_kv_heads divides" in str(caught.value.wanted)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "mamba"}, "model_type mamba"),
        ({"model_type": None}, "model_type None"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"quantization_config": {}, "hidden_act": "swoosh"}, "swoosh"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
    ],
)
def test_what_cannot_be_represented_is_named_with_its_source(config, named, source) -> None:
    folder = source(**config)
    with pytest.raises(CheckpointError) as caught:
        read(folder)
    assert caught.value.what.startswith(str(folder))
    assert named in str(caught.value)


def test_a_config_without_architectures_is_read(source) -> None:
    assert read(source(architectures=None)).skeleton.config.num_layers == 2


def test_a_vocabulary_that_is_larger_than_the_embeddings(source) -> None:
    def narrow(tensors: dict[str, torch.Tensor]) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors[name][:270].clone()

    with pytest.raises(CheckpointError, match="the vocabulary does not fit") as caught:
        read(source(change=narrow, vocab_size=270))
    assert "280 tokens" in str(caught.value.got)
    assert "270 rows" in str(caught.value.got)


def test_more_rows_than_tokens_are_told(source) -> None:
    assert read(source()).notes == ("the embeddings have 20 more rows than there are tokens",)


def test_tensors_that_hold_no_weights_are_left_out_and_told(source, tmp_path) -> None:
    def more(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    imported = read(source(change=more))
    assert "inv_freq" in imported.notes[-1]
    assert imported.provenance["source"]["left_out"] == ["model.layers.0.self_attn.rotary_emb.inv_freq"]


def test_a_second_copy_must_be_the_same(source) -> None:
    """A tied head that is stored all the same."""

    def copy(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    imported = read(source("llama scaled", change=copy))
    assert imported.provenance["source"]["left_out"] == ["lm_head.weight"]

    def another(tensors: dict[str, torch.Tensor]) -> None:
        copy(tensors)
        tensors["lm_head.weight"][0, 0] += 1

    with pytest.raises(CheckpointError, match=r"a second copy that differs from the first: lm_head\.weight"):
        read(source("llama scaled", change=another))


def test_a_tied_matrix_may_be_stored_under_either_name(source, originals) -> None:
    def rename(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")

    imported = read(source("llama scaled", change=rename))
    assert torch.equal(
        imported.tensors["embedding.weight"], read(originals["llama scaled"]).tensors["embedding.weight"]
    )
    assert imported.provenance["source"]["left_out"] == []


def test_names_without_their_prefix(source, originals) -> None:
    """The first GPT-2 was saved without its head: `h.0.attn.c_attn.weight`, and a causal mask beside."""

    def bare(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 96, 96)

    imported, whole = read(source("gpt2", change=bare)), read(originals["gpt2"])
    assert all(torch.equal(imported.tensors[name], tensor) for name, tensor in whole.tensors.items())
    assert len(imported.notes) == 2


def test_a_full_output_folder_is_left_alone(source, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").touch()
    with pytest.raises(UsageError, match="is not empty"):
        import_model(str(source()), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_a_model_that_computes_something_else_is_not_written(source, tmp_path, monkeypatch) -> None:
    opened = importing.load_reference

    def differs(*arguments: Any, **others: Any) -> Any:
        reference = opened(*arguments, **others)
        with torch.no_grad():
            reference.model.norm.weight.mul_(1.01)
        return reference

    monkeypatch.setattr(importing, "load_reference", differs)
    with pytest.raises(CheckpointError, match="does not compute what transformers computes") as caught:
        import_model(str(source()), tmp_path / "out")
    assert "--no-parity" in str(caught.value.do)
    assert not (tmp_path / "out").exists()
    assert import_model(str(source()), tmp_path / "out", parity=False)["parity"] == {"not_measured": "as asked for"}


def test_not_a_number_is_a_difference(source, tmp_path) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"][0] = torch.nan

    with pytest.raises(CheckpointError, match="does not compute what transformers computes"):
        import_model(str(source(change=poison)), tmp_path / "out")


@pytest.mark.parametrize("why", ["transformers is not installed", "memory"])
def test_why_parity_was_not_measured(why, source, tmp_path, monkeypatch) -> None:
    if why == "memory":
        monkeypatch.setattr(parity, "available_memory", lambda: 1000)
    else:
        monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert why in import_model(str(source()), tmp_path / "out")["parity"]["not_measured"]
    assert load_checkpoint(tmp_path / "out").provenance["source"]["parity"]["not_measured"]


def test_greedy_tokens_are_counted_up_to_the_first_difference() -> None:
    assert parity._common([1, 2, 3], [1, 2, 3]) == 3
    assert parity._common([1, 2, 3, 4], [1, 2, 9, 4]) == 2
    assert parity._common([], []) == 0
