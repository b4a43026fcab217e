"""The checkpoints of one training run: what is written, what stays, and how a run takes up where one of them stands.

Names say what a checkpoint is for: `best` (to use), `stable` (where the decay began), `measured` (to roll back to) and
`step-000400` (to go on from). They are written in the background while training goes on. This file leaves out when
each is written: the loop decides that.
"""

from __future__ import annotations

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
    take_snapshot,
    write_snapshot,
)
from stepwell.errors import RunError
from stepwell.models import LanguageModel
from stepwell.nn import lora_tensors
from stepwell.runs import sweep
from stepwell.tokenizers import Tokenizer
from stepwell.training.averaging import WeightAverage
from stepwell.training.keeping_config import KeepConfig
from stepwell.training.state import Progress, optimizer_tensors, restore_optimizers

FROZEN = ("lora", "frozen_weights_sha256")
"""Of a run's identity: what a checkpoint with LoRA can be gone on from with."""


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
    ) -> None:
        self.directory, self.model, self.tokenizer = directory, model, tokenizer
        self.optimizers, self.identity, self.keep = optimizers, identity, keep
        self.average = WeightAverage(model, None) if average is None else average
        self._writer = Writer()
        self._numbered: dict[str, Any] | None = None  # what the newest numbered checkpoint says of the run
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory)

    def save(self, progress: Progress, name: str | None = None) -> None:
        """Write a checkpoint; a numbered one (to go on from) when no name is given, unless it is there already.

        Raises:
            DiskError: when one before could not be written; the one before that is whole.
        """
        state = _timeless(progress)
        if name is None and state == self._numbered:
            return
        goes_on = name != "best"
        snapshot = take_snapshot(
            self.model,
            self.tokenizer,
            provenance={**self.identity, "step": progress.step, "tokens": progress.tokens},
            optimizer=self._to_go_on_from() if goes_on else None,
            trainer=progress.to_plain() | {"identity": self.identity} if goes_on else None,
        )
        folder = self.directory / (name or f"step-{progress.step:06d}")

        def write() -> None:
            write_snapshot(folder, snapshot)
            if name is None:
                prune(self.directory, self.keep.last, newest=progress_step, every_steps=self.keep.every_steps)

        progress_step = progress.step
        self._writer.start(write)
        if name is None:
            self._numbered = state

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
        return folder if folder.exists() else None

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest whole numbered checkpoint, and a line about each newer one that is damaged."""
        self.wait()
        return newest_good(self.directory)

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
        loaded = load_checkpoint(folder)
        if loaded.trainer is None:
            raise RunError(f"{folder}: cannot be trained further", got="a checkpoint without trainer state")
        before = loaded.trainer["identity"]
        if [before.get(name) for name in FROZEN] != [self.identity.get(name) for name in FROZEN]:
            raise RunError(
                f"{folder}: cannot be trained further here",
                got="LoRA over other frozen weights, of another shape, or none",
                wanted="the training.lora and the init_from that it was trained with",
            )
        if own and before != self.identity:
            raise RunError(
                f"{folder.parent.parent}: holds another training run", do="choose another --out, or remove that folder"
            )
        self._take_weights(loaded.model, folder, all_of_them=own)
        device = next(self.model.parameters()).device
        tensors = {name: tensor.to(device) for name, tensor in read_optimizer(folder).items()}
        restore_optimizers(self.model, self.optimizers, self.average.take_up(tensors, begins=not own))
        progress = Progress.from_plain(loaded.trainer)
        self._numbered = _timeless(progress) if own and folder.name.startswith("step-") else None
        return progress

    def _to_go_on_from(self) -> dict[str, torch.Tensor]:
        return optimizer_tensors(self.model, self.optimizers) | self.average.tensors()

    def _take_weights(self, source: LanguageModel, folder: Path, all_of_them: bool) -> None:
        """Copy weights by name; layers that the source does not have stay as they were built, when that is allowed."""
        adapter = lora_tensors(self.model)
        own, found = dict(self.model.named_parameters()), dict(source.named_parameters())
        misfit = [name for name in found if name not in own or own[name].shape != found[name].shape]
        missing = [name for name in own if name not in found and name not in adapter] if all_of_them else []
        if misfit or missing:
            raise RunError(
                f"{folder}: is of another shape than the model to train",
                got=f"{misfit[0]} that does not fit" if misfit else f"no {missing[0]}",
                wanted="the same model, or one with fewer layers",
            )
        if adapter:  # the source has it merged; the frozen weights are in place, and A and B come with the optimizers
            return
        with torch.no_grad():
            for name, parameter in found.items():
                own[name].copy_(parameter)


def _timeless(progress: Progress) -> dict[str, Any]:
    """What a run remembers, but for how long it took."""
    return {name: value for name, value in progress.to_plain().items() if name != "seconds"}
