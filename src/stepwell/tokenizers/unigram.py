"""Training a unigram model: pieces with probabilities, and a text cut in the most probable way.

Which characters are known is decided first, then pieces are learned inside the words that they make. What is not known
is written as its bytes, or is `<unk>`. This file leaves out the learning itself (`piece_search.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import models, pre_tokenizers

from stepwell.tokenizers.characters import base_tokens, decoder_of
from stepwell.tokenizers.config import UNKNOWN, UnigramConfig
from stepwell.tokenizers.cutting import CUT, at_rare, at_words, cuts_of, known_characters, learn_in_room
from stepwell.tokenizers.encoders import HARDLY_EVER
from stepwell.tokenizers.piece_search import learn_pieces
from stepwell.tokenizers.tokenizer import Tokenizer

DIGITS = 6
"""Of a score: enough to tell pieces apart, few enough to be the same on every processor."""


def train_unigram(texts: Iterable[str], config: UnigramConfig) -> Tokenizer:
    """Learn a unigram model from texts; the same texts give the same tokenizer.

    At least half of the room is for pieces of several characters, if the texts give so many.

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
    own = config.own_characters
    scores: dict[str, float] = {}

    def learn(known: Sequence[str]) -> list[str]:
        scores.clear()
        scores.update(learn_pieces(_words(texts, known, config), known, room))
        return [piece for piece in scores if len(piece) > 1 and piece not in base]

    known = known_characters(texts, coverage=config.character_coverage, always=own)
    known, learned = learn_in_room(known, first=len(own), room=room, each=1, learn=learn)
    lowest = min(scores.values(), default=0.0)  # for characters that were too rare to learn with
    best = sorted((-round(scores.get(piece, lowest), DIGITS), piece) for piece in (*known, *learned))
    vocab = [*((token, HARDLY_EVER) for token in base), *((piece, -score) for score, piece in best)]
    # The library wants a piece for the unknown; with all bytes there it never comes to that.
    unknown = base.index("<0x00>" if config.byte_fallback else UNKNOWN)
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unknown, config.byte_fallback))
    backend.pre_tokenizer = pre_tokenizers.Sequence(cuts_of(config))
    backend.decoder = decoder_of(config.byte_fallback)
    backend.add_special_tokens(list(config.every_special_token))
    return Tokenizer(backend)


def _words(texts: Iterable[str], known: Sequence[str], config: UnigramConfig) -> Counter[str]:
    """The words of texts, cut at characters that are not known."""
    cut = pre_tokenizers.Sequence(cuts_of(config)).pre_tokenize_str
    words = Counter[str]()
    for text in at_rare(texts, known):
        for part in text.split(CUT):
            words.update(word for word, _ in cut(part))
    return words
