"""Simple models that a trained one must beat, and may lean on."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.baselines.bm25 import BM25, terms_of
    from stepwell.baselines.catalog import FOLDER, TEXT_MODELS, load_text_model, open_beside
    from stepwell.baselines.features import Features, is_dense
    from stepwell.baselines.taggers import PerceptronTagger, WordTagger
    from stepwell.baselines.text_models import TextModel

__all__ = [
    "BM25",
    "FOLDER",
    "TEXT_MODELS",
    "Features",
    "PerceptronTagger",
    "TextModel",
    "WordTagger",
    "is_dense",
    "load_text_model",
    "open_beside",
    "terms_of",
]

__getattr__ = open_late(
    __name__,
    {
        "BM25": "bm25",
        "terms_of": "bm25",
        "Features": "features",
        "is_dense": "features",
        "FOLDER": "catalog",
        "open_beside": "catalog",
        "TEXT_MODELS": "catalog",
        "PerceptronTagger": "taggers",
        "WordTagger": "taggers",
        "TextModel": "text_models",
        "load_text_model": "catalog",
    },
)
