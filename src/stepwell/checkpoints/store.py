"""Checkpoints: written as a whole, checked on reading, never pickled.

A checkpoint is a folder: `model.safetensors`, `config.json`, `tokenizer.json`, for an adapter its two files, and for a
run that goes on `optimizer.safetensors` and `trainer.json`; `manifest.json` holds the sha256 of each. Where ranks hold
shards, their files (`shard-*.safetensors`) stand for weights and optimizer. The folder is built beside its place
and renamed, so a crash leaves the older one good. This file leaves out foreign formats.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stepwell.checkpoints.adapter_files import MERGED, Adapter, adapter_of, put_in, read_adapter, write_adapter
from stepwell.config import build
from stepwell.errors import CheckpointError, StepwellError
from stepwell.models import MODELS, LanguageModel, ModelConfig, build_model
from stepwell.runs import building, disk_error, file_checksum, to_json
from stepwell.tokenizers import Tokenizer

FORMAT = 1
"""Version of the checkpoint layout."""

MANIFEST, WEIGHTS = "manifest.json", "model.safetensors"
PARTS = (WEIGHTS, "config.json", "tokenizer.json", "provenance.json")
"""Files of every checkpoint; one that can be trained further has more."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    Attributes:
        model: in evaluation mode.
        tokenizer: the one it was trained with.
        provenance: what made it (run, round, step, metric, versions).
        path: where it was read from.
        trainer: the state of its training run, when it can go on.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    provenance: dict[str, Any]
    path: Path
    trainer: dict[str, Any] | None


@dataclass(frozen=True)
class Snapshot:
    """All that a checkpoint says, as it was at one moment.

    Attributes:
        config: of the model.
        tokenizer: written beside.
        provenance: plain values that say what made it.
        weights: by name, on the CPU.
        optimizer: tensors of the optimizer's state by name, for a run that goes on.
        trainer: plain values of the trainer's state, likewise.
        adapter: of the model, where it has one.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    provenance: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor] | None = None
    trainer: Mapping[str, Any] | None = None
    adapter: Adapter | None = None

    def to_use(self) -> Snapshot:
        """The same without what only a run that goes on needs."""
        return replace(self, optimizer=None, trainer=None)


def take_snapshot(
    model: LanguageModel,
    tokenizer: Tokenizer,
    *,
    provenance: Mapping[str, Any],
    optimizer: Mapping[str, Tensor] | None = None,
    trainer: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    copied: bool = True,
) -> Snapshot:
    """Remember a model as it is now, so that it can be written while it changes.

    The copies need as much memory as the checkpoint does on disk: with AdamW three times the weights in float32.

    Args:
        model: its weights and config.
        tokenizer: written beside.
        provenance: plain values that say what made it.
        optimizer: tensors of the optimizer's state by name, for a run that goes on.
        trainer: plain values of the trainer's state, likewise.
        tensors: weights to take instead of the model's, by the same names, in any precision.
        copied: False shares memory with the model where it can: for writing at once.
    """
    weights = model.tensors() if tensors is None else tensors
    adapter = adapter_of(model)
    return Snapshot(
        config=model.config,
        tokenizer=tokenizer,
        provenance=dict(provenance),
        weights=_on_cpu(weights, copied),
        optimizer=None if optimizer is None else _on_cpu(optimizer, copied),
        trainer=None if trainer is None else dict(trainer),
        adapter=None if adapter is None else Adapter(adapter.config, _on_cpu(adapter.tensors, copied)),
    )


def _on_cpu(tensors: Mapping[str, Tensor], copied: bool) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=copied).contiguous() for name, tensor in tensors.items()}


def save_checkpoint(
    path: Path,
    model: LanguageModel,
    tokenizer: Tokenizer,
    *,
    provenance: Mapping[str, Any],
    optimizer: Mapping[str, Tensor] | None = None,
    trainer: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint folder; an older one at the same place is replaced only when the new one is whole.

    Args:
        path: the folder to make.
        model: its weights and config are written.
        tokenizer: written beside.
        provenance: plain values that say what made it.
        optimizer: tensors of the optimizer's state by name, for a run that goes on.
        trainer: plain values of the trainer's state, likewise.
        tensors: weights to write instead of the model's, by the same names, in any precision.

    Raises:
        DiskError: when it cannot be written (a full disk); what was there before is untouched.
    """
    snapshot = take_snapshot(
        model,
        tokenizer,
        provenance=provenance,
        optimizer=optimizer,
        trainer=trainer,
        tensors=tensors,
        copied=False,
    )
    write_snapshot(path, snapshot)


