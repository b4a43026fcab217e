"""Initial weights by name.

A scheme fills the matrices of a module tree; norms stay at one and biases at zero. Projections that write into the
residual stream (their modules are named by the model) are scaled down with depth, or set to zero so that every block
begins as the identity. All draws come from one generator, so a seed decides every weight whatever else the process
drew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch import Tensor, nn

Scheme = Literal["normal", "xavier", "kaiming", "scaled_normal"]
ResidualScheme = Literal["same", "depth_scaled", "zero"]


def _normal(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.normal_(weight, std=0.02, generator=generator)


def _xavier(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(weight, generator=generator)


def _kaiming(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


def _scaled_normal(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)


SCHEMES: dict[Scheme, Callable[[Tensor, torch.Generator], None]] = {
    "normal": _normal,  # GPT-2: standard deviation 0.02
    "xavier": _xavier,  # Glorot and Bengio, 2010
    "kaiming": _kaiming,  # He et al., 2015
    "scaled_normal": _scaled_normal,  # LeCun, 1998: standard deviation 1/sqrt(fan in), the same at every width
}


def initialize(
    module: nn.Module,
    scheme: Scheme,
    *,
    seed: int,
    residual: ResidualScheme = "same",
    residual_names: Collection[str] = (),
    num_layers: int = 1,
    embedding_std: float = 0.02,
) -> None:
    """Fill every weight of a module tree in place.

    Args:
        module: the model.
        scheme: how matrices of linear layers are drawn.
        seed: of the one generator, 0 or above.
        residual: what happens to projections that write into the residual stream: drawn the `same`, `depth_scaled`
            by 1/sqrt(2 L) (GPT-2), or `zero`.
        residual_names: last part of the names of those projections (`out`, `down`).
        num_layers: L.
        embedding_std: standard deviation of embeddings.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=embedding_std, generator=generator)
        elif isinstance(part, nn.Linear):
            SCHEMES[scheme](part.weight, generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
            if name.rpartition(".")[2] in residual_names:
                _rescale(part.weight, residual, num_layers)


def _rescale(weight: Tensor, residual: ResidualScheme, num_layers: int) -> None:
    with torch.no_grad():
        if residual == "zero":
            weight.zero_()
        elif residual == "depth_scaled":
            weight.mul_((2 * num_layers) ** -0.5)
