"""How a learning rate can move, without a tensor.

A kind is a tagged union on `kind`; `schedules.py` says what it does. This file leaves out the rates themselves, which
are the optimizer's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.config import Config


class WSDConfig(Config):
    """Warm-up, stable, decay (Hu et al., 2024, "MiniCPM").

    The stable part has no end of its own, so a run can be lengthened from the checkpoint where its decay began.

    Attributes:
        warmup_steps: steps of linear growth to the full rate.
        decay_ratio: share of all steps that go down, in [0, 1].
        final_ratio: share of the rate that is left at the end.
    """

    kind: Literal["wsd"] = "wsd"
    warmup_steps: Annotated[int, Field(ge=0)]
    decay_ratio: Annotated[float, Field(ge=0, le=1)] = 0.4
    final_ratio: Annotated[float, Field(ge=0, le=1)] = 0.02
