"""Configs of published decoders, in the spelling they were published in; what cannot be represented is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from published_decoders import PUBLISHED, shape
from torch import Tensor

from stepwell.checkpoints import FAMILIES, ForeignModel, ForeignTensors, import_weights
from stepwell.errors import CheckpointError, ConfigError, StepwellError, UsageError
from stepwell.models import DecoderConfig, build_model, decoder_sized
from stepwell.recipes import PRESETS
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer


def read(config: Mapping[str, Any]) -> DecoderConfig:
    found = FAMILIES[config["model_type"]].read_config(config)
    assert isinstance(found, DecoderConfig)
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_have_the_published_number_of_parameters(name: str) -> None:
    count, config = PUBLISHED[name]
    assert read(config).num_parameters == count


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_are_written_and_read_again(name: str) -> None:
    config = read(PUBLISHED[name][1])
    written = FAMILIES[PUBLISHED[name][1]["model_type"]].write_config(config)
    assert read(written) == config


@pytest.mark.parametrize("name", PUBLISHED)
def test_rules_name_every_parameter_once(name: str) -> None:
    config = read(PUBLISHED[name][1]).model_copy(update={"num_layers": 2})
    rules = FAMILIES[PUBLISHED[name][1]["model_type"]].rules(config)
    with torch.device("meta"):
        model = build_model(config)
    assert sorted(rule.ours for rule in rules) == sorted(name for name, _ in model.named_parameters())
    theirs = [name for rule in rules for name in rule.theirs]
    assert len(set(theirs)) == len(theirs)


def test_details_of_the_published() -> None:
    llama, gemma2, gemma3 = (read(PUBLISHED[name][1]) for name in ("Llama-3.2-1B", "gemma-2-2b", "gemma-3-1b"))
    assert llama.positions.model_dump(exclude={"kind", "ratio", "window_theta"}) == {
        "theta": 500_000.0,
        "scaling": {
            "kind": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_seq_len": 8192,
        },
    }
    assert (gemma2.window, gemma2.layer_pattern) == (4096, ("window", "full"))
    assert (gemma2.attention_softcap, gemma2.logit_softcap, gemma2.embedding_scale) == (50, 30, 48)
    assert (gemma3.window, gemma3.layer_pattern) == (512, ("window",) * 5 + ("full",))
    assert (gemma3.positions.theta, gemma3.positions.window_theta) == (1_000_000, 10_000)
    smollm3, pythia = read(PUBLISHED["SmolLM3-3B"][1]), read(PUBLISHED["pythia-160m"][1])
    assert smollm3.layer_pattern == ("full", "full", "full", "unrotated")
    assert (pythia.rotated_channels, pythia.head_dim, pythia.parallel) == (16, 64, True)


LLAMA = PUBLISHED["Llama-2-7b"][1]
SPELLINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "theta": ({"rope_theta": 500.0}, {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    "type": (
        {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}},
    ),
    "yarn of a known window": (
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}},
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10_000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 1024,
            }
        },
    ),
    "yarn of the whole window": (
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}},
    ),
    "dynamic, which grows beyond max_position_embeddings": (
        {"rope_scaling": {"type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 1024}},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}},
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_old_and_new_spelling_are_one(name: str) -> None:
    old, new = SPELLINGS[name]
    assert read({**LLAMA, **old}) == read({**LLAMA, **new})
    assert read({**LLAMA, **old}) != read(LLAMA)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "activation": ("Llama-2-7b", {"hidden_act": "mish"}, "hidden_act"),
    "activation of gpt2": ("gpt2", {"activation_function": "quick_gelu"}, "activation_function"),
    "activation of gemma": ("gemma-2-2b", {"hidden_activation": "mish"}, "hidden_activation"),
    "scaling": ("Llama-2-7b", {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "rope_type"),
    "part of the channels": ("Llama-2-7b", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    "two rotaries": (
        "Qwen3-0.6B",
        {"rope_parameters": {"full_attention": {"rope_type": "default"}, "sliding_attention": {}}},
        "rope_parameters",
    ),
    "scaled windows": (
        "gemma-3-1b",
        {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
        "sliding_attention",
    ),
    "kinds of layers": ("Qwen3-0.6B", {"layer_types": ["chunked_attention"] * 28}, "layer_types"),
    "number of layers": ("Qwen3-0.6B", {"layer_types": ["full_attention"] * 3}, "layer_types"),
    "number of rotary layers": ("SmolLM3-3B", {"no_rope_layers": [1, 1, 0]}, "no_rope_layers"),
    "window without rotary": (
        "SmolLM3-3B",
        {"layer_types": ["sliding_attention"] * 36, "use_sliding_window": True, "sliding_window": 8},
        "layer_types",
    ),
    "both sides": ("gemma-3-1b", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "scale by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    "cross-attention": ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    "heads of the width": ("Llama-2-7b", {"num_attention_heads": 30, "num_key_value_heads": 30}, "num_attention_heads"),
    "heads of gpt2": ("gpt2", {"n_head": 7}, "num_attention_heads"),
    "no layers": ("Llama-2-7b", {"num_hidden_layers": 0}, "num_hidden_layers"),
    "no size": ("Llama-2-7b", {"vocab_size": None}, "vocab_size"),
    "a word for a size": ("Llama-2-7b", {"hidden_size": "4096"}, "hidden_size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_represented_is_refused_by_name(name: str) -> None:
    published, changes, field = REFUSED[name]
    with pytest.raises(CheckpointError) as caught:
        read({**PUBLISHED[published][1], **changes})
    assert field in caught.value.what


def test_key_heads_that_do_not_divide_the_query_heads_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_heads that num_kv_heads divides"):
        read({**LLAMA, "num_key_value_heads": 5})


def test_fields_that_a_class_does_not_read_are_left_alone() -> None:
    config = {**LLAMA, "use_cache": False, "pretraining_tp": 2, "initializer_range": 1.0, "sliding_window": 4}
    assert read(config) == read(LLAMA)
    assert read({**PUBLISHED["gemma-3-1b"][1], "attn_logit_softcapping": 9.0}).attention_softcap is None


LLAMA_LIKE = {"activation": "silu", "gated": True, "embedding_norm": False, "qk_norm": "none"}
WRITTEN: dict[str, tuple[dict[str, Any], str]] = {
    "llama": (LLAMA_LIKE, "llama"),
    "qk-norm": ({**LLAMA_LIKE, "qk_norm": "head", "dropout": 0.2}, "qwen3"),
    "the defaults without their embedding norm": ({"embedding_norm": False}, "apertus"),
    "biases of queries, keys and values": ({**LLAMA_LIKE, "qkv_bias": True}, "qwen2"),
    "a window in every layer": ({**LLAMA_LIKE, "window": 8, "layer_pattern": ["window"]}, "mistral"),
    "output norms": ({**LLAMA_LIKE, "norm_placement": "output", "qk_norm": "projection"}, "olmo2"),
    "no rotary positions in some layers": ({**LLAMA_LIKE, "layer_pattern": ["full", "unrotated"]}, "smollm3"),
    "experts": ({**LLAMA_LIKE, "experts": {"num_experts": 4, "d_ff": 256}}, "mixtral"),
    "experts and qk-norm": (
        {**LLAMA_LIKE, "qk_norm": "head", "experts": {"num_experts": 4, "d_ff": 99, "dense_layers": [0]}},
        "qwen3_moe",
    ),
}


def decoder(changes: Mapping[str, Any]) -> DecoderConfig:
    sized = decoder_sized(2, vocab_size=257, max_seq_len=64).model_dump()
    return DecoderConfig.model_validate({**sized, **changes})


def first_family(config: DecoderConfig) -> str | None:
    for name, family in FAMILIES.items():
        try:
            if family.kind == "decoder" and family.write_config(config)["model_type"] == name:
                return name
        except CheckpointError:
            continue
    return None


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_a_preset_is_written_as_the_family_of_its_name(name: str) -> None:
    assert first_family(decoder(PRESETS[name]["model"])) == name


@pytest.mark.parametrize("name", WRITTEN)
def test_a_model_of_ours_is_written_as_the_first_family_that_is_the_same(name: str) -> None:
    changes, family = WRITTEN[name]
    assert first_family(decoder(changes)) == family


DYNAMIC = {"kind": "dynamic", "factor": 2, "original_max_seq_len": 32}
NOWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "as we begin": ({}, "embedding_norm is true, not false"),
    "sinks": ({**LLAMA_LIKE, "sinks": True}, "sinks is true, not false"),
    "positions": ({**LLAMA_LIKE, "positions": {"kind": "alibi"}}, "positions is alibi, not rotary"),
    "post-norm": ({**LLAMA_LIKE, "norm_placement": "post"}, "norm_placement is post, not pre"),
    "scale": ({**LLAMA_LIKE, "attention_scale": 0.3}, "attention_scale is 0.3, not 0.125"),
    "scaling": (
        {**LLAMA_LIKE, "positions": {"kind": "rotary", "scaling": DYNAMIC}},
        "positions.scaling.original_max_seq_len is 32, not 64",
    ),
    "several": (
        {**LLAMA_LIKE, "out_bias": True, "embedding_scale": 2.0},
        "out_bias is true, not false; embedding_scale is 2.0, not null",
    ),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_a_model_that_no_class_computes_is_refused_with_every_difference(name: str) -> None:
    changes, difference = NOWHERE[name]
    config = decoder(changes)
    assert first_family(config) is None
    with pytest.raises(CheckpointError) as caught:
        FAMILIES["llama"].write_config(config)
    assert caught.value.what == "LlamaForCausalLM: does not fit"
    assert difference in (caught.value.got or "")


class Tensors(ForeignTensors):
    """Tensors of some shapes, in memory."""

    files: tuple[Path, ...] = ()

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def describe(self, name: str) -> tuple[tuple[int, ...], torch.dtype | None]:
        return tuple(self.tensors[name].shape), self.tensors[name].dtype

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


TINY = {
    "model_type": "mixtral",
    **shape(16, 24, 2, 2, 1, 32, 257),
    "num_local_experts": 2,
    "architectures": ["MixtralForCausalLM"],
}


def tiny_tensors() -> dict[str, Tensor]:
    config = read(TINY)
    parameters = dict(build_model(config).named_parameters())
    return {
        name: part.detach()
        for rule in FAMILIES["mixtral"].rules(config)
        for name, part in zip(rule.theirs, rule.layout.split(parameters[rule.ours]), strict=True)
    }


def foreign(tensors: Mapping[str, Tensor], config: Mapping[str, Any] = TINY) -> ForeignModel:
    def tokenizer() -> Any:
        return train_tokenizer([], ByteBPEConfig(vocab_size=257))

    return ForeignModel("tiny", "safetensors", dict(config), Tensors(tensors), tokenizer)


def test_tensors_that_are_missing_extra_or_of_another_shape_are_all_told() -> None:
    tensors = tiny_tensors()
    gone = ["model.layers.0.block_sparse_moe.experts.1.w3.weight", "model.norm.weight"]
    for name in gone:
        del tensors[name]
    tensors |= {"model.layers.2.self_attn.q_proj.weight": torch.zeros(2), "visual.weight": torch.zeros(3)}
    tensors["lm_head.weight"] = torch.zeros(257, 15)
    with pytest.raises(StepwellError) as caught:
        import_weights(foreign(tensors))
    told = str(caught.value)
    for name in (*gone, "model.layers.2.self_attn.q_proj.weight", "visual.weight"):
        assert name in told
    assert "2 tensors missing" in told
    assert "2 tensors not known" in told
    assert "lm_head.weight (257, 15), wanted (257, 16)" in told


def test_a_sequence_past_max_seq_len_is_refused() -> None:
    imported = import_weights(foreign(tiny_tensors()))
    model = build_model(imported.skeleton.config)
    model(torch.zeros(1, 32, dtype=torch.int64))
    with pytest.raises(UsageError, match="max_seq_len = 32"):
        model(torch.zeros(1, 33, dtype=torch.int64))
    state = model.start(1, 32)
    model.extend(state, torch.zeros(1, 32, dtype=torch.int64))
    with pytest.raises(UsageError, match="33 tokens"):
        model.extend(state, torch.zeros(1, 1, dtype=torch.int64))
