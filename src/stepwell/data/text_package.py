"""A package of text: the documents of each split in one file of UTF-8, with arrays of where each one is.

It is written document by document and read from disk when asked for, so it may be larger than memory. This file leaves
out where documents come from.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stepwell.data.documents import SPLITS, Document, SplitName
from stepwell.data.facts import CorpusFacts, SourceFacts, SplitFacts, StepFacts
from stepwell.data.languages import LanguageSample


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
            first, last, step = index.indices(len(self))
            return self._several(first, last) if step == 1 else [self[n] for n in range(first, last, step)]
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        index %= len(self)
        return self._blob[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()

    def _several(self, first: int, last: int) -> list[str]:
        """The texts from one to another, read at once."""
        offsets = self.offsets[first : max(first, last) + 1]
        data = self._blob[offsets[0] : offsets[-1]].tobytes()
        return [data[start:end].decode() for start, end in pairwise((offsets - offsets[0]).tolist())]


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

    def columns(self, split: SplitName) -> list[dict[str, Any]]:
        """What goes with each document of a split; without any, empty mappings."""
        return list(self.each_columns(split))

    def each_columns(self, split: SplitName) -> Iterator[dict[str, Any]]:
        """The same, one after the other: annotations may be larger than memory."""
        path = self.path / f"{split}.columns.jsonl"
        if not path.exists():
            yield from ({} for _ in range(len(self.texts(split))))
            return
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield json.loads(line)

    def sources(self, split: SplitName) -> NDArray[np.int32]:
        """(N,) which of `facts.sources` each document of a split came from."""
        sources: NDArray[np.int32] = np.load(self.path / f"{split}.sources.npy")
        return sources

    def documents(self, split: SplitName) -> Iterator[Document]:
        """The documents of a split with all that belongs to them, in their order in the sources."""
        texts, names = self.texts(split), [source.source for source in self.facts.sources]
        rows = zip(texts, self.sources(split), texts.ends, self.each_columns(split), strict=True)
        for text, source, ends, columns in rows:
            yield Document(text, names[source], ends=bool(ends), split=split, columns=columns)

    def num_bytes(self, split: SplitName) -> NDArray[np.int64]:
        """(N,) size of each document of a split in bytes."""
        return np.diff(self.texts(split).offsets)


def map_array(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A flat file as an array that stays on disk; an empty file (which cannot be mapped) as an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype=dtype)


@dataclass
class _SourceTally:
    """What one source gave so far."""

    number: int
    documents: int = 0
    bytes: int = 0


class _SplitWriter:
    """The files of one split.

    Args:
        directory: of the package.
        name: of the split.
    """

    def __init__(self, directory: Path, name: SplitName) -> None:
        self._beginning = directory / name
        self._blob = (directory / f"{name}.bin").open("wb")
        self._columns = (directory / f"{name}.columns.jsonl").open("w", encoding="utf-8", newline="\n")
        self._has_columns = False
        self.offsets, self.ends, self._sources = array("q", [0]), array("b"), array("i")

    def add(self, document: Document, source: int) -> int:
        """Write a document; returns its size in bytes."""
        data = document.text.encode()
        self._blob.write(data)
        self.offsets.append(self.offsets[-1] + len(data))
        self.ends.append(document.ends)
        self._sources.append(source)
        self._columns.write(f"{json.dumps(document.columns, ensure_ascii=False)}\n")
        self._has_columns = self._has_columns or bool(document.columns)
        return len(data)

    def close(self) -> None:
        """Close the files that grow."""
        with self._columns, self._blob:
            pass

    def finish(self) -> None:
        """Write what belongs to all documents."""
        if not self._has_columns:
            self._path("columns.jsonl").unlink()
        np.save(self._path("offsets.npy"), np.array(self.offsets, dtype=np.int64))
        np.save(self._path("ends.npy"), np.array(self.ends, dtype=np.bool_))
        np.save(self._path("sources.npy"), np.array(self._sources, dtype=np.int32))

    def _path(self, end: str) -> Path:
        return self._beginning.with_name(f"{self._beginning.name}.{end}")


class TextWriter:
    """Writes a package; its files are whole when the `with` block ends.

    Args:
        directory: empty.
    """

    def __init__(self, directory: Path) -> None:
        self._splits: dict[SplitName, _SplitWriter] = {name: _SplitWriter(directory, name) for name in SPLITS}
        self._sources: dict[str, _SourceTally] = {}
        self._characters = 0
        self._languages = LanguageSample()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for split in self._splits.values():
                stack.callback(split.close)
        if kind is None:
            for split in self._splits.values():
                split.finish()

    def add(self, document: Document) -> None:
        """Write one document; one that was drawn for no split is for training."""
        source = self._sources.setdefault(document.source, _SourceTally(len(self._sources)))
        num_bytes = self._splits[document.split or "train"].add(document, source.number)
        self._languages.add(document, document.digest)
        self._characters += len(document.text)
        source.documents += 1
        source.bytes += num_bytes

    def facts(self, problems: Sequence[str], steps: Sequence[StepFacts]) -> CorpusFacts:
        """What was written, in numbers.

        Args:
            problems: that were met while reading.
            steps: what each one did.
        """
        splits: dict[str, SplitFacts] = {
            name: SplitFacts(len(split.ends), split.offsets[-1]) for name, split in self._splits.items()
        }
        return CorpusFacts(
            sources=tuple(SourceFacts(name, one.documents, one.bytes) for name, one in self._sources.items()),
            documents=sum(split.documents for split in splits.values()),
            bytes=sum(split.bytes for split in splits.values()),
            characters=self._characters,
            duplicates=sum(one.dropped.get("same_text", 0) for one in steps),
            languages=self._languages.languages(),
            splits=splits,
            problems=tuple(problems),
            steps=tuple(steps),
        )
