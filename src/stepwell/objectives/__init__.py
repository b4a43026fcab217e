"""What a model learns from: examples made of packed rows, and the loss of what it predicts."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.objectives.config import (
    CausalConfig,
    CrossEntropyConfig,
    DenoisingConfig,
    DistillationConfig,
    HiddenStatesConfig,
    LabelsConfig,
    LossConfig,
    MaskedConfig,
    MeanSquaredErrorConfig,
    ObjectiveConfig,
    PairsConfig,
    PrefixConfig,
    SequenceToSequenceConfig,
    SpanCorruptionConfig,
)

if TYPE_CHECKING:
    from stepwell.objectives.catalog import OBJECTIVES, build_objective, causal_loss
    from stepwell.objectives.labels import LabelledExamples, LabelsObjective, label_losses
    from stepwell.objectives.losses import summed_loss, token_losses
    from stepwell.objectives.objective import Examples, Objective
    from stepwell.objectives.pairs import Pair, Pairs, PairsObjective, pack_pairs, pairs_loss, split_pair

__all__ = [
    "OBJECTIVES",
    "CausalConfig",
    "CrossEntropyConfig",
    "DenoisingConfig",
    "DistillationConfig",
    "Examples",
    "HiddenStatesConfig",
    "LabelledExamples",
    "LabelsConfig",
    "LabelsObjective",
    "LossConfig",
    "MaskedConfig",
    "MeanSquaredErrorConfig",
    "Objective",
    "ObjectiveConfig",
    "Pair",
    "Pairs",
    "PairsConfig",
    "PairsObjective",
    "PrefixConfig",
    "SequenceToSequenceConfig",
    "SpanCorruptionConfig",
    "build_objective",
    "causal_loss",
    "label_losses",
    "pack_pairs",
    "pairs_loss",
    "split_pair",
    "summed_loss",
    "token_losses",
]

__getattr__ = open_late(
    __name__,
    {
        "OBJECTIVES": "catalog",
        "build_objective": "catalog",
        "causal_loss": "catalog",
        "Objective": "objective",
        "Examples": "objective",
        "LabelledExamples": "labels",
        "LabelsObjective": "labels",
        "label_losses": "labels",
        "Pair": "pairs",
        "Pairs": "pairs",
        "PairsObjective": "pairs",
        "pack_pairs": "pairs",
        "pairs_loss": "pairs",
        "split_pair": "pairs",
        "summed_loss": "losses",
        "token_losses": "losses",
    },
)
