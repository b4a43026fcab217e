"""The training engine: updates, the loop around them, ranks, and what is done when things go wrong."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.training.config import TrainingConfig
from stepwell.training.pacing_config import BatchRampConfig, CurriculumConfig

if TYPE_CHECKING:
    from stepwell.training.loop import Evaluate, Trained, Trainer
    from stepwell.training.profiling import Profiler
    from stepwell.training.rate_finder import RateRange, find_rate
    from stepwell.training.state import Progress
    from stepwell.training.update import Update, Updater
    from stepwell.training.world import World

__all__ = [
    "BatchRampConfig",
    "CurriculumConfig",
    "Evaluate",
    "Profiler",
    "Progress",
    "RateRange",
    "Trained",
    "Trainer",
    "TrainingConfig",
    "Update",
    "Updater",
    "World",
    "find_rate",
]

__getattr__ = open_late(
    __name__,
    {
        "Evaluate": "loop",
        "Trained": "loop",
        "Trainer": "loop",
        "Profiler": "profiling",
        "RateRange": "rate_finder",
        "find_rate": "rate_finder",
        "Progress": "state",
        "Update": "update",
        "Updater": "update",
        "World": "world",
    },
)
