"""Simple models that a trained one must beat, and may lean on."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.baselines.bm25 import BM25, terms_of
    from stepwell.baselines.catalog import FOLDER, TAGGERS, TEXT_MODELS, SimpleModel, load_simple_model, open_beside
    from stepwell.baselines.features import Features, is_dense
    from stepwell.baselines.taggers import PerceptronTagger, Tagger, WordTagger
    from stepwell.baselines.text_models import TextModel

__all__ = [
    "BM25",
    "FOLDER",
    "TAGGERS",
    "TEXT_MODELS",
    "Features",
    "PerceptronTagger",
    "SimpleModel",
    "Tagger",
    "TextModel",
    "WordTagger",
    "is_dense",
    "load_simple_model",
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
        "TAGGERS": "catalog",
        "SimpleModel": "catalog",
        "PerceptronTagger": "taggers",
        "Tagger": "taggers",
        "WordTagger": "taggers",
        "TextModel": "text_models",
        "load_simple_model": "catalog",
    },
)
