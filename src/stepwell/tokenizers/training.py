"""Which tokenizers can be trained on a text, by kind.

The kind in the recipe names a row of a literal table. This file leaves out the training itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stepwell.errors import TokenizerError
from stepwell.tokenizers.byte_bpe import train_byte_bpe
from stepwell.tokenizers.config import ByteBPEConfig, PretrainedTokenizerConfig, WordLevelConfig
from stepwell.tokenizers.tokenizer import Tokenizer
from stepwell.tokenizers.word_level import train_word_level

TRAINERS: dict[str, Callable[[Iterable[str], Any], Tokenizer]] = {
    "byte_bpe": train_byte_bpe,
    "word": train_word_level,
}
"""Kind -> what learns it from texts."""


def train_tokenizer(
    texts: Iterable[str], config: ByteBPEConfig | WordLevelConfig | PretrainedTokenizerConfig
) -> Tokenizer:
    """Learn a tokenizer from texts; the same texts give the same tokenizer.

    Args:
        texts: the documents of the train split, read once.
        config: what it is to be.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts do not give more.

    Raises:
        TokenizerError: for a kind that is not trained but taken over.
    """
    if config.kind not in TRAINERS:
        raise TokenizerError(
            f"tokenizer: kind {config.kind} is not trained", wanted=" or ".join(TRAINERS), do="load it from its path"
        )
    return TRAINERS[config.kind](texts, config)
