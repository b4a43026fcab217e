"""What LoRA can be told, without a tensor.

The layers themselves are in `nn/lora.py`. This file leaves out rates, which are the optimizer's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stepwell.config import Config


class LoRAConfig(Config):
    """Fine-tuning by a low-rank change to frozen matrices (Hu et al., 2021).

    Attributes:
        rank: of the change of each matrix.
        alpha: the change is `alpha / rank * B A`; with it fixed, the best rate hardly depends on the rank.
        dropout: probability of dropping a channel on its way into A, while training.
        targets: last parts of the names of the linear layers that get one; all of a Transformer's blocks learn more
            than attention alone.
        rank_stabilized: the change is `alpha / sqrt(rank) * B A`, for large ranks (Kalajdzievski, 2023).
    """

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("qkv", "out", "up", "down")
    rank_stabilized: bool = False
