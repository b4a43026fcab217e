"""Apertus (Swiss AI Initiative, 2025): what our own default decoder is called in transformers.

It is the one class there with an MLP that is not gated between RMS norms and normalised queries and keys, and its
activation is free, so a decoder of stepwell's defaults is exactly an Apertus with `relu2`. The published Apertus
weights use an activation of their own (xIELU), which is refused by name. This file leaves out every other decoder.
"""

from __future__ import annotations

from typing import Any

from stepwell.checkpoints.huggingface.decoders import decoder_family, read_decoder
from stepwell.checkpoints.huggingface.decoders_llama import read_attention_bias
from stepwell.checkpoints.huggingface.family import ForeignConfig
from stepwell.checkpoints.huggingface.spelling import read_activation, read_rotary
from stepwell.models import DecoderConfig

PUBLISHED_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 12_000_000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
"""What the class takes when a config says nothing of rotary positions."""


def _read(config: ForeignConfig) -> DecoderConfig:
    spoken = config.get("rope_parameters") or config.get("rope_scaling")
    choices = {
        "activation": read_activation(config.get("hidden_act", "xielu")),
        "gated": False,
        "qk_norm": "head",
        "positions": read_rotary(config if spoken else {**config, "rope_parameters": PUBLISHED_ROPE}),
        **read_attention_bias(config),
    }
    return read_decoder({"rms_norm_eps": 1e-5, **config}, choices)


def _spell(config: DecoderConfig) -> dict[str, Any]:
    return {"attention_bias": config.qkv_bias}


APERTUS = decoder_family(
    "apertus",
    "ApertusForCausalLM",
    _read,
    _spell,
    norms={"pre": {"attention_norm": "attention_layernorm", "mlp_norm": "feedforward_layernorm"}},
)
