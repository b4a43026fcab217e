"""How a learning rate can move, without a tensor.

A kind is a tagged union on `kind`; `schedules.py` says what it does. This file leaves out the rates themselves, which
are the optimizer's.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stepwell.config import Config

Steps = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class Warmup(Config):
    """What every schedule has: a warm-up.

    Attributes:
        warmup_steps: steps of linear growth to the full rate.
    """

    most_warmup_ratio: ClassVar[float] = 0.1
    warmup_steps: Steps


class ConstantConfig(Warmup):
    """The full rate to the end. For schedule-free optimizers; a longer run can go on from the end of a shorter one."""

    kind: Literal["constant"] = "constant"


class LinearConfig(Warmup):
    """Down in a straight line from the end of the warm-up to the end of the run.

    Attributes:
        final_ratio: share of the rate that the line ends at; 0 does best (Bergsma et al., 2025, "Straight to Zero").
    """

    kind: Literal["linear"] = "linear"
    final_ratio: Ratio = 0.0


class CosineConfig(Warmup):
    """Down along half a cosine (Loshchilov and Hutter, 2017), without restarts.

    Attributes:
        final_ratio: share of the rate that the curve ends at; a tenth is the custom for language models.
    """

    kind: Literal["cosine"] = "cosine"
    final_ratio: Ratio = 0.1


class InverseSquareRootConfig(Warmup):
    """After warm-up, down as one over the root of the step (Vaswani et al., 2017, "Noam"); it knows no end."""

    kind: Literal["inverse_square_root"] = "inverse_square_root"


class WSDConfig(Warmup):
    """Warm-up, stable, decay (Hu et al., 2024, "MiniCPM").

    The stable part has no end of its own, so a run can be lengthened from the checkpoint where its decay began.

    Attributes:
        decay_ratio: share of all steps that go down, in [0, 1].
        final_ratio: share of the rate that is left at the end.
    """

    kind: Literal["wsd"] = "wsd"
    decay_ratio: Ratio = 0.4
    final_ratio: Ratio = 0.02


class OneCycleConfig(Warmup):
    """One cycle (Smith and Topin, 2018): along half a cosine up, which is the warm-up, and along another one down.

    The momentum stays as it is.

    Attributes:
        warmup_steps: steps of growth to the full rate; three tenths of the run when they are derived.
        initial_ratio: share of the rate at the first step.
        final_ratio: share of the rate at the last step.
    """

    most_warmup_ratio: ClassVar[float] = 0.3
    kind: Literal["one_cycle"] = "one_cycle"
    initial_ratio: Ratio = 0.04
    final_ratio: Ratio = 4e-6


class PlateauConfig(Warmup):
    """The full rate, lowered each time the held-out loss has stopped falling.

    Attributes:
        factor: what the rate is multiplied by.
        patience: measurements without a better one that are borne; the next one lowers the rate.
        threshold: share of the loss by which a measurement must be lower to count as better.
        final_ratio: share of the rate that it does not go below.
    """

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Annotated[int, Field(ge=0)] = 1
    threshold: Ratio = 1e-4
    final_ratio: Ratio = 0.01


ScheduleConfig = Annotated[
    ConstantConfig | LinearConfig | CosineConfig | InverseSquareRootConfig | WSDConfig | OneCycleConfig | PlateauConfig,
    Field(discriminator="kind"),
]
