"""Text from ids that arrive one by one.

A character may be spread over several tokens, so bytes are held back until they make a whole one; joined, the pieces
are what `Tokenizer.decode` gives for all ids at once. This file leaves out where the ids come from.
"""

from __future__ import annotations

import codecs

from stepwell.tokenizers.tokenizer import Tokenizer


class StreamDecoder:
    """Turns ids that arrive one by one into text, never showing half a character.

    Args:
        tokenizer: the tokenizer the ids belong to.
        continues: whether another text stands before them, so that a leading blank is shown.
    """

    def __init__(self, tokenizer: Tokenizer, *, continues: bool = False) -> None:
        self._tokenizer = tokenizer
        self._opens = not continues
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """Take one id; returns the text that has become whole, perhaps none yet.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        spelled = self._tokenizer.token_bytes(token_id, opens=self._opens)
        self._opens = self._opens and token_id in self._tokenizer.special_ids
        return self._utf8.decode(spelled)

    def finish(self) -> str:
        """What is left at the end: a torn character reads as U+FFFD."""
        return self._utf8.decode(b"", final=True)
