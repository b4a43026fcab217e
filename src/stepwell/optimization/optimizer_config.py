"""What an optimizer can be told, without a tensor.

A kind is a tagged union on `kind`, and its row in `optimizers.OPTIMIZERS` says which function builds it. Rates that the
user leaves out are derived in `recipes`. This file leaves out how rates move (`schedule_config.py`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stepwell.config import Config

Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]


class SGDConfig(Config):
    """Stochastic gradient descent with momentum (Sutskever et al., 2013).

    Attributes:
        learning_rate: the highest rate of the schedule.
        momentum: share of the last update that is added to the next; 0 for none.
        nesterov: looks ahead along the momentum; without momentum it changes nothing.
        weight_decay: pulls matrices towards zero as a part of the gradient (L2); norms, biases and tables are left
            alone.
    """

    usual_decays: ClassVar[tuple[float, float]] = (5e-4, 4e-3)
    kind: Literal["sgd"] = "sgd"
    learning_rate: Rate
    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: Decay = 0.0


class AdamConfig(Config):
    """Adam (Kingma and Ba, 2015), with the values of the paper.

    Attributes:
        learning_rate: the highest rate of the schedule.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the latter.
        weight_decay: pulls matrices towards zero as a part of the gradient (L2), so a weight with large gradients is
            pulled less; `adamw` does without that.
    """

    usual_decays: ClassVar[tuple[float, float]] = (1e-4, 1e-3)
    kind: Literal["adam"] = "adam"
    learning_rate: Rate
    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: Rate = 1e-8
    weight_decay: Decay = 0.0


class AdamWConfig(Config):
    """AdamW (Loshchilov and Hutter, 2019).

    Attributes:
        learning_rate: the highest rate of the schedule.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the latter.
        weight_decay: pulls matrices towards zero; norms, biases and embeddings are left alone.
        base_width: a hidden matrix of F inputs has the rate `learning_rate * base_width / F`, so that rates found for
            a narrow model suit a wide one (Yang et al., 2022, "muP"); None gives all the same rate.
    """

    usual_decays: ClassVar[tuple[float, float]] = (0.1, 0.8)
    kind: Literal["adamw"] = "adamw"
    learning_rate: Rate
    beta1: Share = 0.9
    beta2: Share = 0.95
    eps: Rate = 1e-9
    weight_decay: Decay = 0.1
    base_width: Annotated[int, Field(ge=1)] | None = None


class AdafactorConfig(Config):
    """Adafactor (Shazeer and Stern, 2018): of a matrix of F x D it remembers F + D numbers, not 2 x F x D.

    An update is a share of the weights' own size, and the rate is never above the inverse root of the step.

    Attributes:
        learning_rate: the highest rate of the schedule, as a share of the weights' root mean square.
        beta2_decay: how fast the memory of squared gradients lengthens: it forgets `step ** beta2_decay` of them.
        min_scale: the least size that a tensor is taken to have, so that one of zeros can move; with the paper's 1e-3 a
            head that begins at zero stands still for hundreds of steps.
        clip_threshold: an update whose root mean square is above this is scaled down to it.
        weight_decay: pulls matrices towards zero; norms, biases and tables are left alone.
    """

    usual_decays: ClassVar[tuple[float, float]] = (0.1, 0.8)
    kind: Literal["adafactor"] = "adafactor"
    learning_rate: Rate
    beta2_decay: Annotated[float, Field(lt=0)] = -0.8
    min_scale: Rate = 0.1
    clip_threshold: Annotated[float, Field(ge=1)] = 1.0
    weight_decay: Decay = 0.0


class LionConfig(Config):
    """Lion (Chen et al., 2023): every weight moves by the rate, up or down; needs `stepwell[optimizers]`.

    Attributes:
        learning_rate: the highest rate of the schedule; a third to a tenth of AdamW's.
        beta1: share of the momentum in the direction of an update.
        beta2: decay of the momentum; the paper's 0.99 is for tens of thousands of steps, and learns slowly in hundreds.
        weight_decay: pulls matrices towards zero; three to ten times AdamW's, as the rate is so much lower.
    """

    usual_decays: ClassVar[tuple[float, float]] = (1.0, 8.0)
    kind: Literal["lion"] = "lion"
    learning_rate: Rate
    beta1: Share = 0.9
    beta2: Share = 0.95
    weight_decay: Decay = 1.0


class MuonConfig(Config):
    """Muon on the hidden matrices (Jordan et al., 2024), AdamW on everything else.

    Muon makes each update of a matrix orthogonal, which needs far fewer steps than AdamW; tables with a row for each
    token, norms and biases have no such shape and stay with AdamW.

    Attributes:
        learning_rate: the highest rate of the hidden matrices.
        adamw_learning_rate: the highest rate of everything else.
        momentum: of the matrices' gradients.
        newton_schulz_steps: that make an update orthogonal; fewer cost less and make it less so.
        weight_decay: pulls the hidden matrices towards zero.
        beta1: as AdamW's.
        beta2: as AdamW's.
        eps: as AdamW's.
    """

    usual_decays: ClassVar[tuple[float, float]] = (0.1, 0.8)
    kind: Literal["muon"] = "muon"
    learning_rate: Rate
    adamw_learning_rate: Rate
    momentum: Share = 0.95
    newton_schulz_steps: Annotated[int, Field(ge=1, lt=100)] = 5
    weight_decay: Decay = 0.1
    beta1: Share = 0.9
    beta2: Share = 0.95
    eps: Rate = 1e-9


class ScheduleFreeAdamWConfig(Config):
    """Schedule-free AdamW (Defazio et al., 2024): an average of the weights takes the place of a falling rate.

    What is measured and saved as `best` is that average, good at every step, so no length need be known beforehand. It
    goes with the schedule `constant`. Needs `stepwell[optimizers]`.

    Attributes:
        learning_rate: the rate after warm-up; one to ten times AdamW's.
        beta1: how near to the average the gradient is taken; nearer to 1 for long runs. 0 is of no use here.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of that.
        weight_decay: pulls matrices towards zero; norms, biases and tables are left alone.
    """

    usual_decays: ClassVar[tuple[float, float]] = (0.1, 0.8)
    kind: Literal["schedule_free_adamw"] = "schedule_free_adamw"
    learning_rate: Rate
    beta1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    beta2: Share = 0.95
    eps: Rate = 1e-8
    weight_decay: Decay = 0.1


OptimizerConfig = Annotated[
    SGDConfig | AdamConfig | AdamWConfig | AdafactorConfig | LionConfig | MuonConfig | ScheduleFreeAdamWConfig,
    Field(discriminator="kind"),
]
