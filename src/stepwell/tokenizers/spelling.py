"""What each token spells: the bytes behind it, by the rules of its family.

Byte-level vocabularies write every byte as one letter, sentencepiece writes a blank as `▁` and unknown bytes as
`<0x0A>`, WordPiece marks what goes on with a word. A token that opens a text may spell itself otherwise than one inside
(the leading blank), and no other token changes what it spells, so streams need no look-ahead. This file leaves out how
text becomes tokens.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models

from stepwell.errors import TokenizerError
from stepwell.tokenizers.config import BYTE_TOKEN


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte inside a byte-level vocabulary (Radford et al. 2019, GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF_LETTER = _byte_letters()

READABLE = {"ByteLevel", "Metaspace", "WordPiece", "Replace", "ByteFallback", "Fuse", "Strip"}
"""Decoders whose tokens spell the same whatever comes after them."""

UTF8_BYTES = {*range(0xC0), *range(0xC2, 0xF5)}
"""The bytes that occur in UTF-8."""

LONGEST_CHARACTER_BYTES = 4

KEEPS_EVERYTHING = {"Split", "ByteLevel", "Digits", "Punctuation", "FixedLength"}
"""Pre-tokenizers that cut a text and lose nothing of it."""


class Spelling:
    """The bytes behind the tokens of a vocabulary.

    Args:
        backend: the tokenizer.

    Attributes:
        special_ids: tokens that spell nothing.
        byte_level: whether tokens are made of bytes rather than of characters.

    Raises:
        TokenizerError: for a decoder whose tokens cannot be spelled one by one.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        rules = flat(backend.decoder, "decoders")
        kinds = [rule["type"] for rule in rules]
        if unreadable := sorted(set(kinds) - READABLE) + ["Strip at the end" for rule in rules if rule.get("stop")]:
            raise TokenizerError(
                "tokenizer: its decoder cannot be read", got=", ".join(unreadable), wanted=", ".join(sorted(READABLE))
            )
        self._backend = backend
        self._added = backend.get_added_tokens_decoder()
        self.special_ids = frozenset(n for n, token in self._added.items() if token.special)
        self.byte_level = kinds == ["ByteLevel"]
        self._byte_fallback = "ByteFallback" in kinds
        self._blanks_stay = kinds == ["ByteFallback", "Fuse"]  # a token of such a vocabulary spells what it shows
        self._goes_on_with = next((str(rule["prefix"]) for rule in rules if rule["type"] == "WordPiece"), None)
        self._prefix = ""
        if isinstance(backend.model, models.WordPiece) and kinds == ["Replace", "ByteLevel"]:
            self.byte_level, self._prefix = True, str(backend.model.continuing_subword_prefix)
        self._known: dict[tuple[int, bool], bytes] = {}

    def bytes_of(self, token_id: int, opens: bool) -> bytes:
        """The bytes of a token; none for a special token or a gap.

        Args:
            token_id: from 0.
            opens: whether it is the first one of a text.
        """
        known = self._known.get((token_id, opens))
        if known is None:
            known = self._known[token_id, opens] = self._spell(token_id, opens)
        return known

    def _spell(self, token_id: int, opens: bool) -> bytes:
        token = self._backend.id_to_token(token_id)
        if token is None or token_id in self.special_ids:
            return b""
        if self.byte_level:
            if token_id in self._added:  # an added token is matched as it stands
                return token.encode()
            token = token.removeprefix(self._prefix)
            letters = [BYTE_OF_LETTER.get(letter) for letter in token]
            return token.encode() if None in letters else bytes(letter for letter in letters if letter is not None)
        match = BYTE_TOKEN.fullmatch(token) if self._byte_fallback else None
        if match and int(match[1], 16) >= 0x80:
            return bytes.fromhex(match[1])
        return self._read([token] if opens else ["a", token]).removeprefix("" if opens else "a").encode()

    def _read(self, tokens: list[str]) -> str:
        decoder = self._backend.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))

    def id_of_bytes(self) -> dict[int, int]:
        """The token of each single byte, where bytes have tokens and a blank is nothing but a blank."""
        if self.byte_level:
            spelled = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}
        elif self._blanks_stay and json.loads(self._backend.model.__getstate__()).get("byte_fallback"):
            spelled = {byte: f"<0x{byte:02X}>" for byte in range(256)}
        else:
            return {}
        ids = {byte: self._backend.token_to_id(token) for byte, token in spelled.items()}
        return {byte: token_id for byte, token_id in ids.items() if token_id is not None}

    def is_lossless(self) -> bool:
        """Whether every text comes back from its tokens to the letter."""
        cuts = flat(self._backend.pre_tokenizer, "pretokenizers")
        return (
            self.id_of_bytes().keys() >= UTF8_BYTES
            and self._can_go_on(cuts)
            and not flat(self._backend.normalizer, "normalizers")
            and {cut["type"] for cut in cuts} <= KEEPS_EVERYTHING
            and not any(cut.get("add_prefix_space") or cut.get("behavior") == "Removed" for cut in cuts)
            and not any(token.lstrip or token.rstrip for token in self._added.values() if not token.special)
        )

    def _can_go_on(self, cuts: list[dict[str, Any]]) -> bool:
        """Whether a word of any bytes has pieces, in a vocabulary that writes what goes on with a word otherwise."""
        model = self._backend.model
        if not isinstance(model, models.WordPiece):
            return True
        longest = min((int(cut["length"]) for cut in cuts if cut["type"] == "FixedLength"), default=1 << 31)
        letters = {letter for letter, byte in BYTE_OF_LETTER.items() if byte in UTF8_BYTES}
        vocab = self._backend.get_vocab()
        fits = LONGEST_CHARACTER_BYTES * longest <= model.max_input_chars_per_word
        return fits and all(f"{self._prefix}{letter}" in vocab for letter in letters)

    def word_starts(self, size: int) -> NDArray[np.bool_]:
        """Which of the first `size` tokens begin a word."""
        return np.array([self._begins_word(n) for n in range(size)], dtype=np.bool_)

    def word_ends(self, size: int) -> NDArray[np.bool_]:
        """Which of the first `size` tokens end in a blank, so that whatever follows begins a word."""
        return np.array([_text(self.bytes_of(n, False))[-1:].isspace() for n in range(size)], dtype=np.bool_)

    def _begins_word(self, token_id: int) -> bool:
        token = self._backend.id_to_token(token_id)
        if token is None or token_id in self.special_ids or self._backend.decoder is None:
            return True
        if self._goes_on_with is not None:  # what it spells may have lost its blank (a full stop), but it is a word
            return not token.startswith(self._goes_on_with)
        return _text(self.bytes_of(token_id, False))[:1].isspace()


def _text(spelled: bytes) -> str:
    return spelled.decode("utf-8", errors="replace")


def flat(part: Any, members: str) -> list[dict[str, Any]]:
    """The settings of a part of a backend, sequences of parts taken apart.

    Args:
        part: a normalizer, pre-tokenizer or decoder, or None.
        members: what a sequence of such parts calls its members.
    """
    return [] if part is None else _flat(json.loads(part.__getstate__()), members)


def _flat(settings: dict[str, Any], members: str) -> list[dict[str, Any]]:
    if settings["type"] != "Sequence":
        return [settings]
    return [one for member in settings[members] for one in _flat(member, members)]
