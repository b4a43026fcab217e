"""Training a unigram model: pieces with probabilities, and a text cut in the most probable way.

Which characters are known is decided first, then pieces are learned inside the words that they make. What is not known
is written as its bytes, or is `<unk>`. This file leaves out the learning itself (`piece_search.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import models, pre_tokenizers

from stepwell.tokenizers.characters import base_tokens, decoder_of
from stepwell.tokenizers.config import UNKNOWN, UnigramConfig
from stepwell.tokenizers.cutting import CUT, at_rare, at_words, cuts_of, known_characters
from stepwell.tokenizers.encoders import HARDLY_EVER
from stepwell.tokenizers.piece_search import learn_pieces
from stepwell.tokenizers.tokenizer import Tokenizer

DIGITS = 6
"""Of a score: enough to tell pieces apart, few enough to be the same on every processor."""


def train_unigram(texts: Iterable[str], config: UnigramConfig) -> Tokenizer:
    """Learn a unigram model from texts; the same texts give the same tokenizer.

    At most half of what is learned are characters, so that there is room for longer pieces.

    Args:
        texts: the documents of the train split, held in memory.
        config: its vocabulary size, special tokens and cuts, and what becomes of rare characters.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts do not give more pieces.

    Raises:
        TokenizerError: when a library is missing.
    """
    texts = list(at_words(texts, config))
    base = base_tokens(config)
    room = config.vocab_size - len(base)
    known = known_characters(
        texts,
        coverage=config.character_coverage,
        at_most=(config.vocab_size - config.base_size) // 2,
        always=config.own_characters,
    )
    cuts = pre_tokenizers.Sequence(cuts_of(config))
    words = Counter[str]()
    for text in at_rare(texts, known):
        for part in text.split(CUT):
            words.update(word for word, _ in cuts.pre_tokenize_str(part))
    learned = learn_pieces(words, known, room)
    best = sorted(((piece, round(score, DIGITS)) for piece, score in learned.items()), key=lambda one: (-one[1], one))
    vocab = [*((token, HARDLY_EVER) for token in base), *(one for one in best if one[0] not in base)]
    # The library wants a piece for the unknown; with all bytes there it never comes to that.
    unknown = base.index("<0x00>" if config.byte_fallback else UNKNOWN)
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unknown, config.byte_fallback))
    backend.pre_tokenizer = cuts
    backend.decoder = decoder_of(config.byte_fallback)
    backend.add_special_tokens(list(config.every_special_token))
    return Tokenizer(backend)
