"""Sources read, taken through their steps, split, and written once as a package of text.

A package is named by a hash of everything it was made from: the same inputs find it again, any other make a new one.
This file leaves out how steps reach the shards (`pipeline.py`), what a package looks like (`text_package.py`), and
tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data.config import DataConfig
from stepwell.data.document_files import shards_of
from stepwell.data.documents import HELD_OUT, Document, HeldOut
from stepwell.data.engines import Engine, choose_engine, opened
from stepwell.data.facts import CorpusFacts, StepFacts
from stepwell.data.fields import group_field
from stepwell.data.inputs.reading import Input, Reading
from stepwell.data.inputs.sources import find_inputs
from stepwell.data.packages import file_checksum, key_of, open_or_build
from stepwell.data.pipeline import Pipeline, documents_of
from stepwell.data.steps.catalog import STEPS, build_steps
from stepwell.data.steps.cutting import Cut, CutConfig, SamePieces, SamePiecesConfig, pieces_of
from stepwell.data.steps.duplicates.shingles import Hashes, distinct, shingles_of
from stepwell.data.steps.step import Step, Surroundings
from stepwell.data.text_package import PreparedText, TextWriter
from stepwell.errors import DataError, DiskError
from stepwell.progress import Fact, Stage, Watcher, unwatched
from stepwell.runs import write_atomically

SMALLEST_TRAIN_BYTES = 20_000

FEWEST_EXAMPLES = 20
"""Of a task, for training, however short they are."""

SHOWN_PROBLEMS = 10

KNOWN_BY = (8, 16)
"""Words, or characters of a script without spaces, by which a text is known that was held out before."""

COMMON_RATIO = 0.3
"""A document that has more in common with what is held out is taken for the same text."""


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
    key = _key(config, inputs, around, held_out)
    path = Path(directory) / f"text-{key}"
    num_bytes = sum(one.num_bytes for found in inputs.values() for one in found)
    chosen, count = choose_engine(engine, num_bytes, workers)

    def tell(kind: str) -> None:
        if kind in STEPS:
            watch(Stage("step", kind))

    def build(draft: Path) -> dict[str, Any]:
        with opened(chosen, count) as do_all:
            under_way = Pipeline(path.with_name(f".{path.name}.steps"), do_all, tell)
            try:
                reading = reading_of(config, problems.append)
                under_way.read(_groups(inputs), reading, config.normalization, key)
                under_way.do(steps_of(config, around))
                facts = _write(draft, under_way, problems, held_out)
                _judge(facts, config)
            except (
                DataError,
                DiskError,
                OSError,
            ):  # another call would end here too; a stop by hand can be gone on from
                under_way.close()
                raise
        write_atomically(seconds, json.dumps([one.seconds for one in under_way.facts]))
        under_way.close()
        return {"facts": replace(facts, steps=tuple(_timed(step, 0.0) for step in facts.steps)).as_dict()}

    seconds = path.with_name(f"{path.name}.seconds.json")  # what differs from run to run stays out of the package
    contents = open_or_build(path, build, watch)
    facts = CorpusFacts.from_dict(contents["facts"])
    if seconds.exists():
        times = json.loads(seconds.read_text(encoding="utf-8"))
        facts = replace(facts, steps=tuple(map(_timed, facts.steps, times)))
    _tell(facts, watch)
    return PreparedText(key, path, facts)


def reading_of(config: DataConfig, report: Callable[[str], None]) -> Reading:
    """How the inputs of a config are read."""
    return Reading(config.text_column, config.encoding_errors, report, config.columns, fields=config.fields)


def _key(
    config: DataConfig, inputs: Mapping[str, Sequence[Input]], around: Surroundings, held_out: PreparedText | None
) -> str:
    """Names all that the text is made from: settings, inputs, what steps read and ask beside, the seed of draws."""
    enabled = [step for step in config.steps if step.enabled]
    sources = [source for step in enabled for source in step.reads()]
    beside = {"beside": find_inputs(sources, lambda problem: None)} if sources else {}
    listed = {
        role: [(one.source, one.name, one.fingerprint()) for one in found]
        for role, found in {**inputs, **beside}.items()
    }
    asked = [_weights_of(Path(one)) for step in enabled for one in step.models()]
    seed = around.seed if any(STEPS[step.kind].draws for step in config.steps) else 0
    made_from = [config.model_dump(mode="json"), listed, seed, *([asked] if asked else [])]
    return key_of([*made_from, *([] if held_out is None else [held_out.key])])


def _groups(inputs: Mapping[str, Sequence[Input]]) -> list[tuple[Sequence[Input], HeldOut | None]]:
    """Inputs with the split that each belongs to, held-out ones first."""
    return [(inputs["test"], "test"), (inputs["validation"], "validation"), (inputs["sources"], None)]


def _write(draft: Path, made: Pipeline, problems: Sequence[str], held_out: PreparedText | None) -> CorpusFacts:
    """Write the documents that steps have made, and say what they are."""
    documents = made.documents()
    if held_out is not None:
        documents = _judged_by(documents, held_out)
    with TextWriter(draft) as writer:
        for document in documents:
            writer.add(document)
    return writer.facts([*problems, *made.problems], made.facts)


def _weights_of(model: Path) -> list[tuple[str, str]]:
    """The manifests of a run's checkpoints, or of a checkpoint, by their content, which names the weights.

    Raises:
        DataError: when there is no such folder.
    """
    if not model.is_dir():
        raise DataError(f"{model}: no such folder", wanted="a run or a checkpoint that a step of data.steps asks")
    manifests = sorted(one.relative_to(model) for one in model.rglob("manifest.json"))
    return [(str(one), file_checksum(model / one)) for one in manifests if "data" not in one.parts]


def _judged_by(documents: Iterable[Document], held_out: PreparedText) -> Iterator[Document]:
    """What to learn from, without anything that is held out, and then what is held out.

    Steps may have changed a text since it was held out, so it is known by what it has in common with the new one.
    """
    kept = [document for split in HELD_OUT for document in held_out.documents(split)]
    digests = {document.digest for document in kept}
    known = distinct(shingles_of([document.text for document in kept], *KNOWN_BY).hashes)
    for several in shards_of(one for one in documents if one.split == "train"):
        shingles = shingles_of([one.text for one in several], *KNOWN_BY)
        common = np.concatenate([np.zeros(1, np.int64), np.cumsum(_among(shingles.hashes, known))])
        shares = np.diff(common[shingles.offsets]) / np.maximum(1, np.diff(shingles.offsets))
        for one, share in zip(several, shares, strict=True):
            if share <= COMMON_RATIO and one.digest not in digests:
                yield one
    yield from kept


def _among(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """(S,) which hashes are among the known ones, which rise."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes
    return found


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
        group=group_field(config.fields),
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

    reading = reading_of(config, report)
    for one in find_inputs(config.sources, report):
        for document in documents_of(one, reading, config.normalization, None):
            yield from pieces_of(document, config.document_bytes)


