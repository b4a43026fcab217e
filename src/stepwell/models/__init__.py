"""Architectures, one file each, and their catalog."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.models.decoder_config import DecoderConfig, decoder_sized

if TYPE_CHECKING:
    from stepwell.models.catalog import MODELS, build_model
    from stepwell.models.decoder import Decoder
    from stepwell.models.language_model import LanguageModel
    from stepwell.models.ngram import KneserNey

__all__ = ["MODELS", "Decoder", "DecoderConfig", "KneserNey", "LanguageModel", "build_model", "decoder_sized"]

__getattr__ = open_late(
    __name__,
    {
        "MODELS": "catalog",
        "build_model": "catalog",
        "Decoder": "decoder",
        "LanguageModel": "language_model",
        "KneserNey": "ngram",
    },
)
