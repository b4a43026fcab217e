"""Every architecture, one row each.

A row names the config, the class that is built from it and the dial that sizes it. Whoever adds an architecture adds
one file and one row here, and gets the contract suite for it.
"""

from __future__ import annotations

from stepwell.models.decoder import Decoder
from stepwell.models.decoder_config import DecoderConfig
from stepwell.models.language_model import LanguageModel

MODELS: dict[str, tuple[type[DecoderConfig], type[Decoder]]] = {
    "decoder": (DecoderConfig, Decoder),
}


def build_model(config: DecoderConfig, seed: int = 0) -> LanguageModel:
    """Build and initialise the model of a config.

    Args:
        config: any config of the catalog; its `kind` names the row.
        seed: decides every initial weight.
    """
    return MODELS[config.kind][1](config, seed)