def _judge(facts: CorpusFacts, config: DataConfig) -> None:
    """Refuse what nobody could learn from.

    Raises:
        DataError: saying how much there is, and which step took the rest.
    """
    names = ", ".join(islice(config.sources, 4)) + (", ..." if len(config.sources) > 4 else "")
    train, validation = facts.splits["train"], facts.splits["validation"]
    if not facts.documents:
        raise DataError(
            f"{names}: empty",
            got="; ".join([*_where_it_went(facts.steps), *facts.problems[:3]]) or "no text at all",
            wanted=f"{SMALLEST_TRAIN_BYTES:,} bytes or more",
        )
    few = train.documents < FEWEST_EXAMPLES if config.fields else train.bytes < SMALLEST_TRAIN_BYTES
    if few or not validation.documents:
        least = (
            f"{FEWEST_EXAMPLES} training examples"
            if config.fields
            else f"{SMALLEST_TRAIN_BYTES:,} bytes of training text"
        )
        raise DataError(
            f"{names}: too little text to train on",
            got=f"{train.bytes:,} bytes of training text in {train.documents:,} documents, "
            f"{validation.documents:,} validation documents ({facts.documents:,} documents in all"
            + "".join(f"; {one}" for one in _where_it_went(facts.steps))
            + ")",
            wanted=f"at least {least} and one validation document",
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
