"""The feed-forward half of a block, by the name of its activation.

`swiglu` gates one projection by another (Shazeer, 2020, "GLU Variants"); `relu2` squares a ReLU (So et al., 2021,
"Primer") and needs no gate, which makes it the faster one on a CPU. This file leaves out experts.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import relu, silu

Activation = Literal["swiglu", "relu2"]


class MLP(nn.Module):
    """Widen, activate, narrow.

    Args:
        d_model: width D of the stream.
        d_ff: width F inside.
        activation: `swiglu` or `relu2`.
        bias: give the projections a bias.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Activation, *, bias: bool = False) -> None:
        super().__init__()
        self.activation = activation
        self.up = nn.Linear(d_model, 2 * d_ff if activation == "swiglu" else d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.activation == "swiglu":
            gate, value = self.up(x).chunk(2, dim=-1)
            return self.down(silu(gate) * value)
        return self.down(relu(self.up(x)).square())
