"""A tiny training run by one or several ranks: `test_ranks.py` runs this file as two processes.

    python trainer_ranks.py DIRECTORY PARALLEL STOP_AFTER FAULT

It stops by hand after so many steps (0 for never). FAULT is what rank 1 does in its third step: none, hangs,
fails. What the trainer raises is written to standard error, as `exit code|kind|words`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from conftest import tiny_trainer
from stepwell.errors import DataError, StepwellError
from stepwell.training import Trainer, World


def trouble(trainer: Trainer, fault: str) -> None:
    """Let something happen when the third step's rows are read."""
    packer = trainer.updater.packer
    read, per_step = packer.batch, trainer.updater.rows_per_step

    def batch(rows: Any, count: int | None = None) -> Any:
        if rows >= 2 * per_step:
            if fault == "hangs":
                time.sleep(600)
            raise DataError("rows: cannot be read", do="mend them")
        return read(rows, count)

    packer.batch = batch  # type: ignore[method-assign]


def main(directory: Path, parallel: str, stop_after: int, fault: str) -> int:
    world = World.from_environment()
    asked: list[int] = []

    def stop_requested() -> bool:
        asked.append(1)
        return world.is_main and len(asked) == stop_after  # one rank's word is enough

    try:
        with world.together():
            training = {"parallel": parallel, "data_workers": 0}
            trainer = tiny_trainer(directory, training, world=world, stop_requested=stop_requested)
            if fault != "none" and world.rank == 1:
                trouble(trainer, fault)
            trainer.run()
    except StepwellError as error:
        words = str(error).replace("\n", "; ")
        sys.stderr.write(f"{error.exit_code}|{type(error).__name__}|{words}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    place, way, stop, trouble_of_rank_1 = sys.argv[1:]
    code = main(Path(place), way, int(stop), trouble_of_rank_1)
    sys.stderr.flush()
    os._exit(code) if code else sys.exit(0)
