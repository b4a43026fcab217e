"""TensorBoard: event files in the run directory, a folder for each round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stepwell.tracking.tracker import TrackedRun, Tracker


class TensorBoard(Tracker):
    """Event files in OUT/tensorboard/round-01 and so on.

    What a stopped process wrote after the step that the run goes on from is hidden by a mark in the file (TensorBoard
    purges on reading), and so are the steps that a rollback does again.

    Args:
        run: which training.
    """

    module = "tensorboard"

    def __init__(self, run: TrackedRun) -> None:
        self._folder = run.out / "tensorboard" / run.name
        self._open(run.first_step)
        rows = "\n".join(f"| {path} | {value} |" for path, value in run.settings.items())
        self._writer.add_text("recipe", f"| setting | value |\n|---|---|\n{rows}", run.first_step)

    @classmethod
    def advice(cls, out: Path) -> str:
        return f"tensorboard --logdir {out / 'tensorboard'}"

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def forget(self, step: int) -> bool:
        self._writer.close()
        self._open(step)
        return True

    def close(self, finished: bool) -> None:
        self._writer.close()

    def _open(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(self._folder), purge_step=step)
