"""What is learned beside a frozen model, without a tensor.

A kind is a tagged union on `kind`: a low-rank change of matrices (LoRA, rsLoRA, DoRA), small layers put after others
(bottleneck adapters), keys and values that all tokens may look at (prefix tuning), or vectors before a text (prompt
tuning). How the frozen matrices are held while that is learned is a field of each. This file leaves out the layers
(`nn`), and how a model gets them (`adapting.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.config import Config

BaseWeights = Literal["float32", "bfloat16", "int8", "int4"]
"""How the frozen matrices of the linear layers are held."""

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class LoRAConfig(Config):
    """A low-rank change to frozen matrices (Hu et al., 2021); QLoRA where those are held in four or eight bits.

    Attributes:
        rank: of the change of each matrix.
        alpha: the change is `alpha / rank * B A`; with it fixed, the best rate hardly depends on the rank.
        dropout: probability of dropping a channel on its way into A, while training.
        targets: last parts of the names of the linear layers that get one; all of a Transformer's blocks learn more
            than attention alone.
        rank_stabilized: the change is `alpha / sqrt(rank) * B A`, for large ranks (Kalajdzievski, 2023).
        dora: the size of each row of a matrix is learned apart from its direction (Liu et al., 2024, "DoRA").
        base_weights: how the frozen matrices are held: `bfloat16` in half of the memory, `int8` (a scale for each row)
            in a quarter, `int4` (a grid for each 32 weights) in a sixth (Dettmers et al., 2023, "QLoRA").
    """

    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Names = ("qkv", "out", "up", "down")
    rank_stabilized: bool = False
    dora: bool = False
    base_weights: BaseWeights = "float32"


class BottleneckConfig(Config):
    """A small MLP after frozen layers, whose answer is added to theirs (Houlsby et al., 2019, "adapters").

    It cannot be merged: a checkpoint has it beside the frozen weights, and a model keeps computing it.

    Attributes:
        width: hidden units of each.
        targets: last parts of the names of the linear layers that one stands after; the default are the last ones of
            attention and MLP, as in the paper.
        base_weights: as LoRA's.
    """

    kind: Literal["bottleneck"] = "bottleneck"
    width: Annotated[int, Field(ge=1)] = 32
    targets: Names = ("out", "down")
    base_weights: BaseWeights = "float32"


class PrefixTuningConfig(Config):
    """Learned keys and values in every self-attention (Li and Liang, 2021), behind a gate (Zhang et al., 2023).

    It cannot be merged, like a bottleneck.

    Attributes:
        num_tokens: keys of each attention.
        base_weights: as LoRA's.
    """

    kind: Literal["prefix"] = "prefix"
    num_tokens: Annotated[int, Field(ge=1)] = 16
    base_weights: BaseWeights = "float32"


class PromptTuningConfig(Config):
    """Learned vectors before every text, in the place of tokens (Lester et al., 2021).

    They begin as those of tokens drawn from the vocabulary. It cannot be merged, like a bottleneck.

    Attributes:
        num_tokens: vectors.
        base_weights: as LoRA's.
    """

    kind: Literal["prompt"] = "prompt"
    num_tokens: Annotated[int, Field(ge=1)] = 20
    base_weights: BaseWeights = "float32"


AdapterConfig = Annotated[
    LoRAConfig | BottleneckConfig | PrefixTuningConfig | PromptTuningConfig, Field(discriminator="kind")
]
