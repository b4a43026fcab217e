"""Two encoders from one backend: one for text, and one for text in which special tokens are meant.

A text must never make a special token by accident. Most models get there by a switch of the library; a unigram model
has its special tokens among its pieces and would choose them, so its encoder is a copy in which they are hidden. This
file leaves out what the ids are for.
"""

from __future__ import annotations

import json

import tokenizers
from tokenizers import models, pre_tokenizers

NEVER = -1e6
"""A unigram piece with this score, or a lower one, is there to be read only: no text is cut into it."""

HARDLY_EVER = -1e5
"""No text is cut into a unigram piece with this score as long as the vocabulary has each of its characters."""

NO_CHARACTER = "\ufdd0"
"""A code point that is no character, so hardly a text has it."""


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
    """A copy in which pieces that are only read, and perhaps the special ones, are spelled as no text is."""
    settings = json.loads(backend.to_str(pretty=False))
    added = {token["id"]: token for token in settings["added_tokens"]}
    hides_any = False
    for token_id, (_, score) in enumerate(settings["model"]["vocab"]):
        is_added = token_id in added
        if (special and added[token_id]["special"] and score > HARDLY_EVER) if is_added else score <= NEVER:
            hides_any, hidden = True, f"{NO_CHARACTER}{token_id}"
            settings["model"]["vocab"][token_id] = hidden, 0.0
            if is_added:
                added[token_id]["content"] = hidden
    settings["post_processor"] = None  # it names special tokens, and no encoder here adds any
    encoder = tokenizers.Tokenizer.from_str(json.dumps(settings))
    if hides_any:  # and if a text has it all the same, it stands alone
        alone = pre_tokenizers.Split(NO_CHARACTER, behavior="isolated")
        cuts = [] if backend.pre_tokenizer is None else [backend.pre_tokenizer]
        encoder.pre_tokenizer = pre_tokenizers.Sequence([*cuts, alone])
    return encoder
