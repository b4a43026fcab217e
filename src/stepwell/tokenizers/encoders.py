"""Two encoders from one backend: one for text, and one for text in which special tokens are meant.

A text must never make a special token by accident. Most models get there by a switch of the library; a unigram model
has its special tokens among its pieces and would choose them, so its encoder is a copy in which they are hidden. This
file leaves out what the ids are for.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import tokenizers
from tokenizers import models

NEVER = -1e6
"""A unigram piece with this score, or a lower one, is there to be read only: no text is cut into it."""


def plain_encoder(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The encoder for which the literal characters of a special token are ordinary text."""
    if isinstance(backend.model, models.Unigram):
        special = {n for n, token in backend.get_added_tokens_decoder().items() if token.special}
        encoder = _without(backend, lambda token_id, score: token_id in special or score <= NEVER)
    else:
        encoder = backend
    encoder.encode_special_tokens = True
    return encoder


def special_encoder(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The encoder that makes special tokens of their literal characters; a copy, so that neither changes the other."""
    if isinstance(backend.model, models.Unigram):
        return _without(backend, lambda _, score: score <= NEVER)
    return tokenizers.Tokenizer.from_str(backend.to_str(pretty=False))


def _without(backend: tokenizers.Tokenizer, hides: Callable[[int, float], bool]) -> tokenizers.Tokenizer:
    """A copy of a unigram tokenizer, in which some pieces are spelled as no text is (U+FDD0 is no character)."""
    settings = json.loads(backend.to_str(pretty=False))
    added = {token["id"]: token for token in settings["added_tokens"]}
    for token_id, piece in enumerate(settings["model"]["vocab"]):
        if hides(token_id, piece[1]):
            hidden = f"\ufdd0{token_id}"
            piece[:] = hidden, 0.0
            if token_id in added:
                added[token_id]["content"] = hidden
    settings["post_processor"] = None  # it names special tokens, and no encoder here adds any
    return tokenizers.Tokenizer.from_str(json.dumps(settings))
