"""Simple models that a trained one must beat, and may lean on."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.baselines.catalog import FOLDER, TEXT_MODELS, load_text_model, open_beside
    from stepwell.baselines.features import Features, is_dense
    from stepwell.baselines.text_models import TextModel

__all__ = ["FOLDER", "TEXT_MODELS", "Features", "TextModel", "is_dense", "load_text_model", "open_beside"]

__getattr__ = open_late(
    __name__,
    {
        "Features": "features",
        "is_dense": "features",
        "FOLDER": "catalog",
        "open_beside": "catalog",
        "TEXT_MODELS": "catalog",
        "TextModel": "text_models",
        "load_text_model": "catalog",
    },
)
