"""A byte-level BPE: every text and every byte string has token ids, and they give it back exactly.

Training and encoding are done by the `tokenizers` library; this file adds what a language model needs around it: bytes
that are not UTF-8, the bytes behind each token, a fingerprint, and a decoder for streams. It leaves out vocabularies of
other families and chat templates.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, trainers

from stepwell.errors import DiskError, TokenizerError
from stepwell.tokenizers.config import ByteBPEConfig

TokenIds = NDArray[np.int32]

END_OF_TEXT = "<|endoftext|>"

# How text is cut before pairs are merged: contractions, letters with at most one sign before them, one to three digits,
# signs, line ends, other blanks. It is the GPT-4 family's rule exactly as Llama 3 has it, so other programs know it.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

NOT_UTF8 = re.compile("([\udc80-\udcff]+)")


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte inside a byte-level vocabulary (Radford et al. 2019, GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF_LETTER = _byte_letters()


class Tokenizer:
    """A trained byte-level BPE.

    One special token, `<|endoftext|>`, both begins and ends a document. It never arises from text: the literal
    characters give ordinary tokens.

    Attributes:
        vocab_size: number of token ids, special token included.
        bos_id: the id that begins a document.
        eos_id: the id that ends one; the same as `bos_id`.
        fingerprint: SHA-256 (hex) of the tokenizer's JSON.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        special = backend.token_to_id(END_OF_TEXT)
        if special is None:
            raise TokenizerError(f"tokenizer: has no {END_OF_TEXT} token", do="train it again")
        backend.encode_special_tokens = True  # the literal characters of a special token are ordinary text
        self._backend = backend
        self._json = backend.to_str(pretty=False)
        self._bytes = _bytes_of_tokens(backend, special)
        self._id_of_byte = {token[0]: n for n, token in enumerate(self._bytes) if len(token) == 1}
        if len(self._id_of_byte) != 256:
            raise TokenizerError(
                "tokenizer: cannot spell every byte", got=f"{len(self._id_of_byte)} single bytes", wanted="256"
            )
        self.vocab_size = len(self._bytes)
        self.bos_id = self.eos_id = int(special)
        self.fingerprint = hashlib.sha256(self._json.encode()).hexdigest()

    def encode(self, text: str | bytes) -> TokenIds:
        """Turn text into token ids, without special tokens.

        Args:
            text: any text, or any bytes; bytes that are not UTF-8 become one token each.

        Returns:
            (T,) ids in [0, vocab_size).
        """
        if isinstance(text, bytes):
            return self._encode_bytes(text)
        try:
            return np.array(self._backend.encode(text, add_special_tokens=False).ids, dtype=np.int32)
        except TypeError:  # a lone surrogate, which no UTF-8 text holds
            return self._encode_bytes(text.encode("utf-8", errors="surrogatepass"))

    def encode_many(self, texts: Sequence[str]) -> list[TokenIds]:
        """`encode` for many texts at once, on all cores.

        Returns:
            One (T,) array for each text, in order.
        """
        try:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:
            return [self.encode(text) for text in texts]
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def _encode_bytes(self, data: bytes) -> TokenIds:
        # Bytes that are not UTF-8 come out of this decoding as the surrogates U+DC80 to U+DCFF, which no text holds.
        parts = NOT_UTF8.split(data.decode("utf-8", errors="surrogateescape"))
        ids = [self.encode(part) if n % 2 == 0 else self._single_bytes(part) for n, part in enumerate(parts)]
        return np.concatenate(ids)

    def _single_bytes(self, escaped: str) -> TokenIds:
        return np.array([self._id_of_byte[ord(letter) - 0xDC00] for letter in escaped], dtype=np.int32)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes behind token ids; special tokens have none.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        return b"".join([self.token_bytes(int(n)) for n in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text behind token ids; bytes that are not UTF-8 read as U+FFFD.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token; empty for a special token.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        if not 0 <= token_id < self.vocab_size:
            raise TokenizerError("tokenizer: no such token id", got=str(token_id), wanted=f"0 to {self.vocab_size - 1}")
        return self._bytes[token_id]

    def save(self, path: Path | str) -> None:
        """Write `tokenizer.json` (the format of the `tokenizers` library), whole or not at all.

        Raises:
            DiskError: when the file cannot be written.
        """
        path = Path(path)
        draft = path.with_name(f".{path.name}.draft")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(self._json, encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise DiskError(f"{path}: cannot be written", got=str(error.strerror or error)) from error

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read what `save` wrote.

        Raises:
            TokenizerError: when there is no such file, it is damaged, or it is of another kind.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise TokenizerError(f"{path}: no such file", wanted="a tokenizer.json") from None
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"{path}: cannot be read", got=str(error)) from None
        try:
            json.loads(text)
            return cls(tokenizers.Tokenizer.from_str(text))
        except TokenizerError as error:
            raise TokenizerError(f"{path}: {error.what}", got=error.got, wanted=error.wanted, do=error.do) from None
        except Exception as error:  # the library raises bare `Exception` for every fault in the file
            raise TokenizerError(
                f"{path}: damaged",
                got=str(error),
                wanted="a tokenizer.json as stepwell writes it",
                do="restore the file from a checkpoint of the same run, or prepare the run again",
            ) from None


def _bytes_of_tokens(backend: tokenizers.Tokenizer, special: int) -> list[bytes]:
    size = backend.get_vocab_size(with_added_tokens=True)
    table = [b""] * size
    for token, token_id in backend.get_vocab(with_added_tokens=True).items():
        if token_id >= size:
            raise TokenizerError("tokenizer: ids have gaps", got=f"id {token_id} among {size} tokens")
        if token_id != special:
            try:
                table[token_id] = bytes(BYTE_OF_LETTER[letter] for letter in token)
            except KeyError:
                raise TokenizerError(f"tokenizer: token {token!r} is not byte-level") from None
    return table


def train_tokenizer(texts: Iterable[str], config: ByteBPEConfig) -> Tokenizer:
    """Learn a byte-level BPE from texts (Sennrich et al. 2016); the same texts give the same tokenizer.

    Args:
        texts: the documents of the train split, read once.
        config: its vocabulary size.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts have no more pairs to merge.
    """
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(BYTE_OF_LETTER),
        show_progress=False,
    )
    # A special token in the training text must count as ordinary characters there too.
    backend.encode_special_tokens = True
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend)


class StreamDecoder:
    """Turns ids that arrive one by one into text, never showing half a character.

    Args:
        tokenizer: the tokenizer the ids belong to.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """Take one id; returns the text that has become whole, perhaps none yet.

        Raises:
            TokenizerError: for an id outside the vocabulary.
        """
        return self._utf8.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """What is left at the end: a torn character reads as U+FFFD."""
        return self._utf8.decode(b"", final=True)
