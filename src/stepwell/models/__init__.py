"""Architectures, one file each, and their catalog."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.models.catalog import MODELS, AnyModelConfig, Family, build_model
from stepwell.models.decoder_config import DecoderConfig, decoder_sized
from stepwell.models.model_config import ModelConfig

if TYPE_CHECKING:
    from stepwell.models.decoder import Decoder
    from stepwell.models.language_model import LanguageModel
    from stepwell.models.ngram import KneserNey

__all__ = [
    "MODELS",
    "AnyModelConfig",
    "Decoder",
    "DecoderConfig",
    "Family",
    "KneserNey",
    "LanguageModel",
    "ModelConfig",
    "build_model",
    "decoder_sized",
]

__getattr__ = open_late(
    __name__,
    {
        "Decoder": "decoder",
        "LanguageModel": "language_model",
        "KneserNey": "ngram",
    },
)
