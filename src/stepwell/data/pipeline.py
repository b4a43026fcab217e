"""Steps over shards: what is done in which order, in which process, and the account that is kept of it.

Consecutive steps that see one document at a time are one pass over the shards. A step that must see the whole corpus
looks at the end of the pass before its own. Each finished shard of a pass stays on disk under a key of all that it was
made from, so a killed preparation goes on where it was. This file leaves out reading, and what the steps do.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stepwell.data.document_files import load_shard, save_shard, shards_of
from stepwell.data.documents import Document, HeldOut, normalize, trim
from stepwell.data.engines import DoAll
from stepwell.data.facts import EXAMPLE_CHARACTERS, EXAMPLES, DroppedExample, StepFacts
from stepwell.data.inputs.reading import Input, Reading
from stepwell.data.packages import key_of
from stepwell.data.steps.step import Arrays, Joined, Step
from stepwell.errors import DataError
from stepwell.runs import write_atomically


@dataclass(frozen=True)
class ReadTask:
    """Inputs that one worker reads.

    Attributes:
        inputs: with the split each belongs to, None where it is drawn.
        reading: how.
        form: Unicode form that all text is brought to.
        folder: takes the shards.
        number: of the task; begins the names of its shards.
    """

    inputs: tuple[tuple[Input, HeldOut | None], ...]
    reading: Reading
    form: Literal["NFC", "NFKC", "none"]
    folder: Path
    number: int


@dataclass(frozen=True)
class StepTask:
    """One shard of one pass.

    Attributes:
        shard: to read.
        folder: takes what becomes of it, under the same name.
        steps: of the pass.
        known: file with what the first step is told of this shard, if it looked.
        looker: the step of the next pass, which looks at what this one makes.
    """

    shard: Path
    folder: Path
    steps: tuple[Step[Any], ...]
    known: Path | None
    looker: Step[Any] | None


def read_shards(task: ReadTask) -> dict[str, Any]:
    """Read inputs into shards; what an earlier call finished is not done again.

    Returns:
        Names of the `shards`, `problems`, and how many `documents` and `bytes` of text there are.

    Raises:
        DataError: when an input cannot be read.
    """
    account = task.folder / f"{task.number:06d}.json"
    if account.exists():
        return dict(json.loads(account.read_text(encoding="utf-8")))
    problems: list[str] = []
    reading = replace(task.reading, report=problems.append)
    documents = (document for one, split in task.inputs for document in documents_of(one, reading, task.form, split))
    names, sizes = [], Counter[str]()
    for part, held in enumerate(shards_of(documents)):
        sizes.update(documents=len(held), bytes=sum(one.num_bytes for one in held))
        names.append(f"{task.number:06d}-{part:06d}.arrow")
        save_shard(task.folder / names[-1], held)
    done = {"shards": names, "problems": problems, "documents": sizes["documents"], "bytes": sizes["bytes"]}
    write_atomically(account, json.dumps(done, ensure_ascii=False))
    return done


def documents_of(
    one: Input, reading: Reading, form: Literal["NFC", "NFKC", "none"], split: HeldOut | None
) -> Iterator[Document]:
    """The texts of an input as documents, each whole; a very long one in parts of a few megabytes.

    Raises:
        DataError: when it cannot be read or is no text.
    """
    wanted = {name for name, field in reading.fields.items() if field.needed and field.kept}
    for text in one.read(reading):
        if not wanted <= text.columns.keys():
            raise DataError(
                f"{one.name}: is text, and examples are wanted",
                wanted=f"a table (JSON Lines, CSV, parquet) with a column for {', '.join(sorted(wanted))}",
                do="name other files, or another task",
            )
        held: Document | None = None
        for block in text.blocks:
            clean = normalize(block, form)
            if not clean or clean.isspace():
                continue
            if held is not None:
                yield replace(held, ends=False)
            part = 0 if held is None else held.part + 1
            held = Document(clean, one.source, True, part, text.is_row, split, text.columns)
        if held is not None:
            yield held.with_text(held.text.rstrip() if held.part else trim(held.text))


def work_on(task: StepTask) -> list[dict[str, Any]]:
    """Do the steps of a pass to one shard, and let the next one look; what an earlier call finished is not done again.

    Returns:
        An account of each step and of the look, as `StepFacts.as_dict`.

    Raises:
        DataError: when a step cannot go on.
    """
    out = task.folder / task.shard.name  # where there is only a look, nothing is written anew
    account = out.with_suffix(".json")
    if account.exists():
        return list(json.loads(account.read_text(encoding="utf-8")))
    documents: Sequence[Document] = load_shard(task.shard)
    facts = []
    for number, step in enumerate(task.steps):
        known = load_arrays(task.known) if number == 0 and task.known is not None else None
        began = time.perf_counter()
        outcome = step.apply(documents, known)
        seconds = time.perf_counter() - began
        reasons = Counter(reason for _, reason in outcome.dropped)
        facts.append(
            StepFacts(
                kind=step.config.kind,
                documents_in=len(documents),
                documents_out=len(outcome.kept),
                bytes_in=sum(one.num_bytes for one in documents),
                bytes_out=sum(one.num_bytes for one in outcome.kept),
                seconds=seconds,
                dropped=dict(reasons),
                changed=dict(outcome.changed),
                examples=tuple(_examples(outcome.dropped)),
                findings=dict(outcome.findings),
            ).as_dict()
        )
        documents = outcome.kept
    if task.steps:
        save_shard(out, documents)
    if task.looker is not None:
        began = time.perf_counter()
        save_arrays(out.with_suffix(".npz"), task.looker.look(documents))
        facts.append(StepFacts(kind=task.looker.config.kind, seconds=time.perf_counter() - began).as_dict())
    write_atomically(account, json.dumps(facts, ensure_ascii=False))
    return facts


def _examples(dropped: Sequence[tuple[Document, str]]) -> Iterator[DroppedExample]:
    seen: Counter[str] = Counter()
    for document, reason in dropped:
        seen[reason] += 1
        if seen[reason] <= EXAMPLES:
            yield DroppedExample(reason, document.source, document.text[:EXAMPLE_CHARACTERS])


def _as_shown(facts: StepFacts, steps: Sequence[Step[Any]]) -> StepFacts:
    """An account whose texts are as each step lets them be shown; a step may have come before the one that hides."""
    for step in steps:
        if type(step).shown is not Step.shown and step.config.kind != facts.kind:
            examples = tuple(replace(one, text=step.shown(one.text)) for one in facts.examples)
            facts = replace(facts, examples=examples, findings=_in_all_texts(step.shown, facts.findings))
    return facts


def _in_all_texts(function: Callable[[str], str], value: Any) -> Any:
    """Plain JSON values with a function called on every text in them."""
    if isinstance(value, str):
        return function(value)
    if isinstance(value, Mapping):
        return {name: _in_all_texts(function, one) for name, one in value.items()}
    return [_in_all_texts(function, one) for one in value] if isinstance(value, list | tuple) else value


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write named arrays of numbers, text or bytes.

    Raises:
        OSError: when it cannot be written.
        ValueError: when there are Python objects among them.
    """
    draft = path.with_name(f".{path.stem}.draft.npz")
    np.savez(draft, allow_pickle=False, **arrays)
    draft.replace(path)


