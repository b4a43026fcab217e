"""Which trackers there are: a literal table, kind -> class.

The table loads no library. Whether one is installed is asked before anything is trained, because a person wants to
hear of it at once and not at the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Literal

from stepwell.errors import UsageError
from stepwell.tracking.mlflow import MLflow
from stepwell.tracking.tensorboard import TensorBoard
from stepwell.tracking.tracker import Tracker
from stepwell.tracking.trackio import Trackio
from stepwell.tracking.wandb import WeightsAndBiases

TrackerKind = Literal["tensorboard", "trackio", "wandb", "mlflow"]

TRACKERS: Mapping[TrackerKind, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def require_trackers(kinds: Iterable[TrackerKind]) -> None:
    """See that the library of each tracker is installed; none is loaded.

    Raises:
        UsageError: with the extra that brings it, when one is missing.
    """
    for kind in kinds:
        found = find_spec(TRACKERS[kind].module)
        if found is None or found.origin is None:  # a folder of that name, such as ./wandb, is no library
            raise UsageError(
                f"track: {kind} is not installed",
                wanted=f"the package {TRACKERS[kind].module}",
                do=f"pip install 'stepwell[{kind}]', or leave it out",
            )
