"""The architectures of GGUF files that can be represented: how llama.cpp spells them, and how transformers does.

One row of `ARCHITECTURES` for each says the model_type, the names of its settings and of its tensors, and what
llama.cpp's converter did to the numbers (rows of rotary heads paired, one added to Gemma's norms), which is undone. A
setting that no row knows is refused. This file leaves out how settings become a config (`settings.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from stepwell.checkpoints.huggingface.layouts import TRANSPOSED, PerHead

Change = Callable[[Tensor], Tensor]
"""Undoes what a converter did to a tensor."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """One `general.architecture`.

    Attributes:
        model_type: of transformers.
        fields: settings that both have, `llama.cpp: transformers`.
        ends: tensors outside of the layers, `llama.cpp: transformers`.
        layer: what transformers calls a layer (`model.layers.{}.`).
        block: tensors of a layer, likewise; `{}` stands for the expert.
        fixed: settings that llama.cpp takes for granted.
        changes: pattern of a tensor's name -> how to undo what the converter did, given the config.
        finish: settles what else follows from the file; gets the config so far, the settings and the shapes.
        also: settings that `finish` reads.
    """

    model_type: str
    fields: Mapping[str, str]
    ends: Mapping[str, str]
    layer: str
    block: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Callable[[Mapping[str, Any]], Change]] = field(default_factory=dict)
    finish: Callable[[dict[str, Any], Mapping[str, Any], Shapes], None] = lambda config, settings, shapes: None
    also: tuple[str, ...] = ()

    def locate(self, name: str, first: int) -> list[tuple[str, int | None]] | None:
        """The names of a stored tensor in transformers, each with the expert it is of.

        Args:
            name: in the file.
            first: size of its first dimension: the number of experts where it holds them all.

        Returns:
            None for a tensor that the architecture does not have.
        """
        found = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
        if found is None:
            return None
        layer, stem, end = found.groups()
        if layer is None:
            theirs = self.ends.get(stem)
            return None if theirs is None else [(f"{theirs}.{end}", None)]
        if stem not in self.block:
            return None
        whole = f"{self.layer.format(layer)}{self.block[stem]}.{end}"
        return [(whole.format(x), x) for x in range(first)] if "{}" in whole else [(whole, None)]

    def change(self, name: str, config: Mapping[str, Any]) -> Change | None:
        """How to undo what the converter did to a tensor; None when it did nothing."""
        for pattern, make in self.changes.items():
            if re.search(pattern, name):
                return make(config)
        return None


def _unpaired(num_heads: int) -> Change:
    """Rows of rotary heads from llama.cpp's pairs (0, E/2, 1, E/2 + 1, ...) back to halves (0, 1, ..., E/2, ...)."""

    def change(rows: Tensor) -> Tensor:
        pairs: Tensor = rows.unflatten(0, (num_heads, -1, 2))
        return pairs.transpose(1, 2).reshape(rows.shape)

    return change


def _one_less(norm: Tensor) -> Tensor:
    return (norm.float() - 1).to(norm.dtype)


_PAIRED = {
    r"\.attn_q\.": lambda config: _unpaired(config["num_attention_heads"]),
    r"\.attn_k\.": lambda config: _unpaired(config["num_key_value_heads"]),
}
_OFFSET_NORMS = {r"norm\.weight$": lambda config: _one_less}
_CONV1D = {
    r"\.(attn_qkv|attn_output|ffn_up|ffn_down)\.weight$": lambda config: lambda matrix: TRANSPOSED.join([matrix]),
}
_BY_HEAD = {r"\.attn_qkv\.": lambda config: lambda rows: PerHead(config["num_attention_heads"]).split(rows)[0]}

_FIELDS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_QK_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_PRE_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_OUTPUT_NORMS = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_SANDWICH_NORMS = _OUTPUT_NORMS | {"attn_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm"}
_LLAMA_BLOCK = _ATTENTION | _MLP | _PRE_NORMS


def _biases(config: dict[str, Any], settings: Mapping[str, Any], shapes: Shapes) -> None:
    config["attention_bias"] = "blk.0.attn_q.bias" in shapes
    config["mlp_bias"] = "blk.0.ffn_up.bias" in shapes


def _gemma_scale(whole_heads: int) -> Callable[[dict[str, Any], Mapping[str, Any], Shapes], None]:
    """The files do not say how Gemma scales its logits; llama.cpp knows the one size that differs by its depth."""

    def finish(config: dict[str, Any], settings: Mapping[str, Any], shapes: Shapes) -> None:
        per_head = config["hidden_size"] // config["num_attention_heads"]
        config["query_pre_attn_scalar"] = per_head if config["num_hidden_layers"] == whole_heads else config["head_dim"]

    return finish


def _gemma3(config: dict[str, Any], settings: Mapping[str, Any], shapes: Shapes) -> None:
    _gemma_scale(62)(config, settings, shapes)
    whole = config["rope_parameters"]
    config["rope_parameters"] = {
        "full_attention": whole,
        "sliding_attention": {"rope_type": "default", "rope_theta": settings.get("rope.freq_base_swa", 10_000.0)},
    }
    pattern = settings.get("attention.sliding_window_pattern", 6)
    layers = range(config["num_hidden_layers"])
    windows = pattern if isinstance(pattern, list) else [bool((layer + 1) % pattern) for layer in layers]
    config["layer_types"] = ["sliding_attention" if windows[layer] else "full_attention" for layer in layers]