def load_arrays(path: Path) -> Arrays:
    """Read what `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _save_known(folder: Path, shards: Sequence[Path], joined: Joined) -> Iterator[Path]:
    """Write what each shard is told, and say where."""
    for shard, known in zip(shards, joined.known, strict=True):
        path = folder / f"{shard.stem}.known.npz"
        save_arrays(path, known)
        yield path


class _Look(Mapping[str, NDArray[Any]]):
    """What a step saw of one shard; each array is read from disk when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: list[str] | None = None
        self._held: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._held:
            with np.load(self._path, allow_pickle=False) as arrays:
                self._held[name] = arrays[name]
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        if self._names is None:
            with np.load(self._path, allow_pickle=False) as arrays:
                self._names = list(arrays.files)
        return iter(self._names)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Looks(Sequence[Arrays]):
    """What a step saw of each shard; nothing is kept of one that nobody holds."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [_Look(path) for path in self._paths[index]]
        return _Look(self._paths[index])


class Pipeline:
    """Reads inputs and does steps, in a folder that holds what is under way.

    Args:
        folder: of this preparation; `close` removes it.
        do_all: of an engine: who works.
        tell: takes the kind of a step that begins.
    """

    def __init__(
        self,
        folder: Path,
        do_all: DoAll = map,
        tell: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._folder, self._do_all, self._tell = folder, do_all, tell
        self._key = ""
        self.shards: list[Path] = []
        self.facts: list[StepFacts] = []
        self.problems: list[str] = []

    def read(
        self,
        inputs: Sequence[tuple[Sequence[Input], HeldOut | None]],
        reading: Reading,
        form: Literal["NFC", "NFKC", "none"],
        key: str,
    ) -> None:
        """Read everything.

        Args:
            inputs: groups with the split that each belongs to.
            reading: how; its `report` is not used.
            form: Unicode form that all text is brought to.
            key: names the inputs and how they are read.

        Raises:
            DataError: when an input cannot be read.
        """
        folder = self._begin("read", key)
        began, sizes = time.perf_counter(), Counter[str]()
        several = [(one, split) for group, split in inputs for one in group]
        tasks = [
            ReadTask(tuple(group), replace(reading, report=_nowhere), form, folder, number)
            for number, group in enumerate(_groups(several))
        ]
        for done in self._do_all(read_shards, tasks):
            self.shards += [folder / name for name in done["shards"]]
            self.problems += done["problems"]
            sizes.update(documents=done["documents"], bytes=done["bytes"])
        seconds = time.perf_counter() - began
        counts = (sizes["documents"], sizes["documents"], sizes["bytes"], sizes["bytes"])
        self.facts.append(StepFacts("read", *counts, seconds=seconds))

    def do(self, steps: Sequence[Step[Any]]) -> None:
        """Do steps to everything that was read.

        Raises:
            DataError: when a step cannot go on, or must not.
        """
        knowns: Sequence[Path | None] = [None] * len(self.shards)
        told = ""
        for passing, looker in _passes(steps):
            if not passing and looker is None:
                continue
            several = [*passing, *([] if looker is None else [looker])]
            if told != (told := several[0].config.kind):  # a step that looks begins one pass and goes on in the next
                self._tell(told)
            settings = [step.config.model_dump(mode="json") for step in several]
            folder = self._begin("-".join(step.config.kind for step in several), [len(passing), settings])
            tasks = [
                StepTask(shard, folder, tuple(passing), known, looker)
                for shard, known in zip(self.shards, knowns, strict=True)
            ]
            facts = [StepFacts(kind=step.config.kind) for step in several]
            for account in self._do_all(work_on, tasks):
                facts = [one.plus(StepFacts.from_dict(told)) for one, told in zip(facts, account, strict=True)]
            if passing:
                self.shards = [folder / shard.name for shard in self.shards]
                if passing[0].looks:  # what it saw and what it did are one account
                    facts[0] = self.facts.pop().plus(facts[0])
            knowns = [None] * len(self.shards)
            if looker is not None:
                looks = _Looks([folder / f"{shard.stem}.npz" for shard in self.shards])
                began = time.perf_counter()
                joined = looker.join(looks)
                knowns = list(_save_known(folder, self.shards, joined))
                seconds = time.perf_counter() - began
                facts[-1] = facts[-1].plus(StepFacts(looker.config.kind, seconds=seconds, findings=joined.findings))
            self.facts += facts
        self.facts = [_as_shown(one, steps) for one in self.facts]
        for step in steps:
            self.problems = [step.shown(problem) for problem in self.problems]  # they quote lines that cannot be read

    def documents(self) -> Iterator[Document]:
        """Everything as it is now, in order."""
        for shard in self.shards:
            yield from load_shard(shard)

    def close(self) -> None:
        """Remove what was under way."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, name: str, key: object) -> Path:
        self._key = key_of([self._key, name, key])
        folder = self._folder / f"{name[:60]}-{self._key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _nowhere(problem: str) -> None:
    """Takes the place of a report that cannot be sent to another process."""


READ_TOGETHER_BYTES = 64 << 20
"""Inputs of one task, about."""


def _groups(
    inputs: Sequence[tuple[Input, HeldOut | None]],
) -> Iterator[list[tuple[Input, HeldOut | None]]]:
    """Inputs in lists of some size, in order."""
    held: list[tuple[Input, HeldOut | None]] = []
    size = 0
    for one in inputs:
        held.append(one)
        size += one[0].num_bytes
        if size >= READ_TOGETHER_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _passes(steps: Sequence[Step[Any]]) -> Iterator[tuple[list[Step[Any]], Step[Any] | None]]:
    """Lists of steps that are one pass, each with the step that looks at its end and begins the next one."""
    held: list[Step[Any]] = []
    for step in steps:
        if step.looks:
            yield held, step
            held = []
        held.append(step)
    yield held, None
