"""Embeddings that begin as word vectors others have trained: word2vec (Mikolov et al., 2013), fastText.

A token takes the vector of the word that it spells, and a token that is no word keeps what was drawn for it. A file of
millions of words is read line by line, and only what the vocabulary has is kept. This file leaves out fastText's own
binary models, which hold vectors of parts of words.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.errors import ConfigError, DataError
from stepwell.tokenizers import Tokenizer

Vector = NDArray[np.float32]

FASTTEXT_MODEL = (793712314).to_bytes(4, "little")
"""How fastText's own models begin."""

LONGEST_WORD_BYTES = 2**16
"""A longer word in a binary file is no word: the file is damaged."""

WANTED = (
    "vectors as word2vec (text or binary) or fastText (.vec) writes them; the first line says how many and how wide"
)


def fill_embeddings(weight: Tensor, tokenizer: Tokenizer, path: Path) -> int:
    """Give every token that spells a word of the file that word's vector.

    A leading blank of a token does not count; a word that stands twice keeps its first vector. All vectors are scaled
    by one number, so that they spread (root mean square) as the drawn ones did.

    Args:
        weight: (V, E) embeddings with their drawn values, changed in place.
        tokenizer: of V tokens.
        path: word vectors; text or binary is told by the content, and `.gz` is unpacked on the way.

    Returns:
        How many tokens were found.

    Raises:
        ConfigError: when the vectors are of another width than E.
        DataError: when the file cannot be read, is damaged, or has no word of the vocabulary.
    """
    tokens = _tokens_by_word(tokenizer)
    rows: list[int] = []
    vectors: list[Vector] = []
    for word, vector in read_word_vectors(path, tokens.keys(), width=weight.shape[1]):
        found = tokens.pop(word, [])
        rows += found
        vectors += [vector] * len(found)
    if not rows:
        raise DataError(
            f"{path}: has no word of the vocabulary",
            got=f"{tokenizer.vocab_size} tokens, none of them in the file",
            wanted="vectors of the words of the same language",
        )
    values = torch.from_numpy(np.stack(vectors))
    spread = float(values.square().mean().sqrt())
    if not 0 < spread < float("inf"):
        raise DataError(f"{path}: is damaged", got="vectors of zeros, NaN or infinity")
    with torch.no_grad():
        drawn = weight.square().mean().sqrt()
        weight[rows] = (values * (drawn.cpu() / spread)).to(weight)
    return len(rows)


def _tokens_by_word(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """The tokens that spell each word, a leading blank aside; parts of characters spell nothing."""
    tokens: defaultdict[str, list[int]] = defaultdict(list)
    for token_id in range(tokenizer.vocab_size):
        try:
            word = tokenizer.token_bytes(token_id).decode().strip()
        except UnicodeDecodeError:
            continue
        if word:
            tokens[word].append(token_id)
    return tokens


def read_word_vectors(path: Path, words: Collection[str], *, width: int | None = None) -> Iterator[tuple[str, Vector]]:
    """Read the vectors of some words.

    Args:
        path: as for `fill_embeddings`.
        words: which are wanted.
        width: how long vectors must be; None for any length.

    Yields:
        Word and (E,) float32 vector, in the file's order.

    Raises:
        ConfigError: when the vectors are of another width.
        DataError: when the file cannot be read or is damaged.
    """
    try:
        with cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            num_words, found_width = _read_header(file, path)
            if width not in (None, found_width):
                raise ConfigError(
                    f"{path}: vectors of another width than the embeddings",
                    got=f"{found_width} numbers a word",
                    wanted=f"{width}, the width of the embeddings",
                    do=f"set the width of the embeddings (model.d_embedding, else model.d_model) to {found_width}, "
                    f"or take vectors of {width}",
                )
            start = file.tell()
            read = _read_text if _is_text(file.readline(2**20)) else _read_binary
            file.seek(start)
            yield from read(file, path, num_words, found_width, words)
    except (OSError, EOFError, zlib.error) as error:  # the last two: an archive that was cut off or damaged
        raise DataError(f"{path}: cannot be read", got=str(error), wanted=WANTED) from None


def _read_header(file: IO[bytes], path: Path) -> tuple[int, int]:
    line = file.readline(200)
    if line.startswith(FASTTEXT_MODEL):
        raise DataError(f"{path}: is a model of fastText", wanted=WANTED, do="take the .vec file beside it")
    try:
        num_words, width = (int(part) for part in line.split())
        if num_words < 1 or width < 1:
            raise ValueError
    except ValueError:
        got = line[:60].decode("utf-8", errors="replace").strip()
        raise DataError(f"{path}: is not a file of word vectors", got=f"first line {got!r}", wanted=WANTED) from None
    return num_words, width


def _is_text(line: bytes) -> bool:
    """Whether the line after the header can be read; the bytes of numbers cannot."""
    try:
        return min(map(ord, line.decode().strip()), default=0) >= ord(" ")
    except UnicodeDecodeError:
        return False


def _read_text(
    file: IO[bytes], path: Path, num_words: int, width: int, words: Collection[str]
) -> Iterator[tuple[str, Vector]]:
    """`word 0.1 -0.2 ...` in each line."""
    number = 0
    for number, line in enumerate(file, start=1):
        parts = line.rstrip(b" \r\n").split(b" ")
        word = b" ".join(parts[:-width]).decode("utf-8", errors="replace")
        try:
            if len(parts) <= width:
                raise ValueError(f"{len(parts) - 1} numbers")
            if word in words:
                yield word, np.array(parts[-width:], dtype=np.float32)
        except ValueError as error:
            raise DataError(
                f"{path}: line {number + 1} is damaged", got=str(error), wanted=f"a word and {width} numbers"
            ) from None
    _check_count(path, number, num_words)


def _read_binary(
    file: IO[bytes], path: Path, num_words: int, width: int, words: Collection[str]
) -> Iterator[tuple[str, Vector]]:
    """For each word its letters, a blank and its numbers as float32, lowest byte first."""
    for number in range(num_words):
        letters = bytearray()
        while (letter := file.read(1)) != b" ":
            if not letter or len(letters) > LONGEST_WORD_BYTES:
                _check_count(path, number, num_words)
            letters += letter
        numbers = file.read(4 * width)
        if len(numbers) < 4 * width:
            _check_count(path, number, num_words)
        word = letters.lstrip(b"\n").decode("utf-8", errors="replace")
        if word in words:
            yield word, np.frombuffer(numbers, dtype="<f4").astype(np.float32)


def _check_count(path: Path, num_read: int, num_words: int) -> None:
    if num_read < num_words:
        raise DataError(
            f"{path}: is damaged or cut off",
            got=f"{num_read:,} whole words",
            wanted=f"{num_words:,}, as its first line says",
            do="fetch it again",
        )
