"""Tiny GGUF files as llama.cpp's converter writes them, from tiny models of transformers.

Names of tensors and settings come from the `gguf` library's own tables and writer; what the converter does to the
numbers is written out here once more, so that the reader is held to the format and not to itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGUFWriter

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "gpt_neox": gguf.MODEL_ARCH.GPTNEOX,
}

PAIRED = ("llama", "mixtral", "smollm3")
"""Model types whose query and key rows the converter puts into pairs."""

Store = Callable[[torch.Tensor], tuple[np.ndarray, Any]]
"""How a tensor is stored: the array, and the type it is declared as (None: what the array is)."""


def as_float32(tensor: torch.Tensor) -> tuple[np.ndarray, Any]:
    return tensor.float().numpy(), None


def write_gguf(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    *,
    store: Store = as_float32,
    tokenizer: Any = None,
    change: Callable[[GGUFWriter], None] = lambda writer: None,
) -> Path:
    """Convert a model.

    Args:
        path: the file to write.
        config: config.json of transformers 5.
        tensors: by their names on disk.
        store: how matrices are stored; vectors are float32 always.
        tokenizer: one of ours, whose vocabulary is written along.
        change: what else a test wants in the file.
    """
    arch = ARCHITECTURES[config["model_type"]]
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    _settings(writer, config)
    if tokenizer is not None:
        _vocabulary(writer, tokenizer)
    change(writer)
    names = gguf.get_tensor_name_map(arch, 64)
    for name, tensor in _gathered(config, tensors).items():
        stem, _, end = name.rpartition(".")
        written = f"{names.get_name(stem)}.{end}"
        values = _converted(config, name, tensor)
        array, kind = as_float32(values) if values.ndim == 1 else store(values)
        writer.add_tensor(written, array, raw_dtype=kind)
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(config, rope))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _settings(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    heads = config.get("num_attention_heads", config.get("n_head"))
    width = config.get("hidden_size", config.get("n_embd"))
    writer.add_block_count(config.get("num_hidden_layers", config.get("n_layer")))
    writer.add_context_length(config.get("max_position_embeddings", config.get("n_positions")))
    writer.add_embedding_length(width)
    writer.add_head_count(heads)
    writer.add_feed_forward_length(config.get("intermediate_size") or 4 * width)
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        writer.add_layer_norm_eps(config.get("layer_norm_eps", config.get("layer_norm_epsilon")))
    if config["model_type"] == "gpt2":
        return
    if config["model_type"] == "gpt_neox":
        writer.add_rope_dimension_count(int(config["rope_parameters"]["partial_rotary_factor"] * (width // heads)))
        writer.add_parallel_residual(config["use_parallel_residual"])
        return
    head_dim = config.get("head_dim") or width // heads
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_vocab_size(config["vocab_size"])
    if config.get("head_dim"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    rope = config["rope_parameters"].get("full_attention", config["rope_parameters"])
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
        if "original_max_position_embeddings" in rope:
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if config["model_type"].startswith("gemma"):
        writer.add_sliding_window(config["sliding_window"])
    if config["model_type"] == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if "num_experts_per_tok" in config:
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


def _gathered(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, those of the experts of a layer as one."""
    if "num_local_experts" not in config:
        return dict(tensors)
    plain = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for name in (name for name in tensors if ".experts.0." in name):
        parts = [tensors[name.replace(".experts.0.", f".experts.{n}.")] for n in range(config["num_local_experts"])]
        merged = name.replace("block_sparse_moe.experts.0.", "mlp.experts.").replace("mlp.experts.0.", "mlp.experts.")
        for theirs, usual in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")):
            merged = merged.replace(f".{theirs}.", f".{usual}.")
        plain[merged] = torch.stack(parts)
    return plain


def _converted(config: Mapping[str, Any], name: str, tensor: torch.Tensor) -> torch.Tensor:
    """What llama.cpp's converter does to the numbers."""
    kind = config["model_type"]
    if kind in PAIRED and ("q_proj" in name or "k_proj" in name):
        heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
        return halves.swapaxes(1, 2).reshape(tensor.shape)
    if kind.startswith("gemma") and name.endswith("norm.weight"):
        return tensor + 1
    if kind == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return tensor.T.contiguous()
    if kind == "gpt_neox" and "query_key_value" in name:
        heads = config["num_attention_heads"]
        by_head = tensor.reshape(heads, 3, -1, *tensor.shape[1:])
        return torch.cat([by_head[:, part].flatten(0, 1) for part in range(3)])
    return tensor


def _llama3_factors(config: Mapping[str, Any], rope: Mapping[str, Any]) -> np.ndarray:
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    window, low, high = 8192, rope["low_freq_factor"], rope["high_freq_factor"]  # the converter's own default
    factors = []
    for n in range(0, dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (n / dim)
        if wavelength < window / high:
            factors.append(1.0)
        elif wavelength > window / low:
            factors.append(rope["factor"])
        else:
            smooth = (window / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def _vocabulary(writer: GGUFWriter, tokenizer: Any) -> None:
    """A byte-level vocabulary of ours, which is cut as Llama 3 cuts."""
    model = json.loads(tokenizer._backend.to_str())["model"]
    tokens = [tokenizer.token(n) for n in range(tokenizer.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if n in tokenizer.special_ids else 1 for n in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(tokenizer.bos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_add_bos_token(True)
