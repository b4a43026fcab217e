"""Documents cleaned, deduplicated, split, and written once as a package of text.

A package is named by a hash of everything it was made from: the same inputs find it again, any other make a new one.
Text is read and written as a stream, so a corpus may be larger than memory. This file leaves out tokens.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stepwell.data.config import DataConfig
from stepwell.data.document_files import shards_of
from stepwell.data.documents import HELD_OUT, SPLITS, Document, HeldOut, SplitName
from stepwell.data.engines import Engine, choose_engine
from stepwell.data.facts import CorpusFacts, SourceFacts, SplitFacts, StepFacts
from stepwell.data.inputs.reading import Input, Reading
from stepwell.data.inputs.sources import find_inputs
from stepwell.data.languages import LanguageSample
from stepwell.data.packages import key_of, open_or_build
from stepwell.data.pipeline import Pipeline, documents_of
from stepwell.data.steps.catalog import STEPS, build_steps
from stepwell.data.steps.cutting import Cut, CutConfig, SamePieces, SamePiecesConfig, pieces_of
from stepwell.data.steps.shingles import shingles_of
from stepwell.data.steps.step import Step, Surroundings
from stepwell.errors import DataError, DiskError
from stepwell.progress import Fact, Stage, Watcher, unwatched
from stepwell.runs import write_atomically

SMALLEST_TRAIN_BYTES = 20_000
SHOWN_PROBLEMS = 10

KNOWN_BY = (8, 16)
"""Words, or characters of a script without spaces, by which a text is known that was held out before."""

COMMON_RATIO = 0.3
"""A document that has more in common with what is held out is taken for the same text."""


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


def prepare_text(
    config: DataConfig,
    directory: Path | str,
    watch: Watcher = unwatched,
    *,
    engine: Engine = "auto",
    workers: int | None = None,
    around: Surroundings | None = None,
    held_out: PreparedText | None = None,
) -> PreparedText:
    """Turn sources into split documents on disk, or find what an earlier call made of the same inputs.

    The result is the same whoever does the work. A call that was killed goes on with the shards that are not done.

    Args:
        config: the sources and what is done to them.
        directory: holds the packages; made when absent.
        watch: is told what was found, and what was wrong.
        engine: who works: this process, a process for each core, a Ray cluster; `auto` takes processes for large text.
        workers: how many at once; default one for each core.
        around: what steps may know beside their settings.
        held_out: take validation and test from this text, and only what to learn from is made anew; so models trained
            on text that was prepared in two ways are judged by the same.

    Raises:
        DataError: when a source cannot be read or is no text, when a step finds a fault, or when there is too little
            text.
        DiskError: when the package cannot be written.
    """
    around = around or Surroundings()
    problems: list[str] = []
    inputs = {
        "test": find_inputs(config.test, problems.append),
        "validation": find_inputs(config.validation, problems.append),
        "sources": find_inputs(config.sources, problems.append),
    }
    beside = find_inputs([source for step in config.steps if step.enabled for source in step.reads()], problems.append)
    listed = {
        role: [(one.source, one.name, one.fingerprint()) for one in found]
        for role, found in {**inputs, **({"beside": beside} if beside else {})}.items()
    }
    seed = around.seed if any(STEPS[step.kind].draws for step in config.steps) else 0
    key = key_of([config.model_dump(mode="json"), listed, seed, *([] if held_out is None else [held_out.key])])
    path = Path(directory) / f"text-{key}"
    num_bytes = sum(one.num_bytes for found in inputs.values() for one in found)
    chosen, count = choose_engine(engine, num_bytes, workers)

    def tell(kind: str) -> None:
        if kind in STEPS:
            watch(Stage("step", kind))

    def build(draft: Path) -> dict[str, Any]:
        under_way = Pipeline(path.with_name(f".{path.name}.steps"), chosen, count, tell)
        reading = Reading(config.text_column, config.encoding_errors, problems.append, config.columns)
        groups: list[tuple[Sequence[Input], HeldOut | None]] = [
            (inputs["test"], "test"),
            (inputs["validation"], "validation"),
            (inputs["sources"], None),
        ]
        try:
            under_way.read(groups, reading, config.normalization, key)
            under_way.do(steps_of(config, around))
            documents = under_way.documents()
            if held_out is not None:
                documents = _judged_by(documents, held_out)
            writer = _Writer(config, draft, [*problems, *under_way.problems])
            contents = writer.write(documents, under_way.facts)
        except (DataError, DiskError, OSError):  # another call would end here too; a stop by hand can be gone on from
            under_way.close()
            raise
        write_atomically(seconds, json.dumps([one.seconds for one in under_way.facts]))
        under_way.close()
        return contents

    seconds = path.with_name(f"{path.name}.seconds.json")  # what differs from run to run stays out of the package
    contents = open_or_build(path, build, watch)
    facts = CorpusFacts.from_dict(contents["facts"])
    if seconds.exists():
        times = json.loads(seconds.read_text(encoding="utf-8"))
        facts = replace(facts, steps=tuple(map(_timed, facts.steps, times)))
    _tell(facts, watch)
    return PreparedText(key, path, facts)


def _judged_by(documents: Iterable[Document], held_out: PreparedText) -> Iterator[Document]:
    """What to learn from, without anything that is held out, and then what is held out.

    Steps may have changed a text since it was held out, so it is known by what it has in common with the new one.
    """
    kept = [document for split in HELD_OUT for document in held_out.documents(split)]
    digests = {document.digest for document in kept}
    known = np.unique(shingles_of([document.text for document in kept], *KNOWN_BY).hashes)
    for several in shards_of(one for one in documents if one.split == "train"):
        shingles = shingles_of([one.text for one in several], *KNOWN_BY)
        common = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.isin(shingles.hashes, known))])
        shares = np.diff(common[shingles.offsets]) / np.maximum(1, np.diff(shingles.offsets))
        for one, share in zip(several, shares, strict=True):
            if share <= COMMON_RATIO and one.digest not in digests:
                yield one
    yield from kept


def _timed(step: StepFacts, seconds: float) -> StepFacts:
    return replace(step, seconds=seconds)


def steps_of(config: DataConfig, around: Surroundings) -> list[Step[Any]]:
    """Every step in order: those of the recipe, and those between texts and splits that are always there."""
    sources: dict[HeldOut, tuple[str, ...]] = {"validation": config.validation, "test": config.test}
    own = tuple(name for name, several in sources.items() if several)
    cut = CutConfig(
        document_bytes=config.document_bytes,
        validation_ratio=config.validation_ratio,
        test_ratio=config.test_ratio,
        own_splits=own,
    )
    same = SamePiecesConfig(everywhere=config.deduplicate, own_splits=own)
    steps = build_steps(config.steps, around)
    before = [step for step in steps if step.place == "before_split"]
    after = [step for step in steps if step.place == "after_split"]
    return [*before, Cut(cut, around), SamePieces(same, around), *after]


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

    reading = Reading(config.text_column, config.encoding_errors, report, config.columns)
    for one in find_inputs(config.sources, report):
        for document in documents_of(one, reading, config.normalization, None):
            yield from pieces_of(document, config.document_bytes)


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
        self._characters = 0
        self._languages = LanguageSample()
        self._sources: dict[str, _SourceTally] = {}
        self._offsets = {name: array("q", [0]) for name in SPLITS}
        self._ends = {name: array("b") for name in SPLITS}
        self._source_of = {name: array("i") for name in SPLITS}
        self._columns: dict[SplitName, list[Mapping[str, Any]]] = {name: [] for name in SPLITS}

    def write(self, documents: Iterable[Document], steps: Sequence[StepFacts]) -> dict[str, Any]:
        """Write everything; returns what the manifest says."""
        with ExitStack() as stack:
            blobs = {name: stack.enter_context((self._directory / f"{name}.bin").open("wb")) for name in SPLITS}
            for document in documents:
                self._add(document, blobs)
        for name in SPLITS:
            np.save(self._directory / f"{name}.offsets.npy", np.array(self._offsets[name], dtype=np.int64))
            np.save(self._directory / f"{name}.ends.npy", np.array(self._ends[name], dtype=np.bool_))
            np.save(self._directory / f"{name}.sources.npy", np.array(self._source_of[name], dtype=np.int32))
            if any(self._columns[name]):
                lines = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in self._columns[name])
                (self._directory / f"{name}.columns.jsonl").write_text(lines, encoding="utf-8")
        facts = self._facts(steps)
        self._judge(facts)
        return {"facts": replace(facts, steps=tuple(_timed(step, 0.0) for step in facts.steps)).as_dict()}

    def _add(self, document: Document, blobs: Mapping[SplitName, BinaryIO]) -> None:
        source = self._sources.setdefault(document.source, _SourceTally(len(self._sources)))
        split = document.split or "train"
        data = document.text.encode()
        blobs[split].write(data)
        self._offsets[split].append(self._offsets[split][-1] + len(data))
        self._ends[split].append(document.ends)
        self._source_of[split].append(source.number)
        self._columns[split].append(document.columns)
        self._languages.add(document, document.digest)
        self._characters += len(document.text)
        source.documents += 1
        source.bytes += len(data)

    def _facts(self, steps: Sequence[StepFacts]) -> CorpusFacts:
        splits: dict[str, SplitFacts] = {
            name: SplitFacts(len(self._ends[name]), self._offsets[name][-1]) for name in SPLITS
        }
        return CorpusFacts(
            sources=tuple(SourceFacts(name, one.documents, one.bytes) for name, one in self._sources.items()),
            documents=sum(split.documents for split in splits.values()),
            bytes=sum(split.bytes for split in splits.values()),
            characters=self._characters,
            duplicates=sum(one.dropped.get("same_text", 0) for one in steps),
            languages=self._languages.languages(),
            splits=splits,
            problems=tuple(self._problems),
            steps=tuple(steps),
        )

    def _judge(self, facts: CorpusFacts) -> None:
        names = ", ".join(islice(self._config.sources, 4)) + (", ..." if len(self._config.sources) > 4 else "")
        train, validation = facts.splits["train"], facts.splits["validation"]
        if not facts.documents:
            raise DataError(
                f"{names}: empty",
                got="; ".join([*_where_it_went(facts.steps), *self._problems[:3]]) or "no text at all",
                wanted=f"{SMALLEST_TRAIN_BYTES:,} bytes or more",
            )
        if train.bytes < SMALLEST_TRAIN_BYTES or not validation.documents:
            raise DataError(
                f"{names}: too little text to train on",
                got=f"{train.bytes:,} bytes of training text, {validation.documents:,} validation documents "
                f"({facts.documents:,} documents in all"
                + "".join(f"; {one}" for one in _where_it_went(facts.steps))
                + ")",
                wanted=f"at least {SMALLEST_TRAIN_BYTES:,} bytes of training text and one validation document",
                do="add text, or name a file for validation (--set data.validation=[FILE])",
            )


def _where_it_went(steps: Sequence[StepFacts]) -> list[str]:
    """Which steps dropped documents, and why, as parts of a sentence."""
    return [
        f"{step.kind} left {step.documents_out:,} of {step.documents_in:,} documents ("
        + ", ".join(f"{reason} {count:,}" for reason, count in step.dropped.items())
        + ")"
        for step in steps
        if step.dropped and step.documents_out < step.documents_in
    ]
