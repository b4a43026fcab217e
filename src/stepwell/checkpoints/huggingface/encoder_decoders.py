"""What the encoder-decoders of transformers share: how a target begins, what is never written, and two depths.

A generation config may say it alone, so it is looked up beside the config. Beam search, lengths and repetition, which
such files ask for too, are ways to search and no part of a model; they are given back as they came. This file leaves
out the families (`encoder_decoders_t5.py`, `encoder_decoders_bart.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stepwell.checkpoints.huggingface.family import ForeignConfig
from stepwell.checkpoints.huggingface.spelling import refuse
from stepwell.models import EncoderDecoderConfig, ModelConfig

TARGETS = ("decoder_start_token_id", "forced_bos_token_id", "bad_words_ids")
"""What a generation config says of targets; where it is silent, the config itself may."""


def said_of_targets(tensors: Mapping[str, Tensor], generation: Mapping[str, Any]) -> dict[str, Any]:
    """What the generation config says of targets."""
    return {name: generation[name] for name in TARGETS if generation.get(name) is not None}


def read_targets(config: ForeignConfig, default: int) -> dict[str, Any]:
    """How a target begins, and what is never written in one.

    Raises:
        CheckpointError: for words of several tokens that are never to be written.
    """
    start = config.get("decoder_start_token_id")
    forced = config.get("forced_bos_token_id")
    never = config.get("bad_words_ids") or []
    if any(len(word) != 1 for word in never):
        raise refuse("bad_words_ids", never, "single tokens")
    return {
        "prompt": "source",
        "start_ids": [default if start is None else start, *([] if forced is None else [forced])],
        "never_ids": [word[0] for word in never],
    }


def write_targets(config: EncoderDecoderConfig) -> dict[str, Any]:
    """What `read_targets` reads."""
    written: dict[str, Any] = {"is_encoder_decoder": True, "decoder_start_token_id": config.start_ids[0]}
    if len(config.start_ids) > 1:
        written["forced_bos_token_id"] = config.start_ids[1]
    if config.never_ids:
        written["bad_words_ids"] = [[token_id] for token_id in config.never_ids]
    return written


def read_layers(encoder: int, decoder: int) -> dict[str, Any]:
    """The depths of both halves as fields of ours, said in one way only."""
    return {"num_layers": decoder, "num_encoder_layers": None if encoder == decoder else encoder}


def said_once(config: ModelConfig) -> EncoderDecoderConfig:
    """A config that says the number of layers as one that was read does."""
    assert isinstance(config, EncoderDecoderConfig)
    return config.model_copy(update=read_layers(config.encoder_layers, config.num_layers))
