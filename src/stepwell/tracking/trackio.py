"""trackio: a small database in the run directory, with a page of its own to look at."""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path

from stepwell.tracking.tracker import TrackedRun, Tracker

PLACES = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""Variables of the environment that send the numbers somewhere else."""


class Trackio(Tracker):
    """A run of trackio for each round, in a project named after the run directory; the database is in OUT/trackio.

    `TRACKIO_DIR` names another folder, `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` another place; else nothing is sent.
    trackio reads its folder once a process, so two runs of one process share the first one's. Steps that are in the
    database already are not recorded again; steps that a rollback does again keep their first values.

    Args:
        run: which training.
    """

    module = "trackio"

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(run.out.resolve() / "trackio"))
        with redirect_stdout(io.StringIO()), _without_network():  # standard output is the result's
            import trackio

            self._run = trackio.init(
                project=run.group,
                name=run.name,
                resume="allow",
                config=dict(run.settings),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.last_step = self._recorded(run)

    @classmethod
    def advice(cls, out: Path) -> str:
        place = os.environ.get("TRACKIO_DIR", str(out.resolve() / "trackio"))
        return f"TRACKIO_DIR={place} trackio show --project {out.resolve().name}"

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        with redirect_stdout(io.StringIO()):
            self._run.finish()

    @staticmethod
    def _recorded(run: TrackedRun) -> int:
        """The last step of this training in the database, by the schema that trackio documents."""
        if any(name in os.environ for name in PLACES):
            return 0
        path = Path(os.environ["TRACKIO_DIR"]) / f"{run.group}.db"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(path)) as database:
            (step,) = database.execute("SELECT MAX(step) FROM metrics WHERE run_name = ?", (run.name,)).fetchone()
        return int(step or 0)


@contextmanager
def _without_network() -> Iterator[None]:
    """Keep trackio from asking the hub who the user is, where the numbers stay here."""
    import huggingface_hub.constants as hub

    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not any(name in os.environ for name in PLACES)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before
