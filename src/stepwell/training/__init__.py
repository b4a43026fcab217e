"""The loop, objectives, optimizers and schedules."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.training.config import AdamWConfig, Precision, TrainingConfig, WSDConfig

if TYPE_CHECKING:
    from stepwell.training.loop import Evaluate, Trained, Trainer
    from stepwell.training.objectives import causal_loss
    from stepwell.training.optimizers import OPTIMIZERS, build_optimizer
    from stepwell.training.state import Progress

__all__ = [
    "OPTIMIZERS",
    "AdamWConfig",
    "Evaluate",
    "Precision",
    "Progress",
    "Trained",
    "Trainer",
    "TrainingConfig",
    "WSDConfig",
    "build_optimizer",
    "causal_loss",
]

__getattr__ = open_late(
    __name__,
    {
        "Evaluate": "loop",
        "Trained": "loop",
        "Trainer": "loop",
        "causal_loss": "objectives",
        "OPTIMIZERS": "optimizers",
        "build_optimizer": "optimizers",
        "Progress": "state",
    },
)
