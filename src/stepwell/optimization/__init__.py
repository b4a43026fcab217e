"""How weights move: optimizers, schedules, means of the weights, noise."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.optimization.optimizer_config import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    OptimizerConfig,
    ScheduleFreeAdamWConfig,
    SGDConfig,
)
from stepwell.optimization.regularization_config import (
    AveragingConfig,
    ExponentialAverageConfig,
    GradientNoiseConfig,
    TailAverageConfig,
)
from stepwell.optimization.schedule_config import (
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
    from stepwell.optimization.averaging import WeightAverage
    from stepwell.optimization.layer_rates import layer_factors, scale_by_layer
    from stepwell.optimization.noise import add_noise
    from stepwell.optimization.optimizers import OPTIMIZERS, averaged, build_optimizers, split_parameters
    from stepwell.optimization.schedules import (
        SCHEDULES,
        Plateau,
        Span,
        begin_decay,
        decays_at_once,
        fit_span,
        note_measurement,
        plan_span,
        rate_factor,
    )
    from stepwell.optimization.shards import gather, shard_like

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "AdafactorConfig",
    "AdamConfig",
    "AdamWConfig",
    "AveragingConfig",
    "ConstantConfig",
    "CosineConfig",
    "ExponentialAverageConfig",
    "GradientNoiseConfig",
    "InverseSquareRootConfig",
    "LinearConfig",
    "LionConfig",
    "MuonConfig",
    "OneCycleConfig",
    "OptimizerConfig",
    "Plateau",
    "PlateauConfig",
    "SGDConfig",
    "ScheduleConfig",
    "ScheduleFreeAdamWConfig",
    "Span",
    "TailAverageConfig",
    "WSDConfig",
    "WeightAverage",
    "add_noise",
    "averaged",
    "begin_decay",
    "build_optimizers",
    "decays_at_once",
    "fit_span",
    "gather",
    "layer_factors",
    "note_measurement",
    "plan_span",
    "rate_factor",
    "scale_by_layer",
    "shard_like",
    "split_parameters",
]

__getattr__ = open_late(
    __name__,
    {
        "OPTIMIZERS": "optimizers",
        "build_optimizers": "optimizers",
        "averaged": "optimizers",
        "split_parameters": "optimizers",
        "SCHEDULES": "schedules",
        "Span": "schedules",
        "Plateau": "schedules",
        "plan_span": "schedules",
        "fit_span": "schedules",
        "begin_decay": "schedules",
        "note_measurement": "schedules",
        "rate_factor": "schedules",
        "decays_at_once": "schedules",
        "WeightAverage": "averaging",
        "layer_factors": "layer_rates",
        "scale_by_layer": "layer_rates",
        "add_noise": "noise",
        "gather": "shards",
        "shard_like": "shards",
    },
)
