"""LoRA: fine-tuning by a low-rank change to frozen matrices (Hu et al., 2021).

`W` stays as it is; `scale * B A` is learned beside it, with a rank far below the width, so optimizer and gradients need
a hundredth of the memory. A begins at random and B at zero: the first step sees the model as it was. Merging adds the
product to the matrix, and what comes out is a plain model. This file leaves out how an adapter is kept on disk.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

LORA_PARAMETERS = ("lora_a", "lora_b")
"""Last part of the names of what is learned."""


class LoRALinear(nn.Linear):
    """A linear layer whose matrix is frozen, with a learned change of low rank.

    It takes over the weight and bias of a plain layer under the same names. The forward pass costs that of the plain
    layer and two thin products; the backward pass has no product for the frozen matrix's gradient.

    Args:
        base: the layer to take over; its parameters are shared and frozen.
        rank: columns of B and rows of A, from 1.
        alpha: the change is `alpha / rank * B A`, above 0.
        dropout: probability of dropping a channel on its way into A, while training, in [0, 1).
        rank_stabilized: the change is `alpha / sqrt(rank) * B A` (Kalajdzievski, 2023, "rsLoRA").
        generator: of A, on the CPU; None for torch's own.
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        *,
        dropout: float = 0.0,
        rank_stabilized: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        nn.Module.__init__(self)  # the weight is there already: nothing is drawn for it
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight.requires_grad_(False), base.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.scale = alpha / (math.sqrt(rank) if rank_stabilized else rank)
        self.rank, self.dropout = rank, dropout
        a = torch.empty(rank, self.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)  # as the paper's code and peft draw it
        self.lora_a = nn.Parameter(a.to(self.weight.device))
        self.lora_b = nn.Parameter(torch.zeros(self.out_features, rank, device=self.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once, not for each of the two products that read it
        inside = dropout(x, self.dropout, training=self.training) if self.dropout else x
        thin = linear(inside, self.lora_a) * self.scale
        plain = linear(x, self.weight, self.bias)
        return torch.addmm(plain.flatten(0, -2), thin.flatten(0, -2), self.lora_b.mT).view(plain.shape)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """The matrix with the change in it, (out, in), in the precision of the frozen one."""
        change = self.scale * (self.lora_b.float() @ self.lora_a.float())
        return (self.weight.float() + change).to(self.weight.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}, scale={self.scale:g}"


def add_lora(
    module: nn.Module,
    *,
    rank: int,
    alpha: float,
    targets: Collection[str],
    dropout: float = 0.0,
    rank_stabilized: bool = False,
    seed: int = 0,
) -> list[str]:
    """Freeze a module tree and put `LoRALinear` in the place of its named linear layers.

    Args:
        module: changed in place.
        rank: see `LoRALinear`.
        alpha: see `LoRALinear`.
        targets: last parts of the names of the layers (`qkv`, `out`, `up`, `down`).
        dropout: see `LoRALinear`.
        rank_stabilized: see `LoRALinear`.
        seed: decides every A.

    Returns:
        The names of the layers that were replaced.

    Raises:
        ValueError: when a target names no linear layer of the tree; the layers that there are are named.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    layers = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    chosen = [name for name in layers if name.rpartition(".")[2] in targets]
    unknown = sorted(set(targets) - {name.rpartition(".")[2] for name in chosen})
    if unknown:
        there = sorted({name.rpartition(".")[2] for name in layers})
        raise ValueError(f"no linear layer is called {', '.join(unknown)}; there are {', '.join(there) or 'none'}")
    module.requires_grad_(False)
    for name in chosen:
        parent, _, last = name.rpartition(".")
        layer = LoRALinear(
            layers[name], rank, alpha, dropout=dropout, rank_stabilized=rank_stabilized, generator=generator
        )
        setattr(module.get_submodule(parent), last, layer.train(layers[name].training))
    return chosen


def lora_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every A and B of a module tree by name; empty where there is no LoRA."""
    return {name: p for name, p in module.named_parameters() if name.rpartition(".")[2] in LORA_PARAMETERS}


@torch.no_grad()
def load_lora(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take over what `lora_tensors` gave.

    Raises:
        ValueError: when they are not those of this module tree: of other layers, or of another rank.
    """
    own = lora_tensors(module)
    misfit = sorted(own.keys() ^ tensors.keys())
    misfit += sorted(name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape)
    if misfit:
        raise ValueError(f"LoRA of other layers or of another rank: {', '.join(misfit[:3])}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def merged_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of the plain module tree by name, every change merged into its matrix; the tree stays as it is."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    for name in lora_tensors(module):
        del tensors[name]
    for name, part in module.named_modules():
        if isinstance(part, LoRALinear):
            tensors[f"{name}.weight" if name else "weight"] = part.merged_weight()
    return tensors


@torch.no_grad()
def merge_lora(module: nn.Module) -> None:
    """Make a plain module tree again, in place: every change is merged into its matrix, and everything can learn."""
    for name, part in list(module.named_modules()):
        if isinstance(part, LoRALinear):
            plain = nn.Linear(1, 1, bias=False)
            plain.in_features, plain.out_features = part.in_features, part.out_features
            part.weight.copy_(part.merged_weight())
            plain.weight, plain.bias = part.weight, part.bias
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, plain.train(part.training))
    module.requires_grad_(True)
