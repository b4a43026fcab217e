"""Which tokenizers can be trained on a text, by kind.

The kind in the recipe names a row of a literal table. This file leaves out the training itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stepwell.errors import TokenizerError
from stepwell.tokenizers.byte_bpe import train_byte_bpe
from stepwell.tokenizers.characters import train_characters
from stepwell.tokenizers.config import PretrainedTokenizerConfig, TrainedConfig
from stepwell.tokenizers.tokenizer import Tokenizer
from stepwell.tokenizers.unigram import train_unigram
from stepwell.tokenizers.word_level import train_word_level
from stepwell.tokenizers.wordpiece import train_wordpiece

TRAINERS: dict[str, Callable[[Iterable[str], Any], Tokenizer]] = {
    "byte_bpe": train_byte_bpe,
    "unigram": train_unigram,
    "wordpiece": train_wordpiece,
    "character": train_characters,
    "word": train_word_level,
}
"""Kind -> what learns it from texts."""


MOST_CHARACTERS = 2_000_000
"""Of a text to learn from where that takes long: a unigram model, and pieces that go over several words."""


def train_tokenizer(texts: Iterable[str], config: TrainedConfig | PretrainedTokenizerConfig) -> Tokenizer:
    """Learn a tokenizer from texts; the same texts give the same tokenizer.

    Args:
        texts: the documents of the train split. Of a long text, a unigram model and one without pre-tokenizer take
            every k-th document, about two million characters in all.
        config: what it is to be.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts do not give more.

    Raises:
        TokenizerError: for a kind that is not trained but taken over, or when a library is missing.
    """
    if config.kind not in TRAINERS:
        raise TokenizerError(
            f"tokenizer: kind {config.kind} is not trained", wanted=" or ".join(TRAINERS), do="load it from its path"
        )
    if config.kind == "unigram" or getattr(config, "pre_tokenizer", None) == "none":
        texts = list(texts)
        texts = texts[:: -(-sum(map(len, texts)) // MOST_CHARACTERS) or 1]
    return TRAINERS[config.kind](texts, config)
