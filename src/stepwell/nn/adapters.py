"""Adapters in a tree of layers: put in, told apart from what is frozen, taken over, merged.

Everything of the tree is frozen, and layers that learn something beside their frozen one take its place. Names of the
plain tree stay what they were: what stands in an adapted layer (`qkv.base.weight`) is told by its old name
(`qkv.weight`). This file leaves out what the layers compute (`lora.py`, `bottleneck.py`, `prefix.py`,
`prompt.py`, `quantized_linear.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stepwell.nn.attention import Attention
from stepwell.nn.bottleneck import BottleneckLinear
from stepwell.nn.lora import FrozenLinear, LoRALinear, frozen_matrix
from stepwell.nn.prefix import Prefix
from stepwell.nn.prompt import Prompt
from stepwell.nn.quantized_linear import QuantizedLinear, WeightFormat

ADAPTER_PARAMETERS = (
    "lora_a",
    "lora_b",
    "lora_magnitude",
    "adapter_down",
    "adapter_down_bias",
    "adapter_up",
    "adapter_up_bias",
    "prefix_keys",
    "prefix_values",
    "prefix_gate",
    "prompt_vectors",
)
"""Last part of the names of what is learned."""

AdaptedLinear = LoRALinear | BottleneckLinear

Beside = Prefix | Prompt
"""What stands in a layer and not in the place of one; a layer without it has None there."""


def add_lora(
    module: nn.Module,
    *,
    rank: int,
    alpha: float,
    targets: Collection[str],
    dropout: float = 0.0,
    rank_stabilized: bool = False,
    dora: bool = False,
    seed: int = 0,
    besides: Collection[str] = (),
    ranks: Mapping[str, int] | None = None,
) -> list[str]:
    """Freeze a module tree and put `LoRALinear` in the place of its named linear layers.

    Args:
        module: changed in place.
        rank: see `LoRALinear`.
        alpha: see `LoRALinear`.
        targets: last parts of the names of the layers (`qkv`, `out`, `up`, `down`).
        dropout: see `LoRALinear`.
        rank_stabilized: see `LoRALinear`.
        dora: see `LoRALinear`.
        seed: decides every A.
        besides: names of layers that cannot be targets.
        ranks: the layers that get one, by their whole names, each with a rank of its own; the change of all is scaled
            as `rank` and `alpha` say. None for `rank` in all targets.

    Returns:
        The names of the layers that were replaced.

    Raises:
        ValueError: when a target names no linear layer of the tree; the layers that there are are named.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)

    def change(name: str, layer: FrozenLinear) -> LoRALinear:
        size = rank if ranks is None else ranks[name]
        grown = size / rank  # with it the scale is that of `rank`
        return LoRALinear(
            layer,
            size,
            alpha * (math.sqrt(grown) if rank_stabilized else grown),
            dropout=dropout,
            rank_stabilized=rank_stabilized,
            dora=dora,
            generator=generator,
        )

    return _replace(module, targets, change, besides, None if ranks is None else list(ranks))


def add_bottlenecks(
    module: nn.Module, *, width: int, targets: Collection[str], seed: int = 0, besides: Collection[str] = ()
) -> list[str]:
    """Freeze a module tree and put `BottleneckLinear` in the place of its named linear layers.

    Args:
        module: changed in place.
        width: see `BottleneckLinear`.
        targets: as in `add_lora`.
        seed: decides every first map.
        besides: as in `add_lora`.

    Returns:
        The names of the layers that were replaced.

    Raises:
        ValueError: as in `add_lora`.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return _replace(module, targets, lambda name, layer: BottleneckLinear(layer, width, generator=generator), besides)


def add_prefixes(module: nn.Module, *, num_tokens: int, seed: int = 0) -> list[str]:
    """Freeze a module tree and give a `Prefix` to every self-attention in it.

    Args:
        module: changed in place.
        num_tokens: see `Prefix`.
        seed: decides all keys and values.

    Returns:
        The names of the attentions.

    Raises:
        ValueError: when there is none.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    found = {name: part for name, part in module.named_modules() if isinstance(part, Attention)}
    if not found:
        raise ValueError("there is no self-attention, and so no place for a prefix")
    module.requires_grad_(False)
    for part in found.values():
        device = next(part.out.parameters(), None)
        part.prefix = Prefix(
            part.num_heads,
            part.num_kv_heads,
            part.head_dim,
            num_tokens,
            generator=generator,
            device=None if device is None else device.device,
        ).train(part.training)
    return list(found)


