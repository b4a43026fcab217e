"""LoRA: fine-tuning by a low-rank change to frozen matrices (Hu et al., 2021).

`W` stays as it is; `scale * B A` is learned beside it, with a rank far below the width, so optimizer and gradients need
a hundredth of the memory. A begins at random and B at zero: the first step sees the model as it was. DoRA learns the
size of each row apart. Merging adds the product to the matrix, and what comes out is a plain model. This file leaves
out how a tree of layers gets it (`adapters.py`), and how it is kept on disk.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from stepwell.nn.quantized_linear import QuantizedLinear

FrozenLinear = nn.Linear | QuantizedLinear


class LoRALinear(nn.Module):
    """A linear layer whose matrix is frozen, with a learned change of low rank.

    The forward pass costs that of the plain layer and two thin products; the backward pass has no product for the
    frozen matrix's gradient. With `dora` the rows of the changed matrix are scaled to a learned size,
    `m (W + s B A) / |W + s B A|`, the norm being no part of the gradient (Liu et al., 2024, section 4.3).

    Args:
        base: the layer to change; its parameters are frozen.
        rank: columns of B and rows of A, from 1.
        alpha: the change is `alpha / rank * B A`, above 0.
        dropout: probability of dropping a channel on its way into A, while training, in [0, 1).
        rank_stabilized: the change is `alpha / sqrt(rank) * B A` (Kalajdzievski, 2023, "rsLoRA").
        dora: learn the size of each row apart from its direction.
        generator: of A, on the CPU; None for torch's own.
    """

    def __init__(
        self,
        base: FrozenLinear,
        rank: int,
        alpha: float,
        *,
        dropout: float = 0.0,
        rank_stabilized: bool = False,
        dora: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = base.in_features, base.out_features
        self.base = base.requires_grad_(False)
        self.scale = alpha / (math.sqrt(rank) if rank_stabilized else rank)
        self.rank, self.dropout = rank, dropout
        device = base.codes.device if isinstance(base, QuantizedLinear) else base.weight.device
        a = torch.empty(rank, self.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)  # as the paper's code and peft draw it
        self.lora_a = nn.Parameter(a.to(device))
        self.lora_b = nn.Parameter(torch.zeros(self.out_features, rank, device=device))
        magnitude = torch.linalg.vector_norm(frozen_matrix(base), dim=1) if dora else None
        self.lora_magnitude = None if magnitude is None else nn.Parameter(magnitude)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once, not for each of the two products that read it
        inside = dropout(x, self.dropout, training=self.training) if self.dropout else x
        thin = linear(inside, self.lora_a) * self.scale
        plain = self.base(x)
        changed = torch.addmm(plain.flatten(0, -2), thin.flatten(0, -2), self.lora_b.mT).view(plain.shape)
        if self.lora_magnitude is None:
            return changed
        size = (self.lora_magnitude / self._row_norms()).to(changed.dtype)
        bias: Tensor | None = self.base.bias
        return changed * size if bias is None else changed * size + bias.to(changed.dtype) * (1 - size)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """The matrix with the change in it, (out, in), in the precision of the frozen one (float32 if in few bits)."""
        changed = self._changed()
        if self.lora_magnitude is not None:
            changed *= (self.lora_magnitude.float() / self._row_norms())[:, None]
        return changed if isinstance(self.base, QuantizedLinear) else changed.to(self.base.weight.dtype)

    def _changed(self) -> Tensor:
        with torch.autocast(self.lora_a.device.type, enabled=False):
            dtype = torch.promote_types(self.lora_a.dtype, torch.float32)
            change = self.scale * (self.lora_b.detach().to(dtype) @ self.lora_a.detach().to(dtype))
        return frozen_matrix(self.base).to(dtype) + change

    def _row_norms(self) -> Tensor:
        """(out,), the sizes of the rows before they are scaled; above 0."""
        return torch.linalg.vector_norm(self._changed(), dim=1).clamp_min(torch.finfo(torch.float32).tiny)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, scale={self.scale:g}, dora={self.lora_magnitude is not None}"


def frozen_matrix(base: FrozenLinear) -> Tensor:
    """(out, in), the matrix of a frozen layer."""
    return base.matrix() if isinstance(base, QuantizedLinear) else base.weight.detach()
