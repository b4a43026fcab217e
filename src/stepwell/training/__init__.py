"""The loop, objectives, optimizers and schedules."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.training.config import TrainingConfig
from stepwell.training.lora_config import LoRAConfig
from stepwell.training.objective_config import (
    CausalConfig,
    CrossEntropyConfig,
    DenoisingConfig,
    LossConfig,
    MaskedConfig,
    MeanSquaredErrorConfig,
    ObjectiveConfig,
    PrefixConfig,
    SequenceToSequenceConfig,
    SpanCorruptionConfig,
)
from stepwell.training.optimizer_config import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    OptimizerConfig,
    ScheduleFreeAdamWConfig,
    SGDConfig,
)
from stepwell.training.pacing_config import BatchRampConfig, CurriculumConfig
from stepwell.training.regularization_config import (
    AveragingConfig,
    ExponentialAverageConfig,
    GradientNoiseConfig,
    TailAverageConfig,
)
from stepwell.training.schedule_config import (
    ConstantConfig,
    CosineConfig,
    InverseSquareRootConfig,
    LinearConfig,
    OneCycleConfig,
    PlateauConfig,
    ScheduleConfig,
    WSDConfig,
)

if TYPE_CHECKING:
    from stepwell.training.loop import Evaluate, Trained, Trainer
    from stepwell.training.losses import summed_loss, token_losses
    from stepwell.training.objective import Objective
    from stepwell.training.objectives import OBJECTIVES, build_objective, causal_loss
    from stepwell.training.optimizers import OPTIMIZERS, build_optimizers
    from stepwell.training.profiling import Profiler
    from stepwell.training.rate_finder import RateRange, find_rate
    from stepwell.training.schedules import SCHEDULES
    from stepwell.training.state import Progress
    from stepwell.training.update import Update, Updater
    from stepwell.training.world import World

__all__ = [
    "OBJECTIVES",
    "OPTIMIZERS",
    "SCHEDULES",
    "AdafactorConfig",
    "AdamConfig",
    "AdamWConfig",
    "AveragingConfig",
    "BatchRampConfig",
    "CausalConfig",
    "ConstantConfig",
    "CosineConfig",
    "CrossEntropyConfig",
    "CurriculumConfig",
    "DenoisingConfig",
    "Evaluate",
    "ExponentialAverageConfig",
    "GradientNoiseConfig",
    "InverseSquareRootConfig",
    "LinearConfig",
    "LionConfig",
    "LoRAConfig",
    "LossConfig",
    "MaskedConfig",
    "MeanSquaredErrorConfig",
    "MuonConfig",
    "Objective",
    "ObjectiveConfig",
    "OneCycleConfig",
    "OptimizerConfig",
    "PlateauConfig",
    "PrefixConfig",
    "Profiler",
    "Progress",
    "RateRange",
    "SGDConfig",
    "ScheduleConfig",
    "ScheduleFreeAdamWConfig",
    "SequenceToSequenceConfig",
    "SpanCorruptionConfig",
    "TailAverageConfig",
    "Trained",
    "Trainer",
    "TrainingConfig",
    "Update",
    "Updater",
    "WSDConfig",
    "World",
    "build_objective",
    "build_optimizers",
    "causal_loss",
    "find_rate",
    "summed_loss",
    "token_losses",
]

__getattr__ = open_late(
    __name__,
    {
        "Evaluate": "loop",
        "Trained": "loop",
        "Trainer": "loop",
        "OBJECTIVES": "objectives",
        "Objective": "objective",
        "build_objective": "objectives",
        "causal_loss": "objectives",
        "summed_loss": "losses",
        "token_losses": "losses",
        "OPTIMIZERS": "optimizers",
        "build_optimizers": "optimizers",
        "Profiler": "profiling",
        "RateRange": "rate_finder",
        "find_rate": "rate_finder",
        "SCHEDULES": "schedules",
        "Progress": "state",
        "Update": "update",
        "Updater": "update",
        "World": "world",
    },
)