def write_snapshot(path: Path, snapshot: Snapshot, shards: Path | None = None) -> None:
    """Write a checkpoint folder; an older one at the same place is replaced only when the new one is whole.

    Args:
        path: the folder to make.
        snapshot: what it says.
        shards: a folder with the files of `write_shards`, which are moved in; the snapshot then needs no tensors.

    Raises:
        DiskError: when it cannot be written (a full disk); what was there before is untouched.
    """
    with building(path) as folder:
        try:
            for file in sorted(shards.iterdir()) if shards is not None else ():
                file.replace(folder / file.name)
            if shards is None:
                save_file(dict(snapshot.weights), folder / WEIGHTS)
            if shards is None and snapshot.optimizer is not None:
                save_file(dict(snapshot.optimizer), folder / "optimizer.safetensors")
            if snapshot.adapter is not None:
                write_adapter(folder, snapshot.adapter)
        except SafetensorError as error:  # it reports a full disk as its own kind
            raise disk_error(path, OSError(28, str(error))) from error
        snapshot.tokenizer.save(folder / "tokenizer.json")
        (folder / "config.json").write_text(to_json(snapshot.config.model_dump(), indent=2), encoding="utf-8")
        (folder / "provenance.json").write_text(to_json(snapshot.provenance, indent=2), encoding="utf-8")
        if snapshot.trainer is not None:
            (folder / "trainer.json").write_text(to_json(snapshot.trainer, indent=2), encoding="utf-8")
        checksums = {file.name: file_checksum(file) for file in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(to_json({"format": FORMAT, "sha256": checksums}, indent=2), encoding="utf-8")


def verify(path: Path) -> None:
    """Check that a checkpoint is whole.

    Raises:
        CheckpointError: naming the first file that is missing or differs from its checksum.
    """
    manifest = path / MANIFEST
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such checkpoint", wanted="a run directory or a checkpoint directory")
    if not manifest.exists():
        raise CheckpointError(f"{path}: not a checkpoint", wanted="a folder with manifest.json in it")
    try:
        record = json.loads(manifest.read_text(encoding="utf-8"))
        version, checksums = record["format"], dict.fromkeys(PARTS, "") | dict(record["sha256"])
        if any(name.startswith("shard-") for name in checksums) and WEIGHTS not in record["sha256"]:
            del checksums[WEIGHTS]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{manifest}: is damaged", got=str(error)) from None
    if version != FORMAT:
        raise CheckpointError(f"{path}: another format", got=f"format {version}", wanted=f"format {FORMAT}")
    for name, checksum in checksums.items():
        file = path / name
        if not file.exists():
            raise CheckpointError(f"{file}: is missing", wanted="the file that manifest.json names")
        if file_checksum(file) != checksum:
            raise CheckpointError(f"{file}: is damaged or truncated", got="another sha256 than manifest.json says")


def load_checkpoint(path: Path) -> Loaded:
    """Read a checkpoint, or the best one of a run.

    Args:
        path: a checkpoint directory or a run directory.

    Raises:
        CheckpointError: when it is missing, damaged or does not fit its config; the newest good one beside it is named.
        TokenizerError: when its tokenizer cannot be read.
    """
    folder = resolve_checkpoint(path)
    try:
        verify(folder)
        model = build_model(read_config(folder))
        try:
            model.load_tensors(read_weights(folder))
        except ValueError as error:
            raise CheckpointError(f"{folder}/{WEIGHTS}: does not fit its config", got=str(error)) from None
        adapter = read_adapter(folder)
        if adapter is not None and adapter.config.kind not in MERGED:
            put_in(model, adapter, folder)
        return Loaded(
            model=model.eval(),
            tokenizer=read_tokenizer(folder),
            provenance=read_provenance(folder),
            path=folder,
            trainer=read_trainer(folder),
        )
    except StepwellError as error:
        other = _another_good(folder)
        if other is None:
            raise
        raise CheckpointError(
            error.what, got=error.got, wanted=error.wanted, do=f"use the newest good one: {other}"
        ) from error


def refuse_adapter(loaded: Loaded) -> None:
    """Refuse a model whose weights are not all that it computes with, where only they are taken over.

    Raises:
        CheckpointError: when it has an adapter that cannot be merged.
    """
    if loaded.model.adapter is not None:
        raise CheckpointError(
            f"{loaded.path}: its weights are only a part of it",
            got=f"an adapter of kind {loaded.model.adapter.kind} beside them",
            wanted="a plain model, or one with a LoRA, which is merged",
            do="begin from the model that its training began from",
        )


def read_config(folder: Path) -> ModelConfig:
    """The config of a checkpoint folder's model.

    Raises:
        CheckpointError: when it is of no family that there is.
    """
    tree = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = tree.get("kind")
    if kind not in MODELS:
        raise CheckpointError(f"{folder}/config.json: unknown model", got=str(kind), wanted=", ".join(MODELS))
    return build(MODELS[kind].config, tree, where=f"{folder}/config.json")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder.

    Raises:
        TokenizerError: when it is missing or damaged.
    """
    return Tokenizer.load(folder / "tokenizer.json")


def read_provenance(folder: Path) -> dict[str, Any]:
    """What made the model of a checkpoint folder."""
    return dict(json.loads((folder / "provenance.json").read_text(encoding="utf-8")))


def read_trainer(folder: Path) -> dict[str, Any] | None:
    """The state of the training run of a checkpoint folder, when it can go on."""
    file = folder / "trainer.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint folder by name, in the precision they are stored in; shards are put together."""
    if _has_shards(folder):
        return {name: tensor for name, tensor in _put_together(folder).items() if ":" not in name}
    return dict(load_file(folder / WEIGHTS))


def read_optimizer(path: Path) -> dict[str, Tensor]:
    """The optimizer's tensors of a checkpoint.

    Raises:
        CheckpointError: when the checkpoint has none.
    """
    if _has_shards(path):
        return {name: tensor for name, tensor in _put_together(path).items() if ":" in name}
    file = path / "optimizer.safetensors"
    if not file.exists():
        raise CheckpointError(f"{path}: has no optimizer state", do="start a new run from its weights instead")
    return dict(load_file(file))


def _has_shards(folder: Path) -> bool:
    return next(folder.glob("shard-*.safetensors"), None) is not None


def _put_together(folder: Path) -> dict[str, Tensor]:
    from stepwell.checkpoints.sharded import read_whole  # torch takes a second to load what it needs

    return read_whole(folder)


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint folder behind a path: itself, or the best (else the newest) one of a run.

    Raises:
        CheckpointError: when there is none.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or directory", wanted="a run directory or a checkpoint directory")
    if any((path / name).exists() for name in (MANIFEST, WEIGHTS)) and not (path / "run.json").exists():
        return path
    if (path / "best").is_dir():
        return path / "best"
    newest = _newest_whole(path)
    if newest is None:
        raise CheckpointError(f"{path}: holds no checkpoint", wanted="a run directory or a checkpoint directory")
    return newest


def checkpoint_step(path: Path) -> int:
    """The step in the name of a numbered checkpoint folder (`step-000400`)."""
    return int(path.name.removeprefix("step-"))


def step_folders(directory: Path) -> list[Path]:
    """The numbered checkpoints of a directory, oldest first."""
    return sorted((p for p in directory.glob("step-*") if p.name[5:].isdigit()), key=checkpoint_step)


def newest_good(directory: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a training run.

    Returns:
        Its path (None when there is none), and a line about each newer one that is damaged.
    """
    damaged: list[str] = []
    for path in reversed(step_folders(directory)):
        try:
            verify(path)
        except CheckpointError as error:
            damaged.append(error.what)
        else:
            return path, damaged
    return None, damaged


def prune(directory: Path, keep: int, newest: int, every_steps: int | None = None) -> None:
    """Remove numbered checkpoints that no rule keeps.

    Args:
        directory: where they are.
        keep: the last ones up to `newest` stay, so many.
        newest: later ones go: they are damaged, or of a part of the run that was rolled back.
        every_steps: those of multiples of it stay too, up to `newest`.
    """
    folders = step_folders(directory)
    known = [path for path in folders if checkpoint_step(path) <= newest]
    kept = set(known[-keep:])
    if every_steps is not None:
        kept |= {path for path in known if checkpoint_step(path) and checkpoint_step(path) % every_steps == 0}
    for path in folders:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _another_good(folder: Path) -> Path | None:
    """The newest whole checkpoint of the run that a folder belongs to, other than itself."""
    runs = [parent for parent in (folder.parent, *folder.parents[1:4]) if (parent / "run.json").exists()]
    return _newest_whole(runs[0] if runs else folder.parent, besides=folder)


def _newest_whole(root: Path, besides: Path | None = None) -> Path | None:
    """The whole checkpoint that is furthest on in a run, a round or a folder of checkpoints; None without any.

    Rounds and steps say what is later, as the checkpoints name them: the times of files say nothing after a copy, or
    when a clock was set back.
    """
    patterns = ("best", "stable", "step-*", "checkpoints/*", "rounds/*/checkpoints/*")
    found = [path for pattern in patterns for path in root.glob(pattern) if path.is_dir() and path != besides]
    named = [path for path in found if not path.name.startswith(".")]
    for path in sorted(named, key=_how_far, reverse=True):
        try:
            verify(path)
        except CheckpointError:
            continue
        return path
    return None


def _how_far(path: Path) -> tuple[int, int, bool]:
    """Round and step of a checkpoint, by its provenance or else its place and name; at one step, the best first."""
    try:
        made_by = read_provenance(path)
    except (OSError, ValueError, TypeError):
        made_by = {}
    by_place = path.parent.parent.name, path.name.removeprefix("step-")
    numbers = [
        int(said) if isinstance(said, int) else int(shown) if shown.isdigit() else 0
        for said, shown in zip((made_by.get("round"), made_by.get("step")), by_place, strict=True)
    ]
    return numbers[0], numbers[1], path.name == "best"
