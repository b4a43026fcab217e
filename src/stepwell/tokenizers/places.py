"""Where in a text each of its tokens stands, in characters.

Where the bytes of the tokens are those of the text, they say it exactly, even of a token that is a part of a character.
This file leaves out vocabularies that change the text, whose library says where a token came from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def places_of_bytes(text: str, tokens: Sequence[bytes]) -> NDArray[np.int64] | None:
    """The places of tokens that spell a text.

    Args:
        text: without lone surrogates.
        tokens: the bytes of T tokens.

    Returns:
        (T, 2) the first character of each token and the one behind its last; a part of a character has the place of all
        of it, a token without bytes an empty place. None when the tokens do not spell the text.
    """
    spelled = text.encode()
    if b"".join(tokens) != spelled:
        return None
    lengths = np.array([len(one) for one in tokens], np.int64)
    ends = np.cumsum(lengths)
    opens = (np.frombuffer(spelled, np.uint8) & 0xC0) != 0x80
    begun = np.concatenate([np.zeros(1, np.int64), np.cumsum(opens)])  # characters that begin before each byte
    last = begun[ends]
    first = np.where(lengths > 0, begun[np.minimum(ends - lengths + 1, len(spelled))] - 1, last)
    found: NDArray[np.int64] = np.stack([first, last], axis=1)
    return found
