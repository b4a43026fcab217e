"""Every family of transformers that can be read and written, one row each, by its `model_type`.

Whoever adds a family adds its config, its rules and a row here, and gets the import and export tests for it. Where a
model of our own making fits several classes, the first one in the table that can represent it is written.
"""

from __future__ import annotations

from stepwell.checkpoints.huggingface.apertus import APERTUS
from stepwell.checkpoints.huggingface.decoders_gemma import GEMMA2, GEMMA3
from stepwell.checkpoints.huggingface.decoders_gpt import GPT2, GPT_NEOX
from stepwell.checkpoints.huggingface.decoders_llama import LLAMA, MISTRAL, OLMO2, QWEN2, QWEN3, SMOLLM3
from stepwell.checkpoints.huggingface.decoders_moe import MIXTRAL, QWEN3_MOE
from stepwell.checkpoints.huggingface.encoder_decoders_bart import BART, MARIAN
from stepwell.checkpoints.huggingface.encoder_decoders_t5 import MT5, T5
from stepwell.checkpoints.huggingface.encoders import BERT, MODERN_BERT, ROBERTA
from stepwell.checkpoints.huggingface.family import ForeignFamily

FAMILIES: dict[str, ForeignFamily] = {
    "llama": LLAMA,
    "qwen3": QWEN3,
    "qwen2": QWEN2,
    "mistral": MISTRAL,
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    "olmo2": OLMO2,
    "smollm3": SMOLLM3,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "mixtral": MIXTRAL,
    "qwen3_moe": QWEN3_MOE,
    "apertus": APERTUS,
    "bert": BERT,
    "roberta": ROBERTA,
    "modernbert": MODERN_BERT,
    "t5": T5,
    "mt5": MT5,
    "bart": BART,
    "marian": MARIAN,
}
