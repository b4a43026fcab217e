"""Which checkpoints of a training run stay on disk, without a tensor."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stepwell.config import Config


class KeepConfig(Config):
    """Checkpoints that stay. The best one and the stable one always do.

    Attributes:
        last: so many of the newest, to go on from.
        every_steps: one at each multiple of so many steps stays for good; None keeps no others.
    """

    last: Annotated[int, Field(ge=1)] = 2
    every_steps: Annotated[int, Field(ge=1)] | None = None
