"""What a model learns from: examples made of packed rows, and the loss of what it predicts."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.objectives.config import (
    CausalConfig,
    ContrastiveConfig,
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
    SpanConfig,
    SpanCorruptionConfig,
)
from stepwell.objectives.preference_config import (
    DPOConfig,
    GRPOConfig,
    KTOConfig,
    ORPOConfig,
    PreferenceObjectiveConfig,
    SimPOConfig,
)

if TYPE_CHECKING:
    from stepwell.objectives.catalog import OBJECTIVES, build_objective, causal_loss
    from stepwell.objectives.contrastive import ContrastiveObjective, Related
    from stepwell.objectives.grpo import GRPOObjective
    from stepwell.objectives.labels import LabelledExamples, LabelsObjective, label_losses
    from stepwell.objectives.logprobs import Answered, answer_logprobs, token_logprobs
    from stepwell.objectives.losses import summed_loss, token_losses
    from stepwell.objectives.objective import Examples, Objective
    from stepwell.objectives.pairs import Pair, Pairs, PairsObjective, pack_pairs, pairs_loss, split_pair
    from stepwell.objectives.preference import PreferenceObjective, answer_losses, pair_losses
    from stepwell.objectives.rewards import Reward, Written, open_reward, rewards_of
    from stepwell.objectives.spans import SpanExamples, SpanObjective, span_losses

__all__ = [
    "OBJECTIVES",
    "Answered",
    "CausalConfig",
    "ContrastiveConfig",
    "ContrastiveObjective",
    "CrossEntropyConfig",
    "DPOConfig",
    "DenoisingConfig",
    "DistillationConfig",
    "Examples",
    "GRPOConfig",
    "GRPOObjective",
    "HiddenStatesConfig",
    "KTOConfig",
    "LabelledExamples",
    "LabelsConfig",
    "LabelsObjective",
    "LossConfig",
    "MaskedConfig",
    "MeanSquaredErrorConfig",
    "ORPOConfig",
    "Objective",
    "ObjectiveConfig",
    "Pair",
    "Pairs",
    "PairsConfig",
    "PairsObjective",
    "PreferenceObjective",
    "PreferenceObjectiveConfig",
    "PrefixConfig",
    "Related",
    "Reward",
    "SequenceToSequenceConfig",
    "SimPOConfig",
    "SpanConfig",
    "SpanCorruptionConfig",
    "SpanExamples",
    "SpanObjective",
    "Written",
    "answer_logprobs",
    "answer_losses",
    "build_objective",
    "causal_loss",
    "label_losses",
    "open_reward",
    "pack_pairs",
    "pair_losses",
    "pairs_loss",
    "rewards_of",
    "span_losses",
    "split_pair",
    "summed_loss",
    "token_logprobs",
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
        "ContrastiveObjective": "contrastive",
        "Related": "contrastive",
        "LabelledExamples": "labels",
        "LabelsObjective": "labels",
        "SpanExamples": "spans",
        "SpanObjective": "spans",
        "span_losses": "spans",
        "label_losses": "labels",
        "Pair": "pairs",
        "Pairs": "pairs",
        "PairsObjective": "pairs",
        "pack_pairs": "pairs",
        "pairs_loss": "pairs",
        "split_pair": "pairs",
        "GRPOObjective": "grpo",
        "Reward": "rewards",
        "Written": "rewards",
        "open_reward": "rewards",
        "rewards_of": "rewards",
        "PreferenceObjective": "preference",
        "answer_losses": "preference",
        "pair_losses": "preference",
        "Answered": "logprobs",
        "answer_logprobs": "logprobs",
        "token_logprobs": "logprobs",
        "summed_loss": "losses",
        "token_losses": "losses",
    },
)
