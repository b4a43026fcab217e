"""From a person's files to batches: sources -> documents -> text package -> token shards -> packed rows.

Every step is a pure function of what it reads, so a rerun gives the same bytes and unchanged inputs are not prepared
twice. NumPy and Arrow only; this room leaves out tensors and what a task makes of a document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.data.config import DataConfig
from stepwell.data.fields import FieldConfig, group_field, text_of
from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.data.active import choose_to_label
    from stepwell.data.documents import Document, SplitName, tidy
    from stepwell.data.engines import Engine
    from stepwell.data.facts import CorpusFacts, StepFacts
    from stepwell.data.labels import LABEL_COLUMNS, LabelNoise, confident_learning
    from stepwell.data.languages import language_scores
    from stepwell.data.prepare import prepare_text, read_documents
    from stepwell.data.steps.step import Surroundings, TextEmbedder, TextMaker, needed
    from stepwell.data.text_package import PreparedText
    from stepwell.data.tokens.comparing import (
        TokenizerFigures,
        choose_tokenizer,
        compare_tokenizers,
        comparison_table,
    )
    from stepwell.data.tokens.examples import Example, ExampleFacts, ExampleMaker, examples_of
    from stepwell.data.tokens.packing import Batch, PackedEpoch, Packer, pack_best_fit
    from stepwell.data.tokens.shards import TokenShards, TokenSplit, tokenize_documents, tokenize_text
else:
    __getattr__ = open_late(
        __name__,
        {
            "Batch": "tokens.packing",
            "CorpusFacts": "facts",
            "Document": "documents",
            "Engine": "engines",
            "Example": "tokens.examples",
            "ExampleFacts": "tokens.examples",
            "ExampleMaker": "tokens.examples",
            "examples_of": "tokens.examples",
            "LABEL_COLUMNS": "labels",
            "LabelNoise": "labels",
            "PackedEpoch": "tokens.packing",
            "Packer": "tokens.packing",
            "PreparedText": "text_package",
            "SplitName": "documents",
            "StepFacts": "facts",
            "Surroundings": "steps.step",
            "TextEmbedder": "steps.step",
            "language_scores": "languages",
            "needed": "steps.step",
            "TextMaker": "steps.step",
            "TokenShards": "tokens.shards",
            "TokenSplit": "tokens.shards",
            "TokenizerFigures": "tokens.comparing",
            "choose_to_label": "active",
            "choose_tokenizer": "tokens.comparing",
            "compare_tokenizers": "tokens.comparing",
            "comparison_table": "tokens.comparing",
            "confident_learning": "labels",
            "pack_best_fit": "tokens.packing",
            "prepare_text": "prepare",
            "tidy": "documents",
            "read_documents": "prepare",
            "tokenize_documents": "tokens.shards",
            "tokenize_text": "tokens.shards",
        },
    )

__all__ = [
    "LABEL_COLUMNS",
    "Batch",
    "CorpusFacts",
    "DataConfig",
    "Document",
    "Engine",
    "Example",
    "ExampleFacts",
    "ExampleMaker",
    "FieldConfig",
    "LabelNoise",
    "PackedEpoch",
    "Packer",
    "PreparedText",
    "SplitName",
    "StepFacts",
    "Surroundings",
    "TextEmbedder",
    "TextMaker",
    "TokenShards",
    "TokenSplit",
    "TokenizerFigures",
    "choose_to_label",
    "choose_tokenizer",
    "compare_tokenizers",
    "comparison_table",
    "confident_learning",
    "examples_of",
    "group_field",
    "language_scores",
    "needed",
    "pack_best_fit",
    "prepare_text",
    "read_documents",
    "text_of",
    "tidy",
    "tokenize_documents",
    "tokenize_text",
]
