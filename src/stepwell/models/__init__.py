"""Architectures, one file each, and their catalog."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.models.adapter_config import (
    AdapterConfig,
    BottleneckConfig,
    LoRAConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
)
from stepwell.models.catalog import MODELS, AnyModelConfig, Family, build_model
from stepwell.models.decoder_config import DecoderConfig, decoder_sized
from stepwell.models.encoder_config import EncoderConfig, encoder_sized
from stepwell.models.encoder_decoder_config import EncoderDecoderConfig, encoder_decoder_sized, transformer_base
from stepwell.models.feed_forward_config import FeedForwardConfig, feed_forward_sized
from stepwell.models.model_config import ModelConfig
from stepwell.models.ngram_config import NGramConfig, ngram_sized
from stepwell.models.recurrent_config import RecurrentConfig, lstm_textbook, recurrent_sized
from stepwell.models.recurrent_encoder_decoder_config import (
    RecurrentEncoderDecoderConfig,
    recurrent_encoder_decoder_sized,
)
from stepwell.models.task_head_config import NgramFeaturesConfig, TaskHeadConfig
from stepwell.models.transformer_config import TransformerConfig

if TYPE_CHECKING:
    from stepwell.models.adapting import add_adapter, remove_adapter, without_adapter
    from stepwell.models.decoder import Decoder
    from stepwell.models.encoder import Encoder
    from stepwell.models.encoder_decoder import EncoderDecoder
    from stepwell.models.feed_forward import FeedForward
    from stepwell.models.language_model import LanguageModel, Output
    from stepwell.models.ngram_model import NGram
    from stepwell.models.recurrent import RecurrentLanguageModel
    from stepwell.models.recurrent_encoder_decoder import RecurrentEncoderDecoder
    from stepwell.models.stack import Stack
    from stepwell.models.task_head import TaskHead, pooled
    from stepwell.models.vocabulary import load_extended
    from stepwell.models.word_vectors import fill_embeddings

__all__ = [
    "MODELS",
    "AdapterConfig",
    "AnyModelConfig",
    "BottleneckConfig",
    "Decoder",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "Family",
    "FeedForward",
    "FeedForwardConfig",
    "LanguageModel",
    "LoRAConfig",
    "ModelConfig",
    "NGram",
    "NGramConfig",
    "NgramFeaturesConfig",
    "Output",
    "PrefixTuningConfig",
    "PromptTuningConfig",
    "RecurrentConfig",
    "RecurrentEncoderDecoder",
    "RecurrentEncoderDecoderConfig",
    "RecurrentLanguageModel",
    "Stack",
    "TaskHead",
    "TaskHeadConfig",
    "TransformerConfig",
    "add_adapter",
    "build_model",
    "decoder_sized",
    "encoder_decoder_sized",
    "encoder_sized",
    "feed_forward_sized",
    "fill_embeddings",
    "load_extended",
    "lstm_textbook",
    "ngram_sized",
    "pooled",
    "recurrent_encoder_decoder_sized",
    "recurrent_sized",
    "remove_adapter",
    "transformer_base",
    "without_adapter",
]

__getattr__ = open_late(
    __name__,
    {
        "add_adapter": "adapting",
        "remove_adapter": "adapting",
        "without_adapter": "adapting",
        "Decoder": "decoder",
        "Encoder": "encoder",
        "EncoderDecoder": "encoder_decoder",
        "FeedForward": "feed_forward",
        "LanguageModel": "language_model",
        "Output": "language_model",
        "Stack": "stack",
        "TaskHead": "task_head",
        "pooled": "task_head",
        "NGram": "ngram_model",
        "RecurrentLanguageModel": "recurrent",
        "RecurrentEncoderDecoder": "recurrent_encoder_decoder",
        "fill_embeddings": "word_vectors",
        "load_extended": "vocabulary",
    },
)
