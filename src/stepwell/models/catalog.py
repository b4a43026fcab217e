"""Every architecture, one row each.

A row names the config, the dial that sizes it, the class that is built from it and how that class learns. Whoever adds
an architecture adds one file and one row here, and gets the contract suite for it. Nothing here loads a tensor: the
class behind a row is opened when the first model is built.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stepwell.errors import ConfigError
from stepwell.models.decoder_config import DecoderConfig, decoder_sized
from stepwell.models.encoder_config import EncoderConfig, encoder_sized
from stepwell.models.encoder_decoder_config import EncoderDecoderConfig, encoder_decoder_sized
from stepwell.models.feed_forward_config import FeedForwardConfig, feed_forward_sized
from stepwell.models.model_config import ModelConfig
from stepwell.models.ngram_config import NGramConfig, ngram_sized
from stepwell.models.recurrent_config import RecurrentConfig, gru_sized, lstm_sized
from stepwell.models.recurrent_encoder_decoder_config import (
    RecurrentEncoderDecoderConfig,
    recurrent_encoder_decoder_sized,
)

if TYPE_CHECKING:
    from stepwell.models.language_model import LanguageModel
    from stepwell.models.task_head import TaskHead


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        config: what its models are built from.
        sized: the dial: (depth, vocab_size=V, max_seq_len=T) -> config.
        opens: `file:class` within this room.
        learns: by `gradient`, or by `counting` once over the text.
        objectives: kinds of training objectives it can learn from, the one that suits it first.
    """

    config: type[ModelConfig]
    sized: Callable[..., ModelConfig]
    opens: str
    learns: Literal["gradient", "counting"] = "gradient"
    objectives: tuple[str, ...] = ("causal",)


MODELS: dict[str, Family] = {
    "decoder": Family(
        DecoderConfig,
        decoder_sized,
        opens="decoder:Decoder",
        objectives=("causal", "prefix", "distillation", "labels", "preference", "grpo", "contrastive"),
    ),
    "encoder": Family(
        EncoderConfig, encoder_sized, opens="encoder:Encoder", objectives=("masked", "labels", "span", "contrastive")
    ),
    "encoder_decoder": Family(
        EncoderDecoderConfig,
        encoder_decoder_sized,
        opens="encoder_decoder:EncoderDecoder",
        objectives=("causal", "span_corruption", "denoising", "sequence_to_sequence", "pairs"),
    ),
    "lstm": Family(
        RecurrentConfig,
        lstm_sized,
        opens="recurrent:RecurrentLanguageModel",
        objectives=("causal", "distillation", "labels", "preference", "grpo", "contrastive"),
    ),
    "gru": Family(
        RecurrentConfig,
        gru_sized,
        opens="recurrent:RecurrentLanguageModel",
        objectives=("causal", "distillation", "labels", "preference", "grpo", "contrastive"),
    ),
    "recurrent_encoder_decoder": Family(
        RecurrentEncoderDecoderConfig,
        recurrent_encoder_decoder_sized,
        opens="recurrent_encoder_decoder:RecurrentEncoderDecoder",
        objectives=("causal", "span_corruption", "denoising", "sequence_to_sequence", "pairs"),
    ),
    "feed_forward": Family(
        FeedForwardConfig, feed_forward_sized, opens="feed_forward:FeedForward", objectives=("causal", "distillation")
    ),
    "ngram": Family(NGramConfig, ngram_sized, opens="ngram_model:NGram", learns="counting"),
}

AnyModelConfig = Annotated[
    DecoderConfig
    | EncoderConfig
    | EncoderDecoderConfig
    | RecurrentConfig
    | RecurrentEncoderDecoderConfig
    | FeedForwardConfig
    | NGramConfig,
    Field(discriminator="kind"),
]
"""A config of any row, told apart by `kind`."""


def model_class(kind: str) -> type[LanguageModel]:
    """The class behind a row."""
    file, _, name = MODELS[kind].opens.partition(":")
    found: type[LanguageModel] = getattr(importlib.import_module(f"stepwell.models.{file}"), name)
    return found


def build_model(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """Build and initialise the model of a config.

    Args:
        config: any config of the catalog; its `kind` names the row.
        seed: decides every initial weight.
    """
    build: Callable[[ModelConfig, int], LanguageModel] = model_class(config.kind)
    model = build(config, seed)
    if config.task_head is not None:
        model.task_head = build_task_head(config, seed)
    return model


def build_task_head(config: ModelConfig, seed: int) -> TaskHead:
    """The task head of a config that has one.

    Raises:
        ConfigError: when its family has no hidden states for it.
    """
    if "labels" not in MODELS[config.kind].objectives or config.task_head is None:
        raise ConfigError(
            "model.task_head: not for this family",
            got=config.kind,
            wanted=f"one of {', '.join(kind for kind, family in MODELS.items() if 'labels' in family.objectives)}",
        )
    head: type[TaskHead] = importlib.import_module("stepwell.models.task_head").TaskHead
    return head(config.task_head, config.model_dump()["d_model"], seed)