def _gpt_neox(config: dict[str, Any], settings: Mapping[str, Any], shapes: Shapes) -> None:
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    config["rope_parameters"]["partial_rotary_factor"] = settings["rope.dimension_count"] / head_dim


def _gpt2(config: dict[str, Any], settings: Mapping[str, Any], shapes: Shapes) -> None:
    del config["rope_parameters"]


def _experts(gate: str, up: str, down: str) -> dict[str, str]:
    return {"ffn_gate_exps": gate, "ffn_up_exps": up, "ffn_down_exps": down}


LLAMA_WITH_EXPERTS = "llama with experts"
"""Mixtral calls itself `llama` too, and differs by having an `expert_count`."""

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        model_type="llama",
        fields=_FIELDS,
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_LLAMA_BLOCK,
        fixed={"hidden_act": "silu"},
        changes=_PAIRED,
        finish=_biases,
    ),
    LLAMA_WITH_EXPERTS: Architecture(
        model_type="mixtral",
        fields=_FIELDS | {"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"},
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_ATTENTION
        | _PRE_NORMS
        | {"ffn_gate_inp": "block_sparse_moe.gate"}
        | _experts(*(f"block_sparse_moe.experts.{{}}.{name}" for name in ("w1", "w3", "w2"))),
        fixed={"hidden_act": "silu", "sliding_window": None},
        changes=_PAIRED,
    ),
    "qwen2": Architecture(
        model_type="qwen2",
        fields=_FIELDS,
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_LLAMA_BLOCK,
        fixed={"hidden_act": "silu", "use_sliding_window": False},
    ),
    "qwen3": Architecture(
        model_type="qwen3",
        fields=_FIELDS,
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_LLAMA_BLOCK | _QK_NORM,
        fixed={"hidden_act": "silu", "use_sliding_window": False, "attention_bias": False},
    ),
    "qwen3moe": Architecture(
        model_type="qwen3_moe",
        fields=_FIELDS
        | {
            "expert_count": "num_experts",
            "expert_used_count": "num_experts_per_tok",
            "expert_feed_forward_length": "moe_intermediate_size",
        },
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_ATTENTION
        | _QK_NORM
        | _PRE_NORMS
        | {"ffn_gate_inp": "mlp.gate"}
        | _experts(*(f"mlp.experts.{{}}.{name}" for name in ("gate_proj", "up_proj", "down_proj"))),
        fixed={
            "hidden_act": "silu",
            "use_sliding_window": False,
            "attention_bias": False,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
    ),
    "gemma2": Architecture(
        model_type="gemma2",
        fields=_FIELDS
        | {
            "attention.sliding_window": "sliding_window",
            "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        },
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_ATTENTION | _MLP | _SANDWICH_NORMS,
        fixed={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False},
        changes=_OFFSET_NORMS,
        finish=_gemma_scale(46),
    ),
    "gemma3": Architecture(
        model_type="gemma3_text",
        fields=_FIELDS | {"attention.sliding_window": "sliding_window"},
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_ATTENTION | _QK_NORM | _MLP | _SANDWICH_NORMS,
        fixed={
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
        },
        changes=_OFFSET_NORMS,
        finish=_gemma3,
        also=("rope.freq_base_swa", "attention.sliding_window_pattern"),
    ),
    "olmo2": Architecture(
        model_type="olmo2",
        fields=_FIELDS,
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_ATTENTION | _QK_NORM | _MLP | _OUTPUT_NORMS,
        fixed={"hidden_act": "silu", "attention_bias": False},
    ),
    "smollm3": Architecture(
        model_type="smollm3",
        fields=_FIELDS,
        ends=_ENDS,
        layer="model.layers.{}.",
        block=_LLAMA_BLOCK,
        fixed={"hidden_act": "silu", "no_rope_layer_interval": 4, "use_sliding_window": False},
        changes=_PAIRED,
        finish=_biases,
    ),
    "gpt2": Architecture(
        model_type="gpt2",
        fields={
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "block_count": "n_layer",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        ends={
            "token_embd": "transformer.wte",
            "position_embd": "transformer.wpe",
            "output_norm": "transformer.ln_f",
            "output": "lm_head",
        },
        layer="transformer.h.{}.",
        block={
            "attn_norm": "ln_1",
            "attn_qkv": "attn.c_attn",
            "attn_output": "attn.c_proj",
            "ffn_norm": "ln_2",
            "ffn_up": "mlp.c_fc",
            "ffn_down": "mlp.c_proj",
        },
        fixed={"activation_function": "gelu_new"},
        changes=_CONV1D,
        finish=_gpt2,
    ),
    "gptneox": Architecture(
        model_type="gpt_neox",
        fields={
            name: theirs for name, theirs in _FIELDS.items() if not name.endswith(("_kv", "key_length", "rms_epsilon"))
        }
        | {
            "attention.layer_norm_epsilon": "layer_norm_eps",
            "use_parallel_residual": "use_parallel_residual",
        },
        ends={
            "token_embd": "gpt_neox.embed_in",
            "output_norm": "gpt_neox.final_layer_norm",
            "output": "embed_out",
        },
        layer="gpt_neox.layers.{}.",
        block={
            "attn_norm": "input_layernorm",
            "attn_qkv": "attention.query_key_value",
            "attn_output": "attention.dense",
            "ffn_norm": "post_attention_layernorm",
            "ffn_up": "mlp.dense_h_to_4h",
            "ffn_down": "mlp.dense_4h_to_h",
        },
        fixed={"hidden_act": "gelu", "attention_bias": True},
        changes=_BY_HEAD,
        finish=_gpt_neox,
    ),
}
