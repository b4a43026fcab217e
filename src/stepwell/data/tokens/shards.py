"""Documents as token ids on disk: one flat array for each split, mapped into memory, never read whole.

A package of tokens is named by its text and its tokenizer, so either may change without confusion. This file leaves out
how tokens are laid into batches.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data.documents import SPLITS, Document, SplitName
from stepwell.data.packages import key_of, open_or_build, open_package
from stepwell.data.steps.order import DIFFICULTY
from stepwell.data.text_package import PreparedText, TextSplit, map_array
from stepwell.errors import DataError
from stepwell.progress import Watcher, unwatched
from stepwell.tokenizers import Tokenizer

ENCODED_TOGETHER_BYTES = 1 << 22


@dataclass(frozen=True)
class DocumentOrder:
    """In which order documents are learned from, where a recipe asks for one (the step `order`).

    Attributes:
        places: (num_documents,) float64; the smaller, the earlier.
        epochs: so many are in this order and later ones are shuffled; None for all.
    """

    places: NDArray[np.float64]
    epochs: int | None


@dataclass(frozen=True)
class TokenSplit:
    """The tokens of one split; each document is [bos] + its text + ([eos] where the text really ends).

    Attributes:
        token_ids: (num_tokens,) all documents one after another, uint16 or uint32, mapped from disk.
        offsets: (num_documents + 1,) where each document begins.
        num_bytes: (num_documents,) size of each document's text in bytes.
        order: in which documents are learned from; None when they are shuffled.
    """

    token_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    order: DocumentOrder | None = None

    @property
    def num_documents(self) -> int:
        """How many documents there are."""
        return len(self.num_bytes)

    @property
    def num_tokens(self) -> int:
        """How many tokens there are, special tokens included."""
        return int(self.offsets[-1])

    @property
    def shuffled(self) -> TokenSplit:
        """The same without an order: for what is tried on some of the rows only."""
        return replace(self, order=None)

    def document(self, index: int) -> NDArray[Any]:
        """(T,) the tokens of one document.

        Raises:
            IndexError: when there is no such document.
        """
        if not 0 <= index < self.num_documents:
            raise IndexError(f"document {index} of {self.num_documents}")
        return self.token_ids[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class TokenShards:
    """The tokens of all splits.

    Attributes:
        key: names the text and the tokenizer they were made from.
        path: the package's directory.
    """

    key: str
    path: Path
    _splits: Mapping[str, TokenSplit]

    def split(self, name: SplitName) -> TokenSplit:
        """The tokens of one split."""
        return self._splits[name]

    @classmethod
    def open(cls, path: Path | str) -> TokenShards:
        """Open what `tokenize_text` wrote.

        Raises:
            DataError: naming the file that is missing or damaged.
        """
        path = Path(path)
        return _opened(path, open_package(path))


def _opened(path: Path, contents: Mapping[str, Any]) -> TokenShards:
    try:
        dtype, key = np.dtype(contents["dtype"]), str(contents["key"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: no package of tokens", got=f"no {error} in its manifest") from None
    splits: dict[str, TokenSplit] = {
        name: TokenSplit(
            map_array(path / f"{name}.bin", dtype),
            np.load(path / f"{name}.offsets.npy"),
            np.load(path / f"{name}.bytes.npy"),
            _order_of(path, contents) if name == "train" else None,
        )
        for name in SPLITS
    }
    return TokenShards(key, path, splits)


def tokenize_text(
    prepared: PreparedText, tokenizer: Tokenizer, directory: Path | str, watch: Watcher = unwatched
) -> TokenShards:
    """Turn prepared text into tokens on disk, or find what an earlier call made of them.

    Args:
        prepared: the text.
        tokenizer: turns it into ids.
        directory: holds the packages; made when absent.
        watch: is told when a damaged package is made again.

    Raises:
        DiskError: when the package cannot be written.
    """
    key = key_of([prepared.key, tokenizer.fingerprint])
    path = Path(directory) / f"tokens-{key}"
    dtype = _dtype(tokenizer)

    def write(draft: Path) -> dict[str, Any]:
        for name in SPLITS:
            _write_split(draft, name, prepared.texts(name), tokenizer, dtype)
        made = {"key": key, "text": prepared.key, "tokenizer": tokenizer.fingerprint, "dtype": dtype.name}
        return made | _write_order(draft, prepared)

    return _opened(path, open_or_build(path, write, watch))


def tokenize_documents(documents: Iterable[Document], tokenizer: Tokenizer) -> TokenSplit:
    """Turn documents into tokens in memory, for text that is only looked at once.

    Args:
        documents: as `read_documents` gives them; perhaps none.
        tokenizer: turns them into ids.
    """
    several = list(documents)
    dtype = _dtype(tokenizer)
    ids = list(_encode([one.text for one in several], [one.ends for one in several], tokenizer, dtype))
    return TokenSplit(
        np.concatenate([np.zeros(0, dtype=dtype), *ids]),
        np.cumsum([0, *(len(one) for one in ids)], dtype=np.int64),
        np.array([len(one.text.encode()) for one in several], dtype=np.int64),
    )


def _dtype(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)


def _encode(
    texts: Sequence[str], ends: Sequence[bool], tokenizer: Tokenizer, dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """The tokens of each document: [bos] + its text + ([eos] where the text really ends)."""
    bos, eos = np.array([tokenizer.bos_id], dtype=dtype), np.array([tokenizer.eos_id], dtype=dtype)
    for ids, ending in zip(tokenizer.encode_many(texts), ends, strict=True):
        yield np.concatenate([bos, ids.astype(dtype), eos if ending else eos[:0]])


def _write_split(draft: Path, name: str, texts: TextSplit, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
    offsets = array("q", [0])
    with (draft / f"{name}.bin").open("wb") as file:
        for first, last in _batches(texts):
            for document in _encode(texts[first:last], texts.ends[first:last].tolist(), tokenizer, dtype):
                file.write(document.tobytes())
                offsets.append(offsets[-1] + len(document))
    np.save(draft / f"{name}.offsets.npy", np.array(offsets, dtype=np.int64))
    np.save(draft / f"{name}.bytes.npy", np.diff(texts.offsets))


def _write_order(draft: Path, prepared: PreparedText) -> dict[str, Any]:
    """Write the order of the training documents, if the text was prepared with one; returns what the manifest says."""
    asked = next((step.findings for step in prepared.facts.steps if step.kind == "order"), None)
    if asked is None:
        return {}
    places = np.array([columns[DIFFICULTY] for columns in prepared.each_columns("train")], dtype=np.float64)
    np.save(draft / "train.order.npy", -places if asked["descending"] else places)
    return {"ordered_epochs": asked["epochs"]}


def _order_of(path: Path, contents: Mapping[str, Any]) -> DocumentOrder | None:
    if "ordered_epochs" not in contents:
        return None
    return DocumentOrder(np.load(path / "train.order.npy"), contents["ordered_epochs"])


def _batches(texts: TextSplit) -> Iterator[tuple[int, int]]:
    """Ranges of documents of about the same size in bytes."""
    first = 0
    while first < len(texts):
        last = int(np.searchsorted(texts.offsets, texts.offsets[first] + ENCODED_TOGETHER_BYTES))
        last = min(max(last, first + 1), len(texts))
        yield first, last
        first = last