def _replace(
    module: nn.Module,
    targets: Collection[str],
    change: Callable[[str, FrozenLinear], AdaptedLinear],
    besides: Collection[str],
    whole_names: Collection[str] | None = None,
) -> list[str]:
    layers = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, (nn.Linear, QuantizedLinear)) and name not in besides
    }
    chosen = [name for name in layers if name.rpartition(".")[2] in targets]
    if whole_names is not None:
        targets, chosen = whole_names, [name for name in layers if name in whole_names]
    unknown = sorted(set(targets) - {name if whole_names else name.rpartition(".")[2] for name in chosen})
    if unknown:
        there = sorted({name.rpartition(".")[2] for name in layers})
        raise ValueError(f"no linear layer is called {', '.join(unknown)}; there are {', '.join(there) or 'none'}")
    module.requires_grad_(False)
    for name in chosen:
        _put(module, name, change(name, layers[name]).train(layers[name].training))
    return chosen


def _put(module: nn.Module, name: str, layer: nn.Module | None) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, layer)


def quantize_linears(module: nn.Module, weights: WeightFormat, besides: Collection[str] = ()) -> list[str]:
    """Put `QuantizedLinear` in the place of every linear layer of a module tree.

    Args:
        module: changed in place.
        weights: see `QuantizedLinear`.
        besides: names of layers that stay.

    Returns:
        The names of the layers that were replaced.
    """
    chosen = [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and name not in besides]
    for name in chosen:
        layer = module.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        _put(module, name, QuantizedLinear(layer, weights).train(layer.training))
    return chosen


def adapter_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Everything that the adapters of a module tree learn, by name; empty where there are none."""
    return {name: p for name, p in module.named_parameters() if name.rpartition(".")[2] in ADAPTER_PARAMETERS}


@torch.no_grad()
def load_adapter(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take over what `adapter_tensors` gave.

    Raises:
        ValueError: when they are not those of this module tree: of other layers, or of another size.
    """
    own = adapter_tensors(module)
    misfit = sorted(own.keys() ^ tensors.keys())
    misfit += sorted(name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape)
    if misfit:
        raise ValueError(f"an adapter of other layers or of another size: {', '.join(misfit[:3])}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def merged_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of the plain module tree by name; the tree stays as it is.

    LoRA is merged into its matrix, what is held in few bits is told as the numbers that it stands for, and what cannot
    be merged is left out.
    """
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    for name in adapter_tensors(module):
        del tensors[name]
    for name, part in module.named_modules():
        if isinstance(part, QuantizedLinear):
            tensors[_joined(name, "weight")] = part.matrix()
    for name, part in module.named_modules():
        if isinstance(part, AdaptedLinear):
            for last in ("weight", "bias"):
                if (inside := _joined(name, f"base.{last}")) in tensors:
                    tensors[_joined(name, last)] = tensors.pop(inside)
            if isinstance(part, LoRALinear):
                tensors[_joined(name, "weight")] = part.merged_weight()
    return tensors


def _joined(name: str, last: str) -> str:
    return f"{name}.{last}" if name else last


def remove_adapters(module: nn.Module) -> None:
    """Take every adapter out of a module tree, in place; frozen layers stand in their old places, still frozen."""
    for name, part in list(module.named_modules()):
        if isinstance(part, AdaptedLinear):
            _put(module, name, part.base)
        elif isinstance(part, Beside):
            _put(module, name, None)


@contextmanager
def without_adapters(module: nn.Module) -> Iterator[None]:
    """Within, a module tree computes with its frozen layers alone; afterwards every adapter is in its place again."""
    parts = {name: part for name, part in module.named_modules() if isinstance(part, (AdaptedLinear, Beside))}
    remove_adapters(module)
    try:
        yield
    finally:
        for name, part in parts.items():
            _put(module, name, part)


@torch.no_grad()
def merge_adapters(module: nn.Module) -> None:
    """Make a plain module tree again, in place: every LoRA is merged into its matrix, and everything can learn.

    Raises:
        ValueError: when there is an adapter that cannot be merged.
    """
    for name, part in list(module.named_modules()):
        if isinstance(part, (BottleneckLinear, Beside)):
            raise ValueError(f"{name}: a {type(part).__name__} cannot be merged into a matrix")
    for name, part in list(module.named_modules()):
        if isinstance(part, LoRALinear) or (isinstance(part, QuantizedLinear) and not name.endswith(".base")):
            matrix = part.merged_weight() if isinstance(part, LoRALinear) else frozen_matrix(part)
            base = part.base if isinstance(part, LoRALinear) else part
            plain = nn.Linear(1, 1, bias=False)
            plain.in_features, plain.out_features = part.in_features, part.out_features
            plain.weight, plain.bias = nn.Parameter(matrix), base.bias
            _put(module, name, plain.train(part.training))
    module.requires_grad_(True)
