"""Texts that a model writes, for steps that add to a small corpus.

A checkpoint becomes a plain function from prompts to texts, so that the data room needs to know of no model. This file
leaves out which prompts are asked (`data/steps/augmentation/augment.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stepwell.checkpoints import load_checkpoint
from stepwell.data import TextMaker
from stepwell.inference import SamplingParams, generate_many

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
