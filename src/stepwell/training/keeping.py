"""The checkpoints of one training run: what is written, what stays, and how a run takes up where one of them stands.

Names say what a checkpoint is for: `best` (to use), `stable` (where the decay began), `measured` (to roll back to) and
`step-000400` (to go on from). They are written in the background while training goes on. This file leaves out when
each is written: the loop decides that.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stepwell.checkpoints import (
    Writer,
    load_checkpoint,
    newest_good,
    prune,
    read_optimizer,
    read_trainer,
    take_snapshot,
    verify,
    write_snapshot,
)
from stepwell.errors import RunError
from stepwell.models import LanguageModel
from stepwell.optimization import WeightAverage
from stepwell.runs import DRAFT, sweep
from stepwell.tokenizers import Tokenizer
from stepwell.training.keeping_config import KeepConfig
from stepwell.training.spread import Spread
from stepwell.training.state import Progress, optimizer_tensors, restore_optimizers
from stepwell.training.world import World

FROZEN = ("adapter", "freeze", "frozen_weights_sha256")
"""Of a run's identity: what a checkpoint that has frozen weights can be gone on from with."""


class Keeper:
    """Writes and reads the checkpoints of one training run.

    A checkpoint is a snapshot of one moment that a background thread writes; the next one waits for it. While it is
    written, memory holds the snapshot beside the model: as much as the checkpoint on disk. What went wrong in writing
    is raised by the next call.

    Args:
        directory: where they are; made when it is not there.
        model: whose weights are written, and replaced by `load`.
        tokenizer: written with every checkpoint.
        optimizers: whose state is written and replaced likewise.
        identity: plain values that say which run this is.
        keep: which numbered checkpoints stay.
        average: of the weights, written and replaced with the optimizers' state; None for none.
        spread: how the model is spread over the ranks; None for not at all.
        world: the ranks; rank 0 writes what is whole, and each its own shards. Every rank calls every method.
    """

    def __init__(
        self,
        directory: Path,
        model: LanguageModel,
        tokenizer: Tokenizer,
        optimizers: Sequence[torch.optim.Optimizer],
        identity: Mapping[str, Any],
        keep: KeepConfig,
        average: WeightAverage | None = None,
        spread: Spread | None = None,
        world: World | None = None,
    ) -> None:
        self.directory, self.model, self.tokenizer = directory, model, tokenizer
        self.optimizers, self.identity, self.keep = optimizers, identity, keep
        self.average = WeightAverage(model, None) if average is None else average
        self.is_sharded, self.world = spread is not None and spread.is_sharded, world or World.alone()
        self._writer = Writer()
        self._numbered: dict[str, Any] | None = None  # what the newest numbered checkpoint says of the run
        if self.world.is_main:
            directory.mkdir(parents=True, exist_ok=True)
            sweep(directory)

    def save(self, progress: Progress, name: str | None = None, whole: LanguageModel | None = None) -> None:
        """Write a checkpoint; a numbered one (to go on from) when no name is given, unless it is there already.

        Args:
            progress: how far the run is.
            name: `best`, `stable` or `measured`.
            whole: the model with all its weights, for `best`; None when every rank has it.

        Raises:
            DiskError: when one before could not be written; the one before that is whole.
        """
        state = _timeless(progress)
        if name is None and state == self._numbered:
            return
        if name is None:
            self._numbered = state
        goes_on = name != "best"
        folder = self.directory / (name or f"step-{progress.step:06d}")
        shards = self._write_shards(folder) if self.is_sharded and goes_on else None
        if not self.world.is_main:
            return
        snapshot = take_snapshot(
            self.model if whole is None else whole,
            self.tokenizer,
            provenance={**self.identity, "step": progress.step, "tokens": progress.tokens},
            optimizer=self._to_go_on_from() if goes_on and shards is None else None,
            trainer=progress.to_plain() | {"identity": self.identity} if goes_on else None,
            tensors=None if shards is None else {},
        )

        def write() -> None:
            write_snapshot(folder, snapshot, shards)
            if name is None:
                prune(self.directory, self.keep.last, newest=progress_step, every_steps=self.keep.every_steps)

        progress_step = progress.step
        self._writer.start(write)

    def _write_shards(self, folder: Path) -> Path:
        """Let each rank write its shards beside a checkpoint's place; returns where they are."""
        from stepwell.checkpoints import write_shards  # torch takes a second to load what it needs

        beside = folder.with_name(f".{folder.name}.shards.{DRAFT}")
        if self.world.is_main:
            self.wait()
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
        self.world.broadcast(None)  # from here on it is empty
        write_shards(beside, {name: p.detach() for name, p in self.model.named_parameters()} | self._to_go_on_from())
        return beside

    def check(self) -> None:
        """Raise what went wrong in writing, if it has come out by now; waits for nothing."""
        self._writer.check()

    def wait(self) -> None:
        """Wait until everything is on disk, and raise what went wrong."""
        self._writer.wait()

    def path(self, name: str) -> Path | None:
        """The checkpoint of a name (`best`, `stable`, `measured`), or None when there is none."""
        self.wait()
        folder = self.directory / name
        return folder if self.world.broadcast(folder.exists()) else None

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest whole numbered checkpoint, and a line about each newer one that is damaged."""
        self.wait()
        found, damaged = newest_good(self.directory) if self.world.is_main else (None, [])
        name, damaged = self.world.broadcast([None if found is None else found.name, damaged])
        return None if name is None else self.directory / name, damaged

    def load(self, folder: Path, own: bool = True) -> Progress:
        """Put the weights and the optimizers' state of a checkpoint into place.

        Args:
            folder: the checkpoint.
            own: whether it must be one of this run, with every weight of the model.

        Returns:
            How far the run was.

        Raises:
            RunError: when it is of another run, of another shape, or has no state to go on from.
            CheckpointError: when it is missing or damaged.
        """
        self.wait()
        if self.is_sharded and self.world.is_main:
            verify(folder)
        self.world.broadcast(None)  # rank 0 has written what the others read now
        loaded = None if self.is_sharded else load_checkpoint(folder)
        trainer = read_trainer(folder) if loaded is None else loaded.trainer
        if trainer is None:
            raise RunError(f"{folder}: cannot be trained further", got="a checkpoint without trainer state")
        before = trainer["identity"]
        if [before.get(name) for name in FROZEN] != [self.identity.get(name) for name in FROZEN]:
            raise RunError(
                f"{folder}: cannot be trained further here",
                got="another adapter, other frozen weights, or none",
                wanted="the training.adapter, training.freeze and init_from that it was trained with",
            )
        if own and before != self.identity:
            raise RunError(
                f"{folder.parent.parent}: holds another training run", do="choose another --out, or remove that folder"
            )
        if loaded is None:
            tensors = self._read_shards(folder, all_of_them=own)
        else:
            self._take_weights(loaded.model, folder, all_of_them=own)
            device = next(self.model.parameters()).device
            tensors = {name: tensor.to(device) for name, tensor in read_optimizer(folder).items()}
        restore_optimizers(self.model, self.optimizers, self.average.take_up(tensors, begins=not own))
        progress = Progress.from_plain(trainer)
        self._numbered = _timeless(progress) if own and folder.name.startswith("step-") else None
        return progress

    def _to_go_on_from(self) -> dict[str, torch.Tensor]:
        return optimizer_tensors(self.model, self.optimizers) | self.average.tensors()

    def _read_shards(self, folder: Path, all_of_them: bool) -> dict[str, torch.Tensor]:
        """Read this rank's part of weights, into their place, and of what is to go on from, which is returned."""
        from stepwell.checkpoints import read_shards, sizes_in

        own = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        sizes = sizes_in(folder)
        weights = {name: size for name, (size, _) in sizes.items() if ":" not in name}
        self._check_fit(weights, folder, all_of_them)
        rest: dict[str, torch.Tensor] = {}
        for name, (size, dtype) in sizes.items():
            like = own.get(name.rpartition(":")[0])
            if ":" in name and like is not None and like.shape == size:
                rest[name] = torch.zeros_like(like, dtype=dtype)
            elif ":" in name:
                rest[name] = torch.zeros(size, dtype=dtype, device=self.world.device)
        read_shards(folder, {name: own[name] for name in weights} | rest)
        return rest

    def _take_weights(self, source: LanguageModel, folder: Path, all_of_them: bool) -> None:
        """Copy weights by name; layers that the source does not have stay as they were built, when that is allowed."""
        own, found = dict(self.model.named_parameters()), source.tensors()
        self._check_fit({name: tensor.shape for name, tensor in found.items()}, folder, all_of_them)
        if self.model.adapter is not None:  # frozen weights are in place, and what the adapter has learned comes later
            found = {name: tensor for name, tensor in found.items() if name in own and own[name].requires_grad}
        with torch.no_grad():
            for name, tensor in found.items():
                own[name].copy_(tensor)

    def _check_fit(self, found: Mapping[str, torch.Size], folder: Path, all_of_them: bool) -> None:
        own = self.model.tensors()
        misfit = [name for name, size in found.items() if name not in own or own[name].shape != size]
        missing = [name for name in own if name not in found] if all_of_them else []
        if misfit or missing:
            raise RunError(
                f"{folder}: is of another shape than the model to train",
                got=f"{misfit[0]} that does not fit" if misfit else f"no {missing[0]}",
                wanted="the same model, or one with fewer layers",
            )


def _timeless(progress: Progress) -> dict[str, Any]:
    """What a run remembers, but for how long it took."""
    return {name: value for name, value in progress.to_plain().items() if name != "seconds"}
