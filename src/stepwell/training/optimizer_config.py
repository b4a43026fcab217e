"""What an optimizer can be told, without a tensor.

A kind is a tagged union on `kind`, and its row in `optimizers.OPTIMIZERS` says which function builds it. Rates that the
user leaves out are derived in `recipes`. This file leaves out how rates move (`schedule_config.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.config import Config


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

    kind: Literal["adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Annotated[float, Field(gt=0)] = 1e-9
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    base_width: Annotated[int, Field(ge=1)] | None = None


class MuonConfig(Config):
    """Muon on the hidden matrices (Jordan et al., 2024), AdamW on everything else.

    Muon makes each update of a matrix orthogonal, which needs far fewer steps than AdamW; tables with a row for each
    token, norms and biases have no such shape and stay with AdamW.

    Attributes:
        learning_rate: the highest rate of the hidden matrices.
        adamw_learning_rate: the highest rate of everything else.
        momentum: of the matrices' gradients.
        weight_decay: pulls the hidden matrices towards zero.
        beta1: as AdamW's.
        beta2: as AdamW's.
        eps: as AdamW's.
    """

    kind: Literal["muon"] = "muon"
    learning_rate: Annotated[float, Field(gt=0)]
    adamw_learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Annotated[float, Field(gt=0)] = 1e-9


OptimizerConfig = Annotated[AdamWConfig | MuonConfig, Field(discriminator="kind")]
