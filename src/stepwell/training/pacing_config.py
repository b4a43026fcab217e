"""How the first steps of a run differ from the later ones, without a tensor: smaller batches, shorter contexts.

The rates have a warm-up of their own (`optimization`) and are not touched. This file leaves out what the values
mean at a step (`pacing.py`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stepwell.config import Config


class BatchRampConfig(Config):
    """The global batch grows row by row over the first steps (Smith et al., 2018; Brown et al., 2020, "GPT-3").

    A run of as many steps sees less text then.

    Attributes:
        start_ratio: share of the global batch that the first step has.
        ramp_steps: steps until the batch is whole.
    """

    start_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    ramp_steps: Annotated[int, Field(ge=1)]


class CurriculumConfig(Config):
    """Contexts are short at first, and grow (Li et al., 2022, "sequence length warm-up").

    Documents are cut every so many tokens, so each step has as many tokens as ever.

    Attributes:
        start_tokens: the longest context of the first step.
        ramp_steps: steps until contexts are as long as a row.
    """

    start_tokens: Annotated[int, Field(ge=1)] = 64
    ramp_steps: Annotated[int, Field(ge=1)]
