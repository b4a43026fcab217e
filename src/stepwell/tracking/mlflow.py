"""MLflow: a database in the run directory, or the server that the environment names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepwell.tracking.tracker import TrackedRun, Tracker

TAG = "stepwell.run"
"""By this tag a run is found again."""

FIRST_METRIC = "train/loss"
MOST_PARAMS = 100
"""MLflow takes so many parameters in one request."""


class MLflow(Tracker):
    """A run of MLflow for each round, in an experiment named after the run directory.

    The database is OUT/mlflow/mlflow.db, unless `MLFLOW_TRACKING_URI` names a server or another database. A training
    that goes on is the same run. MLflow cannot take numbers back: steps that are recorded already are not sent again,
    and steps that a rollback does again keep their first values.

    Args:
        run: which training.
    """

    module = "mlflow"

    def __init__(self, run: TrackedRun) -> None:
        uri = tracking_uri(run.out)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would tell its makers that it is used
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        from mlflow.entities import Metric, Param, RunStatus, ViewType
        from mlflow.tracking import MlflowClient

        self._metric, self._status = Metric, RunStatus
        if "MLFLOW_TRACKING_URI" not in os.environ:
            (run.out / "mlflow").mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(run)
        key = f"{run.key}-{run.round:02d}"
        found = self._client.search_runs(
            [experiment], filter_string=f"tags.`{TAG}` = '{key}'", run_view_type=ViewType.ACTIVE_ONLY, max_results=1
        )
        if found:
            self._id = str(found[0].info.run_id)
            self._client.update_run(self._id, status=RunStatus.to_string(RunStatus.RUNNING))
            history = self._client.get_metric_history(self._id, FIRST_METRIC)
            self.last_step = max((int(each.step) for each in history), default=0)
        else:
            self._id = str(self._client.create_run(experiment, run_name=run.name, tags={TAG: key}).info.run_id)
            params = [Param(path, str(value)[:500]) for path, value in run.settings.items()]
            for start in range(0, len(params), MOST_PARAMS):
                self._client.log_batch(self._id, params=params[start : start + MOST_PARAMS])

    @classmethod
    def advice(cls, out: Path) -> str:
        return f"mlflow ui --backend-store-uri {tracking_uri(out)}"

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics: list[Any] = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, finished: bool) -> None:
        status = self._status.FINISHED if finished else self._status.KILLED
        self._client.set_terminated(self._id, status=self._status.to_string(status))

    def _experiment(self, run: TrackedRun) -> str:
        """The id of the experiment of the run directory, made when it is not there."""
        known = self._client.get_experiment_by_name(run.group)
        if known is not None:
            return str(known.experiment_id)
        own = "MLFLOW_TRACKING_URI" not in os.environ
        artifacts = (run.out.resolve() / "mlflow" / "artifacts").as_uri() if own else None
        return str(self._client.create_experiment(run.group, artifact_location=artifacts))


def tracking_uri(out: Path) -> str:
    """Where the runs are kept: what `MLFLOW_TRACKING_URI` says, else a database in the run directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.resolve() / 'mlflow' / 'mlflow.db'}"
