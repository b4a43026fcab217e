"""Other programs that show how a training goes: TensorBoard, trackio, Weights & Biases, MLflow."""

from stepwell.tracking.catalog import TRACKERS, TrackerKind, require_trackers
from stepwell.tracking.forwarding import tracked
from stepwell.tracking.tracker import TrackedRun, Tracker

__all__ = ["TRACKERS", "TrackedRun", "Tracker", "TrackerKind", "require_trackers", "tracked"]
