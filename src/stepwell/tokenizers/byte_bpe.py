"""Training a byte-level BPE: every text and every byte string has token ids, and they give it back exactly.

The `tokenizers` library learns the merges; this file says how text is cut before, and which tokens there are from the
beginning. It leaves out how the result is used (`tokenizer.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import decoders, models, pre_tokenizers, trainers

from stepwell.tokenizers.config import ByteBPEConfig
from stepwell.tokenizers.cutting import at_words, cuts_of, learner_of, letters
from stepwell.tokenizers.spelling import BYTE_OF_LETTER
from stepwell.tokenizers.tokenizer import Tokenizer


def train_byte_bpe(texts: Iterable[str], config: ByteBPEConfig) -> Tokenizer:
    """Learn a byte-level BPE from texts (Sennrich et al. 2016); the same texts give the same tokenizer.

    Args:
        texts: the documents of the train split, read once.
        config: its vocabulary size, special tokens and cuts.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts have no more pairs to merge.

    Raises:
        TokenizerError: when a library is missing.
    """
    cuts = cuts_of(config)
    backend = learner_of(models.BPE(), cuts, byte_level=True)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=list(config.every_special_token),
        initial_alphabet=sorted(BYTE_OF_LETTER),
        show_progress=False,
    )
    # A special token in the training text must count as ordinary characters there too.
    backend.encode_special_tokens = True
    backend.train_from_iterator(at_words(texts, config), trainer)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cuts, letters()])
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend)
