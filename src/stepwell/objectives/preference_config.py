"""What can be minimised over better and worse answers, without a tensor.

Each loss is a tagged union on `kind`; those with a reference want to know how likely an answer was before training.
This file leaves out the losses themselves (`preference.py`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stepwell.config import Config


class DPOConfig(Config):
    """The reward that a model implies is told apart by a logistic loss (Rafailov et al., 2023, "DPO").

    Attributes:
        beta: what a nat of the log-ratio to the reference is worth; the smaller, the farther a model may move.
        label_smoothing: share of the pairs that are thought to be the wrong way round (Mitchell, 2023, "cDPO").
        form: `sigmoid`, or `ipo`, which draws the mean log-ratio of a token towards `1 / (2 beta)` and no further
            (Azar et al., 2023).
    """

    kind: Literal["dpo"] = "dpo"
    beta: Annotated[float, Field(gt=0)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    form: Literal["sigmoid", "ipo"] = "sigmoid"


class ORPOConfig(Config):
    """The better answer is learned, with its odds beside those of the worse one; no reference (Hong et al., 2024).

    Attributes:
        odds_weight: of the odds ratio beside the mean loss of a token of the better answer.
    """

    kind: Literal["orpo"] = "orpo"
    odds_weight: Annotated[float, Field(gt=0)] = 0.1


class KTOConfig(Config):
    """Answers are good or bad each for itself, as people weigh gains and losses (Ethayarajh et al., 2024, "KTO").

    What a gain is counted from is estimated from other prompts' answers in the same micro-batch; in one of a single
    prompt it is 0.

    Attributes:
        beta: as DPO's.
        desirable_weight: of a good answer.
        undesirable_weight: of a bad one.
    """

    kind: Literal["kto"] = "kto"
    beta: Annotated[float, Field(gt=0)] = 0.1
    desirable_weight: Annotated[float, Field(ge=0)] = 1.0
    undesirable_weight: Annotated[float, Field(ge=0)] = 1.0


class SimPOConfig(Config):
    """Mean log-probabilities of a token are told apart by a margin, without a reference (Meng et al., 2024, "SimPO").

    Attributes:
        beta: what a nat of the mean log-probability is worth.
        margin: by which the better answer is to win (the paper's gamma).
    """

    kind: Literal["simpo"] = "simpo"
    beta: Annotated[float, Field(gt=0)] = 2.0
    margin: Annotated[float, Field(ge=0)] = 1.0


PreferenceLossConfig = Annotated[DPOConfig | ORPOConfig | KTOConfig | SimPOConfig, Field(discriminator="kind")]

REFERENCED = ("dpo", "kto")
"""Kinds of losses that compare with a reference."""


class PreferenceObjectiveConfig(Config):
    """A better answer becomes likelier than a worse one.

    Attributes:
        loss: how two answers are compared.
        reference: the model as it was, a run or checkpoint with the same tokenizer; None for the frozen weights beside
            an adapter, or where the loss needs none.
    """

    kind: Literal["preference"] = "preference"
    loss: PreferenceLossConfig = DPOConfig()
    reference: str | None = None


class GRPOConfig(Config):
    """Answers that the model draws itself become likelier where a reward says so (Shao et al., 2024, "GRPO").

    Of each prompt a group of answers is drawn from the weights of the step; an answer counts by how much better its
    reward is than the group's mean, in standard deviations.

    Attributes:
        reward: function of (prompt, completion, row) that gives a number, as `package.module:function` or
            `path.py:function`; it runs in the training process.
        group_size: answers to each prompt.
        max_answer_tokens: longest answer that is drawn.
        clip: the ratio of an answer's token now to when it was drawn counts within `1 - clip` and `1 + clip`. Both are
            of one step, so they differ only by how drawing and reading round.
        divergence_weight: of the divergence from the reference, a token (the paper's beta, its estimate k3); 0 for no
            reference.
        scaled: advantages are divided by the group's standard deviation; off, only its mean is taken off (Liu et al.,
            2025, "Dr. GRPO").
        reference: as in `preference`.
    """

    fixed_shapes: ClassVar[bool] = False  # answers are as long as they are drawn

    kind: Literal["grpo"] = "grpo"
    reward: Annotated[str, Field(pattern=r".:\w+$")]
    group_size: Annotated[int, Field(ge=2)] = 8
    max_answer_tokens: Annotated[int, Field(ge=1)] = 128
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    divergence_weight: Annotated[float, Field(ge=0)] = 0.04
    scaled: bool = True
    reference: str | None = None
