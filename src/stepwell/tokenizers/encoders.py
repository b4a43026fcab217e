"""Two encoders from one backend: one for text, and one for text in which special tokens are meant.

A text must never make a special token by accident. Most models get there by a switch of the library; a unigram model
has its special tokens among its pieces and would choose them, so its encoder is a copy in which they are hidden. This
file leaves out what the ids are for.
"""

from __future__ import annotations

import json

import tokenizers
from tokenizers import models

NEVER = -1e6
"""A unigram piece with this score, or a lower one, is there to be read only: no text is cut into it."""


def plain_encoder(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The encoder for which the literal characters of a special token are ordinary text."""
    encoder = _unigram_without(backend, special=True) if isinstance(backend.model, models.Unigram) else backend
    encoder.encode_special_tokens = True
    return encoder


def special_encoder(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The encoder that makes special tokens of their literal characters; a copy, so that neither changes the other."""
    if isinstance(backend.model, models.Unigram):
        return _unigram_without(backend, special=False)
    return tokenizers.Tokenizer.from_str(backend.to_str(pretty=False))


def _unigram_without(backend: tokenizers.Tokenizer, *, special: bool) -> tokenizers.Tokenizer:
    """A copy in which pieces that are only read, and perhaps the special ones, are spelled as no text is.

    U+FDD0 is no character, so no text has it.
    """
    settings = json.loads(backend.to_str(pretty=False))
    added = {token["id"]: token for token in settings["added_tokens"]}
    for token_id, piece in enumerate(settings["model"]["vocab"]):
        hides = special and added[token_id]["special"] if token_id in added else piece[1] <= NEVER
        if hides:
            hidden = f"\ufdd0{token_id}"
            piece[:] = hidden, 0.0
            if token_id in added:
                added[token_id]["content"] = hidden
    settings["post_processor"] = None  # it names special tokens, and no encoder here adds any
    return tokenizers.Tokenizer.from_str(json.dumps(settings))
