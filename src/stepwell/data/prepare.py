"""Documents cleaned, deduplicated, split, and written once as a package of text.

A package is named by a hash of everything it was made from: the same inputs find it again, any other make a new one.
Text is read and written as a stream, so a corpus may be larger than memory. This file leaves out tokens.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stepwell.data.config import DataConfig
from stepwell.data.documents import SPLITS, Document, SplitName, cut, normalize, piece_bytes, split_of, trim
from stepwell.data.facts import CorpusFacts, SourceFacts, SplitFacts
from stepwell.data.languages import LanguageSample
from stepwell.data.packages import key_of, open_or_build
from stepwell.data.reading import Input, Reading, Text
from stepwell.data.sources import find_inputs
from stepwell.errors import DataError
from stepwell.progress import Fact, Watcher, unwatched

SMALLEST_TRAIN_BYTES = 20_000
SHOWN_PROBLEMS = 10


class TextSplit(Sequence[str]):
    """The texts of one split, read from disk when asked for.

    Args:
        path: the package.
        name: the split.
    """

    def __init__(self, path: Path, name: SplitName) -> None:
        self._blob = map_array(path / f"{name}.bin", np.dtype(np.uint8))
        self.offsets: NDArray[np.int64] = np.load(path / f"{name}.offsets.npy")
        self.ends: NDArray[np.bool_] = np.load(path / f"{name}.ends.npy")

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        index %= len(self)
        return self._blob[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()


@dataclass(frozen=True)
class PreparedText:
    """Text that is ready to become tokens.

    Attributes:
        key: names all that the text was made from.
        path: the package's directory.
        facts: the corpus in numbers.
    """

    key: str
    path: Path
    facts: CorpusFacts

    def texts(self, split: SplitName) -> TextSplit:
        """The documents of a split, in their order in the sources."""
        return TextSplit(self.path, split)

    def num_bytes(self, split: SplitName) -> NDArray[np.int64]:
        """(N,) size of each document of a split in bytes."""
        return np.diff(self.texts(split).offsets)


def map_array(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A flat file as an array that stays on disk; an empty file (which cannot be mapped) as an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype=dtype)


def prepare_text(config: DataConfig, directory: Path | str, watch: Watcher = unwatched) -> PreparedText:
    """Turn sources into split documents on disk, or find what an earlier call made of the same inputs.

    Args:
        config: the sources and how they are cleaned.
        directory: holds the packages; made when absent.
        watch: is told what was found, and what was wrong.

    Raises:
        DataError: when a source cannot be read or is no text, or when there is too little text.
        DiskError: when the package cannot be written.
    """
    problems: list[str] = []
    inputs = {
        "test": find_inputs(config.test, problems.append),
        "validation": find_inputs(config.validation, problems.append),
        "sources": find_inputs(config.sources, problems.append),
    }
    listed = {role: [(one.source, one.name, one.fingerprint()) for one in found] for role, found in inputs.items()}
    key = key_of([config.model_dump(mode="json"), listed])
    path = Path(directory) / f"text-{key}"
    contents = open_or_build(path, lambda draft: _Writer(config, draft, problems).write(inputs), watch)
    facts = CorpusFacts.from_dict(contents["facts"])
    _tell(facts, watch)
    return PreparedText(key, path, facts)


def _tell(facts: CorpusFacts, watch: Watcher) -> None:
    for problem in facts.problems[:SHOWN_PROBLEMS]:
        watch(Fact(problem, warning=True))
    if len(facts.problems) > SHOWN_PROBLEMS:
        watch(Fact(f"{len(facts.problems) - SHOWN_PROBLEMS:,} more problems of this kind", warning=True))
    shown = islice(((language, share) for language, share in facts.languages.items() if share >= 0.01), 3)
    languages = ", ".join(f"{language} {share:.0%}" for language, share in shown)
    splits = ", ".join(f"{name} {split.documents:,}" for name, split in facts.splits.items())
    duplicates = f", {facts.duplicates:,} duplicates left out" if facts.duplicates else ""
    watch(Fact(f"{facts.bytes / 1e6:,.2f} MB of text ({languages}); documents: {splits}{duplicates}"))


def read_documents(config: DataConfig, watch: Watcher = unwatched) -> Iterator[Document]:
    """The documents of `config.sources`, cleaned and cut as for training, neither deduplicated nor split.

    Raises:
        DataError: when a source cannot be read or is no text.
    """

    def report(problem: str) -> None:
        watch(Fact(problem, warning=True))

    return _documents(find_inputs(config.sources, report), config, report)


def _documents(inputs: Iterable[Input], config: DataConfig, report: Callable[[str], None]) -> Iterator[Document]:
    reading = Reading(config.text_column, config.encoding_errors, report)
    for one in inputs:
        for text in one.read(reading):
            yield from _documents_of(text, one.source, config)


def _documents_of(text: Text, source: str, config: DataConfig) -> Iterator[Document]:
    """Normalise one text and cut it; one document is held back, because only the last one ends."""
    blocks = (normalize(block, config.normalization) for block in text.blocks)
    first = next(blocks, "")
    second = next(blocks, None)
    if second is None:
        first = trim(first)
        cuts_to = config.document_bytes if text.is_row else piece_bytes(len(first.encode()), config.document_bytes)
        pieces = cut((first,), cuts_to)
    else:
        pieces = cut(chain((first, second), blocks), config.document_bytes)
    held: str | None = None
    for piece in pieces:
        if piece.isspace():
            continue
        if held is not None:
            yield Document(held, source, ends=False)
        held = piece
    if held is not None:
        yield Document(trim(held), source)


@dataclass
class _SourceTally:
    """What one source gave so far."""

    number: int
    documents: int = 0
    bytes: int = 0


class _Writer:
    """Fills one package: a blob of UTF-8 and three arrays for each split."""

    def __init__(self, config: DataConfig, directory: Path, problems: list[str]) -> None:
        self._config = config
        self._directory = directory
        self._problems = problems
        self._seen: set[bytes] = set()
        self._held_out: set[bytes] = set()
        self._duplicates = 0
        self._characters = 0
        self._languages = LanguageSample()
        self._sources: dict[str, _SourceTally] = {}
        self._offsets = {name: array("q", [0]) for name in SPLITS}
        self._ends = {name: array("b") for name in SPLITS}
        self._source_of = {name: array("i") for name in SPLITS}

    def write(self, inputs: Mapping[str, Sequence[Input]]) -> dict[str, Any]:
        """Write everything; returns what the manifest says."""
        with ExitStack() as stack:
            blobs = {name: stack.enter_context((self._directory / f"{name}.bin").open("wb")) for name in SPLITS}
            for role, found in inputs.items():
                for document in _documents(found, self._config, self._problems.append):
                    self._add(document, role, blobs)
        for name in SPLITS:
            np.save(self._directory / f"{name}.offsets.npy", np.array(self._offsets[name], dtype=np.int64))
            np.save(self._directory / f"{name}.ends.npy", np.array(self._ends[name], dtype=np.bool_))
            np.save(self._directory / f"{name}.sources.npy", np.array(self._source_of[name], dtype=np.int32))
        facts = self._facts()
        self._judge(facts)
        return {"facts": facts.as_dict()}

    def _add(self, document: Document, role: str, blobs: Mapping[SplitName, BinaryIO]) -> None:
        digest = document.digest
        source = self._sources.setdefault(document.source, _SourceTally(len(self._sources)))
        if digest in self._seen or (role == "sources" and digest in self._held_out):
            self._duplicates += 1
            return
        if self._config.deduplicate:
            self._seen.add(digest)
        if role != "sources":
            self._held_out.add(digest)
        split = self._split(digest, role)
        data = document.text.encode()
        blobs[split].write(data)
        self._offsets[split].append(self._offsets[split][-1] + len(data))
        self._ends[split].append(document.ends)
        self._source_of[split].append(source.number)
        self._languages.add(document, digest)
        self._characters += len(document.text)
        source.documents += 1
        source.bytes += len(data)

    def _split(self, digest: bytes, role: str) -> SplitName:
        if role in ("validation", "test"):
            return "validation" if role == "validation" else "test"
        split = split_of(digest, validation_ratio=self._config.validation_ratio, test_ratio=self._config.test_ratio)
        has_own_files = {"train": (), "validation": self._config.validation, "test": self._config.test}
        return "train" if has_own_files[split] else split

    def _facts(self) -> CorpusFacts:
        splits: dict[str, SplitFacts] = {
            name: SplitFacts(len(self._ends[name]), self._offsets[name][-1]) for name in SPLITS
        }
        return CorpusFacts(
            sources=tuple(SourceFacts(name, one.documents, one.bytes) for name, one in self._sources.items()),
            documents=sum(split.documents for split in splits.values()),
            bytes=sum(split.bytes for split in splits.values()),
            characters=self._characters,
            duplicates=self._duplicates,
            languages=self._languages.languages(),
            splits=splits,
            problems=tuple(self._problems),
        )

    def _judge(self, facts: CorpusFacts) -> None:
        names = ", ".join(islice(self._config.sources, 4)) + (", ..." if len(self._config.sources) > 4 else "")
        train, validation = facts.splits["train"], facts.splits["validation"]
        if not facts.documents:
            raise DataError(
                f"{names}: empty",
                got="; ".join(self._problems[:3]) or "no text at all",
                wanted=f"{SMALLEST_TRAIN_BYTES:,} bytes or more",
            )
        if train.bytes < SMALLEST_TRAIN_BYTES or not validation.documents:
            raise DataError(
                f"{names}: too little text to train on",
                got=f"{train.bytes:,} bytes of training text, {validation.documents:,} validation documents "
                f"({facts.documents:,} documents in all)",
                wanted=f"at least {SMALLEST_TRAIN_BYTES:,} bytes of training text and one validation document",
                do="add text, or name a file for validation (--set data.validation=[FILE])",
            )
