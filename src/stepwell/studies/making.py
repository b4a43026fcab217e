"""What steps of the data room ask a model for: texts that it writes, and vectors of texts.

A checkpoint becomes a plain function, so that the data room needs to know of no model. This file leaves out which
prompts are asked (`data/steps/augmentation/augment.py`) and what the vectors are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stepwell.checkpoints import load_checkpoint
from stepwell.data import TextEmbedder, TextMaker
from stepwell.inference import SamplingParams, embed_texts, generate_many

MADE_TOKENS = 256
"""Longest text that is made for a prompt."""


def open_text_maker(path: Path) -> TextMaker:
    """A checkpoint as a function from prompts to texts, one for each; the same prompts give the same texts.

    Args:
        path: a run directory or a checkpoint directory.

    Raises:
        CheckpointError: when there is no whole checkpoint.
    """
    loaded = load_checkpoint(path)
    params = SamplingParams(max_tokens=MADE_TOKENS, temperature=0.8, top_p=0.95, seed=0)

    def make(prompts: Sequence[str]) -> Sequence[str]:
        return [one.text for (one,) in generate_many(loaded.model, loaded.tokenizer, list(prompts), params)]

    return make


def open_embedder(path: Path) -> TextEmbedder:
    """A checkpoint as a function from texts to vectors of length 1, the mean of its hidden states.

    Args:
        path: a run directory or a checkpoint directory.

    Raises:
        CheckpointError: when there is no whole checkpoint.
    """
    loaded = load_checkpoint(path)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return embed_texts(loaded.model, loaded.tokenizer, texts)

    return embed
