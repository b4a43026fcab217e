"""The feed-forward half of a block.

It widens, activates and narrows again. A gated one multiplies the activated half of a doubled projection by the other
half (Shazeer, 2020, "GLU Variants": SwiGLU is `silu`, GeGLU `gelu`). This file leaves out experts (`experts.py`).
"""

from __future__ import annotations

from torch import Tensor, nn

from stepwell.nn.activations import ACTIVATIONS, ActivationName


class MLP(nn.Module):
    """Widen, activate, narrow.

    Args:
        d_model: width D of the stream.
        d_ff: width F inside.
        activation: a name of `ACTIVATIONS`.
        gated: `up` has 2 F rows, the gate's first; the activated gate multiplies the other half.
        bias: give the projections a bias.
    """

    def __init__(
        self, d_model: int, d_ff: int, activation: ActivationName, *, gated: bool = False, bias: bool = False
    ) -> None:
        super().__init__()
        self.activation, self.gated = ACTIVATIONS[activation], gated
        self.up = nn.Linear(d_model, 2 * d_ff if gated else d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        if self.gated:
            gate, value = self.up(x).chunk(2, dim=-1)
            return self.down(self.activation(gate) * value)
        return self.down(self.activation(self.up(x)))
