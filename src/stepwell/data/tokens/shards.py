"""Documents as token ids on disk: one flat array for each split, mapped into memory, never read whole.

A package of tokens is named by its text and its tokenizer, so either may change without confusion. This file leaves out
how tokens are laid into batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data.documents import SPLITS, Document, SplitName
from stepwell.data.packages import key_of, open_or_build, open_package
from stepwell.data.steps.balance.order import DIFFICULTY
from stepwell.data.text_package import PreparedText, TextSplit, map_array
from stepwell.data.tokens.examples import ExampleFacts, ExampleMaker, Made, examples_of
from stepwell.errors import DataError
from stepwell.progress import Fact, Watcher, unwatched
from stepwell.tokenizers import Tokenizer

ENCODED_TOGETHER_BYTES = 1 << 18

ENCODED_AT_ONCE = 4
"""Ranges of documents that are under way: the last document of one leaves cores free for the next, and for making
arrays of what is done. Four of a quarter megabyte are as fast as more, and up to a tenth faster than two of two."""


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
        aligned: (num_tokens,) values that go with the tokens, by name: what a task wants predicted there, and where.
        of_document: (num_documents, ...) values that go with the documents, by name: their label, how much they weigh.
        whole: documents are examples that are never cut.
    """

    token_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    order: DocumentOrder | None = None
    aligned: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    of_document: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    whole: bool = False

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

    def chosen(self, documents: NDArray[np.int64]) -> TokenSplit:
        """Some of the documents, with all that goes with them.

        Args:
            documents: (N,) numbers of documents, at least one.
        """
        spans = [slice(*self.offsets[[n, n + 1]]) for n in documents.tolist()]
        lengths = np.diff(self.offsets)[documents]
        return TokenSplit(
            np.concatenate([self.token_ids[span] for span in spans]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            self.num_bytes[documents],
            aligned={name: np.concatenate([all_[span] for span in spans]) for name, all_ in self.aligned.items()},
            of_document={name: values[documents] for name, values in self.of_document.items()},
            whole=self.whole,
        )

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
        examples: split -> what became of its documents (`ExampleFacts.as_dict`), where a task made examples of them.
    """

    key: str
    path: Path
    _splits: Mapping[str, TokenSplit]
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
    examples = contents.get("examples") or {}
    splits: dict[str, TokenSplit] = {}
    for name in SPLITS:
        offsets = np.load(path / f"{name}.offsets.npy")
        beside = {
            one: np.load(path / f"{name}.{one}.npy", mmap_mode="r") for one in contents.get("beside", {}).get(name, ())
        }
        splits[name] = TokenSplit(
            map_array(path / f"{name}.bin", dtype),
            offsets,
            np.load(path / f"{name}.bytes.npy"),
            _order_of(path, contents) if name == "train" else None,
            aligned={one.removeprefix(ALIGNED): values for one, values in beside.items() if one.startswith(ALIGNED)},
            of_document={one.removeprefix(OF_DOCUMENT): v for one, v in beside.items() if one.startswith(OF_DOCUMENT)},
            whole=bool(examples),
        )
    return TokenShards(key, path, splits, examples)


ALIGNED, OF_DOCUMENT = "aligned.", "document."
"""How the names of arrays begin that go with tokens, and with documents."""


def tokenize_text(
    prepared: PreparedText,
    tokenizer: Tokenizer,
    directory: Path | str,
    watch: Watcher = unwatched,
    maker: ExampleMaker | None = None,
) -> TokenShards:
    """Turn prepared text into tokens on disk, or find what an earlier call made of them.

    Args:
        prepared: the text.
        tokenizer: turns it into ids.
        directory: holds the packages; made when absent.
        watch: is told when a damaged package is made again.
        maker: makes examples of documents, each of which stays whole; None for documents as they are.

    Raises:
        DataError: when there are documents without a place in an order that was asked for.
        DiskError: when the package cannot be written.
    """
    key = key_of([prepared.key, tokenizer.fingerprint, *([] if maker is None else [maker.key])])
    path = Path(directory) / f"tokens-{key}"
    dtype = _dtype(tokenizer)

    def write(draft: Path) -> dict[str, Any]:
        made = {"key": key, "text": prepared.key, "tokenizer": tokenizer.fingerprint, "dtype": dtype.name}
        if maker is not None:
            return made | _write_examples(draft, prepared, tokenizer, dtype, maker)
        for name in SPLITS:
            _write_split(draft, name, prepared.texts(name), tokenizer, dtype)
        return made | _write_order(draft, prepared) | _write_weights(draft, prepared)

    return _opened(path, open_or_build(path, write, watch))


def tokenize_documents(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    maker: ExampleMaker | None = None,
    watch: Watcher = unwatched,
) -> TokenSplit:
    """Turn documents into tokens in memory, for text that is only looked at once.

    Args:
        documents: as `read_documents` gives them; perhaps none.
        tokenizer: turns them into ids.
        maker: makes examples of documents; None for documents as they are.
        watch: is told of documents that are no examples, or too long.
    """
    several = list(documents)
    if maker is not None:
        facts = ExampleFacts()
        split = joined_examples(list(examples_of(several, maker, tokenizer, facts)), several)
        for problem in facts.problems():
            watch(Fact(problem, warning=True))
        return split
    ids, lengths = tokenizer.encode_documents([one.text for one in several], [one.ends for one in several])
    return TokenSplit(
        ids.astype(_dtype(tokenizer)),
        np.append(0, np.cumsum(lengths)),
        np.array([len(one.text.encode()) for one in several], dtype=np.int64),
    )


def _dtype(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)


def _write_split(draft: Path, name: str, texts: TextSplit, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
    lengths = [np.zeros(1, dtype=np.int64)]
    with (draft / f"{name}.bin").open("wb") as file:
        for ids, of_document in _encoded(texts, tokenizer):
            file.write(ids.astype(dtype).tobytes())
            lengths.append(of_document)
    np.save(draft / f"{name}.offsets.npy", np.cumsum(np.concatenate(lengths)))
    np.save(draft / f"{name}.bytes.npy", np.diff(texts.offsets))


def _write_examples(
    draft: Path, prepared: PreparedText, tokenizer: Tokenizer, dtype: np.dtype[Any], maker: ExampleMaker
) -> dict[str, Any]:
    """Write the examples of all splits; returns what the manifest says of them."""
    told: dict[str, Any] = {}
    beside: dict[str, list[str]] = {}
    for name in SPLITS:
        facts = ExampleFacts()
        split = joined_examples(list(examples_of(prepared.documents(name), maker, tokenizer, facts)))
        told[name] = facts.as_dict()
        (draft / f"{name}.bin").write_bytes(split.token_ids.astype(dtype).tobytes())
        np.save(draft / f"{name}.offsets.npy", split.offsets)
        np.save(draft / f"{name}.bytes.npy", prepared.num_bytes(name)[split.of_document["text"]])
        arrays = {f"{ALIGNED}{one}": values for one, values in split.aligned.items()}
        arrays |= {f"{OF_DOCUMENT}{one}": values for one, values in split.of_document.items()}
        for one, values in arrays.items():
            np.save(draft / f"{name}.{one}.npy", values)
        beside[name] = list(arrays)
    return {"examples": told, "beside": beside}


def joined_examples(made: Sequence[Made], documents: Sequence[Document] = ()) -> TokenSplit:
    """Examples as a split.

    Args:
        made: in order; perhaps none.
        documents: that they were made of; without, the sizes of their texts are not told.
    """
    names = (made[0].aligned, made[0].of_document) if made else ({}, {"text": np.zeros(0)})
    lengths = np.concatenate([np.zeros(1, np.int64), *(one.lengths for one in made)])
    nothing = np.zeros(0, np.int64)
    of_document = {name: np.concatenate([one.of_document[name] for one in made] or [nothing]) for name in names[1]}
    sizes = np.array([one.num_bytes for one in documents], np.int64)
    return TokenSplit(
        np.concatenate([np.zeros(0, np.int32), *(one.token_ids for one in made)]),
        np.cumsum(lengths),
        sizes[of_document["text"]] if documents else np.zeros(len(lengths) - 1, np.int64),
        aligned={name: np.concatenate([one.aligned[name] for one in made]) for name in names[0]},
        of_document=of_document,
        whole=True,
    )


def _write_weights(draft: Path, prepared: PreparedText) -> dict[str, Any]:
    """Write how much each training token counts, where a step has given the documents weights."""
    if not any(step.kind == "resample" and step.findings.get("weighted") for step in prepared.facts.steps):
        return {}
    found = [columns.get("weight", 1.0) for columns in prepared.each_columns("train")]
    lengths = np.diff(np.load(draft / "train.offsets.npy"))
    np.save(draft / f"train.{ALIGNED}weight.npy", np.repeat(np.array(found, np.float32), lengths))
    return {"beside": {"train": [f"{ALIGNED}weight"]}}


def _encoded(texts: TextSplit, tokenizer: Tokenizer) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """The ids and lengths of ranges of documents, in order.

    While the library encodes one range on all cores, the one before is made an array and written: only its own work
    holds up the others.
    """
    with ThreadPoolExecutor(ENCODED_AT_ONCE, thread_name_prefix="tokens") as pool:
        under_way: deque[Future[tuple[NDArray[np.int32], NDArray[np.int64]]]] = deque()
        for first, last in _batches(texts):
            if len(under_way) == ENCODED_AT_ONCE:
                yield under_way.popleft().result()
            several, ends = texts[first:last], texts.ends[first:last].tolist()
            under_way.append(pool.submit(tokenizer.encode_documents, several, ends))
        while under_way:
            yield under_way.popleft().result()


def _write_order(draft: Path, prepared: PreparedText) -> dict[str, Any]:
    """Write the order of the training documents, if the text was prepared with one; returns what the manifest says.

    Raises:
        DataError: when there are documents without a place in it.
    """
    asked = next((step.findings for step in prepared.facts.steps if step.kind == "order"), None)
    if asked is None:
        return {}
    found = [columns.get(DIFFICULTY) for columns in prepared.each_columns("train")]
    if None in found:
        raise DataError(
            "order: a step after it made documents that have no place",
            got=f"{found.count(None):,} of {len(found):,} training documents",
            do="write the step order after those that add documents",
        )
    places = np.array(found, dtype=np.float64)
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
