"""Initial weights by name.

A scheme fills the matrices of a module tree; norms stay at one and biases at zero. Projections that write into the
residual stream (their modules are named by the model) are scaled down with depth, or set to zero so that every block
begins as the identity. All draws come from one generator, so a seed decides every weight whatever else the process
drew. This file leaves out how fast weights of each width may learn, which is the optimizer's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch import Tensor, nn

from stepwell.nn.experts import MixtureOfExperts
from stepwell.nn.positions import LearnedPositions

Scheme = Literal["normal", "truncated_normal", "xavier", "kaiming", "scaled_normal", "orthogonal"]
ResidualScheme = Literal["same", "depth_scaled", "zero"]


def _normal(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.normal_(weight, std=0.02, generator=generator)


def _truncated_normal(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04, generator=generator)


def _xavier(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(weight, generator=generator)


def _kaiming(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


def _scaled_normal(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)


def _orthogonal(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.orthogonal_(weight, generator=generator)


SCHEMES: dict[Scheme, Callable[[Tensor, torch.Generator], None]] = {
    # The same spread at every width: tuned for a width of some hundreds, too small or too large far from it.
    "normal": _normal,  # GPT-2: standard deviation 0.02
    "truncated_normal": _truncated_normal,  # BERT: the same, drawn again beyond two standard deviations
    # Aware of the width: what comes out is as large as what goes in, at every width.
    "xavier": _xavier,  # Glorot and Bengio, 2010: uniform, variance 2/(fan in + fan out)
    "kaiming": _kaiming,  # He et al., 2015: variance 2/(fan in)
    "scaled_normal": _scaled_normal,  # LeCun, 1998: variance 1/(fan in)
    "orthogonal": _orthogonal,  # Saxe et al., 2014: orthonormal rows or columns, whichever are fewer
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
        scheme: how matrices are drawn: of linear layers, of each expert, of each gate of a recurrent cell.
        seed: of the one generator, 0 or above.
        residual: what happens to projections that write into the residual stream: drawn the `same`, `depth_scaled`
            by 1/sqrt(2 L) (GPT-2), or `zero`.
        residual_names: last part of the names of those projections (`out`, `down`).
        num_layers: L.
        embedding_std: standard deviation of tables: embeddings, learned positions, relative biases.

    Raises:
        TypeError: when a module has a matrix of its own that no rule here fills.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding | LearnedPositions):
            nn.init.normal_(part.weight, std=embedding_std, generator=generator)
        elif isinstance(part, nn.Linear):
            SCHEMES[scheme](part.weight, generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
            if name.rpartition(".")[2] in residual_names:
                _rescale(part.weight, residual, num_layers)
        elif isinstance(part, MixtureOfExperts):
            _initialize_experts(part, scheme, generator)
            if "down" in residual_names:
                _rescale(part.down, residual, num_layers)
        elif isinstance(part, nn.RNNBase):
            initialize_cells(part, scheme, generator)
        elif any(parameter.ndim > 1 for parameter in part.parameters(recurse=False)):
            raise TypeError(f"no rule fills the matrices of {name or 'the model'}, a {type(part).__name__}; add one")


@torch.no_grad()
def initialize_cells(
    cells: nn.RNNBase, scheme: Scheme, generator: torch.Generator, *, forget_bias: float = 1.0
) -> None:
    """Fill the weights of recurrent layers in place, gate by gate.

    Matrices of the memory are orthogonal under every scheme, so that a signal neither grows nor fades as it is carried
    along (Saxe et al., 2014); biases are zero but for an LSTM's forget gate, which begins open (Jozefowicz et al.,
    2015).

    Args:
        cells: an nn.LSTM or nn.GRU of any number of layers and directions.
        scheme: how the matrices of the input are drawn.
        generator: of all draws, on the CPU.
        forget_bias: of the forget gates.
    """
    for name, parameter in cells.named_parameters():
        if name.startswith("bias"):
            parameter.zero_()
            if isinstance(cells, nn.LSTM) and name.startswith("bias_ih"):  # beside bias_hh: one of the two is enough
                parameter[cells.hidden_size : 2 * cells.hidden_size] = forget_bias  # torch's order: in, forget, ...
            continue
        for gate in parameter.split(cells.hidden_size):
            SCHEMES["orthogonal" if name.startswith("weight_hh") else scheme](gate, generator)


@torch.no_grad()
def _initialize_experts(experts: MixtureOfExperts, scheme: Scheme, generator: torch.Generator) -> None:
    for weight in (experts.up, experts.down):
        for expert in weight:
            SCHEMES[scheme](expert, generator)


def _rescale(weight: Tensor, residual: ResidualScheme, num_layers: int) -> None:
    with torch.no_grad():
        if residual == "zero":
            weight.zero_()
        elif residual == "depth_scaled":
            weight.mul_((2 * num_layers) ** -0.5)
