"""Every family of transformers that can be read and written, one row each, by its `model_type`.

Whoever adds a family adds its config, its rules and a row here, and gets the import and export tests for it. Where a
model of our own making fits several classes, the first one in the table that can represent it is written.
"""

from __future__ import annotations

from stepwell.checkpoints.huggingface.apertus import APERTUS
from stepwell.checkpoints.huggingface.decoders import GPT2, LLAMA
from stepwell.checkpoints.huggingface.family import ForeignFamily

FAMILIES: dict[str, ForeignFamily] = {
    "llama": LLAMA,
    "gpt2": GPT2,
    "apertus": APERTUS,
}
