"""Training a vocabulary of single characters, and what vocabularies of characters have in common.

The frequent characters have an id each; one that has none is written as its bytes (`<0xE4>`), or is `<unk>`. So the ids
are: special tokens, bytes or `<unk>`, then what was learned. This file leaves out pieces of several characters.
"""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models

from stepwell.tokenizers.config import UNKNOWN, CharacterConfig, UnigramConfig, WordPieceConfig
from stepwell.tokenizers.cutting import known_characters
from stepwell.tokenizers.tokenizer import Tokenizer

BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))


def train_characters(texts: Iterable[str], config: CharacterConfig) -> Tokenizer:
    """Collect the most frequent characters of texts; those of equal frequency are taken in the order of Unicode.

    Args:
        texts: the documents of the train split, read once.
        config: how many, and what becomes of the others.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts have fewer characters.
    """
    known = known_characters(texts, coverage=config.character_coverage)[: config.vocab_size - config.base_size]
    vocab = {token: n for n, token in enumerate([*base_tokens(config), *known])}
    unknown = None if config.byte_fallback else UNKNOWN
    backend = tokenizers.Tokenizer(models.BPE(vocab, [], unk_token=unknown, byte_fallback=config.byte_fallback))
    backend.decoder = decoder_of(config.byte_fallback)
    backend.add_special_tokens(list(config.every_special_token))
    return Tokenizer(backend)


def base_tokens(config: CharacterConfig | UnigramConfig | WordPieceConfig) -> list[str]:
    """The tokens before anything is learned, by id: special tokens, then bytes or `<unk>`."""
    return [*config.every_special_token, *(BYTE_TOKENS if config.byte_fallback else [UNKNOWN])]


def decoder_of(byte_fallback: bool) -> decoders.Decoder:
    """The decoder of pieces whose blanks are blanks."""
    return decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]) if byte_fallback else decoders.Fuse()
