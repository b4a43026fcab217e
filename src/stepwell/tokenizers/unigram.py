"""Training a unigram model: pieces with probabilities, and a text cut in the most probable way.

The `tokenizers` library finds the pieces (Kudo 2018): it begins with frequent substrings and drops those whose loss
costs least. Its scores differ in the last digits from run to run; here they are rounded, so that the same texts give
the same tokenizer. This file leaves out how a text is cut before (`cutting.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from stepwell.tokenizers.characters import base_tokens, decoder_of
from stepwell.tokenizers.config import UNKNOWN, UnigramConfig
from stepwell.tokenizers.cutting import at_rare, at_words, cuts_of, known_characters, learner_of
from stepwell.tokenizers.encoders import HARDLY_EVER
from stepwell.tokenizers.tokenizer import Tokenizer

SMALLEST = -20.0
"""Score of a character of which nothing better is known."""

DIGITS = 6
"""Of a score; what the library adds up in another order in each run shows from the thirteenth on."""

Scores = dict[str, float]


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
        at_most=room // 2,
        always="".join(base),  # or a text that spells such a token would be cut into it, for want of another way
    )
    learned = _learn(at_rare(texts, known), config, min(room, 1 << 20), list(known)) if known else {}
    best = sorted(_made_even(learned, known).items(), key=lambda one: (-one[1], one[0]))
    pieces = [(piece, score) for piece, score in best if piece not in base]
    vocab = [*((token, HARDLY_EVER) for token in base), *_within(pieces, room)]
    # The library wants a piece for the unknown; with all bytes there it never comes to that.
    unknown = base.index("<0x00>" if config.byte_fallback else UNKNOWN)
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unknown, config.byte_fallback))
    backend.pre_tokenizer = pre_tokenizers.Sequence(cuts_of(config))
    backend.decoder = decoder_of(config.byte_fallback)
    backend.add_special_tokens(list(config.every_special_token))
    return Tokenizer(backend)


def _learn(texts: Iterable[str], config: UnigramConfig, size: int, characters: list[str]) -> Scores:
    """The pieces that the library finds, with their scores as they come."""
    learner = learner_of(models.Unigram(), cuts_of(config), byte_level=False)
    trainer = trainers.UnigramTrainer(vocab_size=size, initial_alphabet=characters, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    return {piece: float(score) for piece, score in json.loads(learner.to_str())["model"]["vocab"]}


def _made_even(learned: Scores, known: dict[str, int]) -> Scores:
    """The scores rounded; a character that the library had dropped comes back with the lowest score of all pieces.

    The library itself brings them back too, but spreads their scores in an order of its own.
    """
    longer = [score for piece, score in learned.items() if len(piece) > 1]
    lowest = min(longer, default=SMALLEST)
    scores = {letter: max(learned.get(letter, lowest), lowest) for letter in known}
    scores |= {piece: score for piece, score in learned.items() if len(piece) > 1}
    return {piece: round(score, DIGITS) for piece, score in scores.items()}


def _within(pieces: list[tuple[str, float]], room: int) -> list[tuple[str, float]]:
    """So many of the pieces, every character among them; the longer ones with the lowest scores go."""
    too_many = len(pieces) - room
    longer = [number for number, (piece, _) in enumerate(pieces) if len(piece) > 1]
    gone = set(longer[len(longer) - too_many :]) if too_many > 0 else set()
    return [one for number, one in enumerate(pieces) if number not in gone]
