"""Training a byte-level BPE: every text and every byte string has token ids, and they give it back exactly.

The `tokenizers` library learns the merges; this file says how text is cut before, and which tokens there are from the
beginning. It leaves out how the result is used (`tokenizer.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, trainers

from stepwell.tokenizers.config import END_OF_TEXT, ByteBPEConfig
from stepwell.tokenizers.spelling import BYTE_OF_LETTER
from stepwell.tokenizers.splitting import LLAMA3, Splitting
from stepwell.tokenizers.tokenizer import Tokenizer


def train_byte_bpe(texts: Iterable[str], config: ByteBPEConfig) -> Tokenizer:
    """Learn a byte-level BPE from texts (Sennrich et al. 2016); the same texts give the same tokenizer.

    Args:
        texts: the documents of the train split, read once.
        config: its vocabulary size and special tokens.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts have no more pairs to merge.
    """
    backend = tokenizers.Tokenizer(models.BPE())
    Splitting((LLAMA3,)).apply(backend)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[END_OF_TEXT, *config.special_tokens],
        initial_alphabet=sorted(BYTE_OF_LETTER),
        show_progress=False,
    )
    # A special token in the training text must count as ordinary characters there too.
    backend.encode_special_tokens = True
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend)
