"""What keeps a run from learning its text by heart, beside dropout and weight decay, without a tensor.

Noise on the gradient, and means of the weights. None of them is on unless the recipe says so. This file leaves out what
they do (`noise.py`, `averaging.py`), and how the first steps differ from the later ones (`pacing_config.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.config import Config


class GradientNoiseConfig(Config):
    """Noise is added to the clipped gradient, less and less of it (Neelakantan et al., 2015).

    Its variance at step t, from 0, is variance / (1 + t)^decay.

    Attributes:
        variance: of each component at the first step (the paper's eta: 0.01 to 1, for small networks and sums of
            losses). A gradient of norm 1 over N weights has components of variance 1 / N: begin well below that.
        decay: how fast it falls (the paper's gamma).
    """

    variance: Annotated[float, Field(gt=0)]
    decay: Annotated[float, Field(ge=0)] = 0.55


class ExponentialAverageConfig(Config):
    """The mean of the weights of all steps, the later ones weighing more (Polyak and Juditsky, 1992; EMA).

    Attributes:
        decay: share of the mean that a step leaves; in the first steps less of it, so that the fresh weights are soon
            forgotten: at most (1 + n) / (10 + n) after n steps.
    """

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99


class TailAverageConfig(Config):
    """The plain mean of the weights of the last steps (Izmailov et al., 2018, "SWA"; Kaddour, 2022, "LAWA").

    Attributes:
        last_ratio: share of the steps that it is taken over.
    """

    kind: Literal["tail"] = "tail"
    last_ratio: Annotated[float, Field(gt=0, le=1)] = 0.2


AveragingConfig = Annotated[ExponentialAverageConfig | TailAverageConfig, Field(discriminator="kind")]
