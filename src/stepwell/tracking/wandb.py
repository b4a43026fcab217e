"""Weights & Biases: offline in the run directory, unless the environment says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stepwell.tracking.tracker import TrackedRun, Tracker


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases for each round, grouped by run directory; files go to OUT/wandb.

    Nothing is sent until `wandb sync`, or at once with `WANDB_MODE=online`; `WANDB_PROJECT` and `WANDB_ENTITY` say
    where to. A run that goes on keeps its id. Online, steps that are there already are not sent again. Offline nobody
    knows them: each process leaves a folder, `wandb sync` joins those of one run in their order, and steps done twice
    (those between the last checkpoint and a crash) stand in both.

    Args:
        run: which training.
    """

    module = "wandb"

    def __init__(self, run: TrackedRun) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would report its own faults over the network
        import wandb

        run.out.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "stepwell"),
            group=run.group,
            name=f"{run.group} {run.name}",
            id=f"{run.key}-{run.round:02d}",
            resume="allow",
            dir=str(run.out),
            config=dict(run.settings),
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.last_step = max(0, int(self._run.starting_step) - 1) if self._run.resumed else 0

    @classmethod
    def advice(cls, out: Path) -> str:
        if os.environ.get("WANDB_MODE", "offline") == "offline":
            return f"wandb sync {out / 'wandb'}/offline-run-* (nothing is sent before that)"
        return "the pages of your project"

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
